"""SIGKILL at a random moment, the same command again, and is it as if nothing had happened?"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chaos.children import KILLED, Ended, import_everything, run_command, run_forked
from chaos.contents import contents, copy_linked, names
from chaos.trials import TRIALS, Trial, build_workshop, filled, filled_again

_LEFT_BY_A_KILL = (".partial", ".tmp", ".old", ".replaced", ".ckpt", ".latest-")
_GROWING = ("metrics.jsonl", "journal.jsonl", "provenance.json", "curves.csv", "meta.json")
"""Files that are whole at every moment, but hold more later on: no half-written file."""


@dataclass
class Kills:
    """The counts for one command.

    Attributes:
        command: which.
        seconds: how long it takes undisturbed.
        kills: SIGKILLs that met it alive.
        lost: files, made or only read, that were missing in the end, or commands that did not go on.
        different: files whose content differed in the end.
        torn: files found after a kill under their final name with a content that is not final.
        left_over: temporary files that stayed behind in the end; nothing reads them.
        notes: what was lost, different, torn or left over.
    """

    command: str
    seconds: float = 0.0
    kills: int = 0
    lost: int = 0
    different: int = 0
    torn: int = 0
    left_over: int = 0
    notes: list[str] = field(default_factory=list)


class Workshop:
    """A folder with all inputs, and copies of it for each attempt."""

    def __init__(self, folder: Path, trials: Sequence[Trial] = TRIALS):
        import_everything()
        self.folder, self.template = folder, folder / "template"
        self.template.mkdir(parents=True)
        build_workshop(self.template, trials, self._must_run, self._must_fork)

    def copy(self) -> Path:
        """A fresh copy, always in the same place: files may hold its path."""
        place = self.folder / "here"
        shutil.rmtree(place, ignore_errors=True)
        copy_linked(self.template, place)
        return place

    def _must_run(self, arguments: list[str]) -> None:
        _succeeded(run_command(arguments, self.template), arguments)

    def _must_fork(self, work: Callable[[], int]) -> None:
        _succeeded(run_forked(work, self.template), ["the raw files"])


def try_command(shop: Workshop, trial: Trial, kills: int, seed: int, say: Callable[[str], None] = print) -> Kills:
    """Kills a command so many times, at moments spread evenly by chance over its undisturbed duration."""
    argv = filled(trial)
    found = Kills(trial.command)
    place = shop.copy()
    first = run_command(argv, place)
    expected, all_names = contents(place, shop.template), names(place)
    found.seconds = round(first.seconds, 2)
    place = shop.copy()
    second = run_command(argv, place)
    for ended in (first, second):
        if ended.code != 0:
            found.lost += 1
            found.notes.append(f"exit code {ended.code} undisturbed: {ended.said[-600:]}")
            return _told(found, say)
    unstable = _differing(expected, contents(place, shop.template))
    if unstable:
        found.notes.append(f"two undisturbed runs differ in {unstable}")
    duration = min(first.seconds, second.seconds)
    moments = np.random.default_rng([seed, *map(ord, trial.command)])
    for _ in range(4 * kills):
        if found.kills == kills:
            break
        place = shop.copy()
        moment = float(moments.uniform(0, duration))
        ended = run_command(argv, place, kill_after=moment)
        if ended.code != KILLED:
            if ended.code != 0:
                found.notes.append(f"exit code {ended.code} without a kill: {ended.said[-300:]}")
                found.lost += 1
            continue
        found.kills += 1
        left = contents(place, shop.template)
        torn = [
            name for name, digest in left.items()
            if name in expected and digest != expected[name] and not may_change(name)
        ]  # fmt: skip
        again = _go_on(argv, filled_again(trial), place)
        after = contents(place, shop.template)
        lost = sorted(all_names - names(place))
        different = [
            name for name in expected if name in after and after[name] != expected[name] and name not in unstable
        ]
        if again.code != 0:
            lost.append(f"exit code {again.code}: {again.said[-400:]}")
        found.torn += len(torn)
        found.lost += len(lost)
        found.different += len(different)
        left_over = sorted(after.keys() - expected.keys())
        found.left_over += len(left_over)
        for title, which in (("torn", torn), ("lost", lost), ("different", different), ("left over", left_over)):
            if which:
                found.notes.append(f"killed after {moment:.2f} of {duration:.2f} s: {title}: {', '.join(which)}")
    return _told(found, say)


def _told(found: Kills, say: Callable[[str], None]) -> Kills:
    say(f"{found.command:<26}{found.seconds:>7.1f} s {found.kills:>4} kills {found.lost:>3} lost {found.different:>3} "
        f"different {found.torn:>3} torn {found.left_over:>3} left over")  # fmt: skip
    for note in found.notes[:5]:
        say(f"    {note}")
    return found


def _go_on(argv: list[str], resumed: list[str], place: Path) -> Ended:
    """What a user does: --resume where there is one; the same again; with --overwrite where the message asks for it."""
    ended = run_command(resumed or argv, place)
    if ended.code == 2 and resumed:
        ended = run_command(argv, place)
    if ended.code == 2 and "--overwrite" in ended.said:
        ended = run_command([*argv, "--overwrite"], place)
    return ended


def may_change(name: str) -> bool:
    last = name.rsplit("/", 1)[-1]
    return last in _GROWING or any(mark in name for mark in _LEFT_BY_A_KILL)


def _differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _succeeded(ended: Ended, arguments: Sequence[str]) -> Ended:
    if ended.code != 0:
        raise RuntimeError(f"densecf {' '.join(arguments)} ended with {ended.code}:\n{ended.said}")
    return ended
