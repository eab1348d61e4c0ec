"""A full disk, and a place that may not be written: every command says so in one line, and leaves nothing half done."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.children import Ended, run_command, run_forked
from chaos.contents import contents
from chaos.kills import Workshop, may_change
from chaos.trials import Trial, filled


@dataclass
class Refusals:
    """The counts for one command.

    Attributes:
        command: which.
        tries: at how many sizes of a file, or places, writing failed.
        unclear: ended other than with 2 and a densecf error, or with a traceback.
        torn: files under their final name with a content that is not final.
        notes: what was said.
    """

    command: str
    tries: int = 0
    unclear: int = 0
    torn: int = 0
    notes: list[str] = field(default_factory=list)


def try_full_disk(shop: Workshop, trial: Trial, limits: Sequence[int] = (0, 200, 2000, 20_000)) -> Refusals:
    """No file may grow beyond so many bytes (RLIMIT_FSIZE: the system says EFBIG, as it says ENOSPC of a full disk)."""
    found, argv = Refusals(trial.command), _without_loaders(filled(trial))
    place = shop.copy()
    whole = run_command(argv, place)
    expected = contents(place, shop.template)
    if whole.code != 0:
        found.unclear += 1
        found.notes.append(f"exit code {whole.code} undisturbed: {whole.said[-500:]}")
        return found
    for limit in limits:

        def work(limit: int = limit) -> int:
            from densecf.cli import main

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return main(argv)

        place = shop.copy()
        _judge(found, run_forked(work, place), contents(place, shop.template), expected, f"files up to {limit} bytes")
    return found


def _without_loaders(argv: list[str]) -> list[str]:
    """No loader processes: the limit also holds for the shared memory through which they send."""
    before = ["", *argv]
    return ["0" if option == "--hardware.workers" else word for option, word in zip(before, argv, strict=False)]


def try_read_only(shop: Workshop, trial: Trial, mounted: Callable[[Path], None]) -> Refusals:
    """The folder may be read, not written: a mount, because root may write anywhere else."""

    def work() -> int:
        from densecf.cli import main

        os.chdir("/")
        mounted(place)
        os.chdir(place)
        return main(filled(trial))

    found = Refusals(trial.command)
    place = shop.copy()
    before = contents(place)
    ended = run_forked(work, place)
    _judge(found, ended, {}, {}, "read-only")
    if contents(place) != before:
        found.torn += 1
    return found


def can_mount() -> bool:
    """Whether this process may make a mount of its own (root outside a strict container)."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


def seal(place: Path) -> None:
    """Mounts a folder over itself, read-only, for this process and its children alone."""
    _unshare()
    for options in (
        ["--make-rprivate", "/"],
        ["--bind", str(place), str(place)],
        ["-o", "remount,bind,ro", str(place)],
    ):
        subprocess.run(["mount", *options], check=True, capture_output=True)


def _unshare() -> None:
    """A mount namespace of our own; Python has no call for it before 3.12."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(0x00020000):
        raise OSError(ctypes.get_errno(), "unshare")


def try_one(shop: Workshop, trial: Trial) -> dict[str, Refusals]:
    """A command on a full disk, and where mounting is allowed in a read-only place."""
    found = {"full": _said(try_full_disk(shop, trial))}
    return {**found, "read-only": _said(try_read_only(shop, trial, seal))} if can_mount() else found


def _said(found: Refusals) -> Refusals:
    print(f"{found.command:<26}{found.tries:>3} refusals {found.unclear:>3} unclear {found.torn:>3} torn", flush=True)
    for note in found.notes[:4]:
        print(f"    {note}", flush=True)
    return found


def _judge(found: Refusals, ended: Ended, left: dict[str, str], expected: dict[str, str], how: str) -> None:
    changed = [name for name, digest in left.items() if name in expected and digest != expected[name]]
    if ended.code == 0:  # nothing that it writes is so large: then all has to be there
        missing = sorted({*(expected.keys() - left.keys()), *changed})
        if missing:
            found.tries += 1
            found.torn += len(missing)
            found.notes.append(f"{how}: exit code 0, but missing or other: {', '.join(missing)}")
        return
    found.tries += 1
    lines = [line for line in ended.said.splitlines() if line.startswith("densecf: error: ")]
    if ended.code != 2 or len(lines) != 1 or "Traceback" in ended.said:
        found.unclear += 1
        found.notes.append(f"{how}: exit code {ended.code}: {ended.said[-500:]}")
    torn = [name for name in changed if not may_change(name)]
    found.torn += len(torn)
    if torn:
        found.notes.append(f"{how}: torn: {', '.join(torn)}")
