"""Run folders: where a command puts its product, and how another command finds it.

``runs/<command>/<name>/`` holds ``config.yaml`` (complete, re-runnable), ``metrics.jsonl``, ``provenance.json``
and the product; ``runs/<command>/latest`` points to the newest finished one.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from shlex import quote
from typing import Any

from densecf.environment import environment, now
from densecf.errors import ConfigError
from densecf.files import exclusive_lock, explained_os_errors, parse_json, write_json_atomic, write_text_atomic
from densecf.processes import process_rank, started_processes

ROOT = Path("runs")
CONFIG, PROVENANCE, METRICS, LOCK = "config.yaml", "provenance.json", "metrics.jsonl", ".lock"
_SHARED_RUN = "DENSECF_RUN"


def start_run(
    command: str,
    name: str,
    config: dict[str, Any],
    *,
    out: Path | None = None,
    overwrite: bool = False,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Makes a new run folder with its config and provenance; to be filled inside `working_in`.

    Args:
        command: the command's name, e.g. "pretrain".
        name: what to call the run; a number is added when the name is taken.
        config: every option of the run, as plain values.
        out: the folder to use instead of ``runs/<command>/<name>``.
        overwrite: replace a run that is already in ``out``; it is put back when the new one fails at once.
        provenance: what else the run depends on (dataset, parent run).

    Raises:
        ConfigError: when the name cannot be used, or ``out`` holds what may not be replaced.
        DensecfError: when another process works in ``out``.
    """
    if out is None:
        path = _free_folder(command, name)
    else:
        path = out
        if path.exists() and not _is_fresh(path):
            _set_aside(path, command, overwrite)
        with explained_os_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            for scrap in filter(_is_scrap, path.iterdir()):
                scrap.unlink()
    import yaml

    write_json_atomic(path / PROVENANCE, {"command": command, **environment(), **(provenance or {})})
    write_text_atomic(path / CONFIG, yaml.safe_dump(config, sort_keys=False))
    return path


@contextmanager
def working_in(path: Path, *, resumed: bool = False) -> Iterator[None]:
    """Holds the run folder for this process. What fails before any training leaves things as they were.

    Args:
        path: the folder.
        resumed: the run was there before, and stays in any case.

    Raises:
        DensecfError: when another process holds the folder: two writers would spoil it.
    """
    with exclusive_lock(path / LOCK, _busy(path)):
        try:
            yield
        except BaseException as error:
            untrained = not resumed and not any(path.rglob(METRICS))
            # Ctrl-C leaves a new run to be resumed, but not in the place of a finished one.
            if untrained and (_aside(path).exists() or isinstance(error, Exception)):
                shutil.rmtree(path)
                if _aside(path).exists():
                    os.replace(_aside(path), path)
            raise
        finally:
            if path.exists() and _aside(path).exists():
                shutil.rmtree(_aside(path))


@contextmanager
def announced(path: Path) -> Iterator[None]:
    """Tells processes that this one starts within the block where the run is; later ones may belong to another run."""
    os.environ[_SHARED_RUN] = str(path.resolve())
    try:
        yield
    finally:
        os.environ.pop(_SHARED_RUN, None)


def join_run(out: Path | None, seconds: float = 1800, *, overwrite: bool = False) -> Path | None:
    """The run that the first process makes, which all others wait for; None in the first process.

    Args:
        out: where the run is to be.
        seconds: how long to wait: the first process may have to make the phantom and its counterfactuals.
        overwrite: whether a run that is there is to be replaced.

    Raises:
        ConfigError: when it is not known where, or nothing appears; or a run would be replaced by several processes.
    """
    known = os.environ.get(_SHARED_RUN) or out
    started = started_processes()
    if known is None and (process_rank() or (started and started != (1, 1))):
        raise ConfigError("several processes share one run: say with --out where it is")
    if overwrite and _SHARED_RUN not in os.environ and started and started != (1, 1):
        raise ConfigError(f"--overwrite: other processes would take the old run for the new one; remove {out} first")
    if not process_rank() or known is None:
        return None
    path, deadline = Path(known), time.monotonic() + seconds
    while not is_run(path):
        if time.monotonic() > deadline:
            raise ConfigError(f"{path}: the first process made no run here within {seconds:.0f} s")
        time.sleep(0.1)
    return path


def finish_run(path: Path, command: str, *, latest: bool = True, **facts: Any) -> None:
    """Notes that the run is complete, with ``facts`` about it, and lets ``latest`` point to it unless told not to."""
    write_json_atomic(path / PROVENANCE, {**read_provenance(path), **facts, "finished": now()})
    if not latest:
        return
    shelf = ROOT / command
    link = shelf / "latest"
    fresh = shelf / f".latest-{os.getpid()}"
    with explained_os_errors(link):
        shelf.mkdir(parents=True, exist_ok=True)
        fresh.symlink_to(os.path.relpath(path.resolve(), shelf.resolve()))
        os.replace(fresh, link)


def find_run(command: str, which: str) -> Path:
    """The folder of a run given as ``latest``, as a name under ``runs/<command>`` or as a path.

    Raises:
        ConfigError: when there is none, naming what is there, or when it is a run of another command.
    """
    known = [p for p in sorted((ROOT / command).glob("*")) if p.name != "latest" and is_run(p)]
    if which == "latest":
        link = ROOT / command / "latest"
        if is_run(link):
            return link.resolve()
        if finished := [p for p in known if is_finished(p)]:  # what latest pointed to is gone
            return max(finished, key=lambda p: read_provenance(p)["finished"]).resolve()
        how = f"{command} train" if command == "counterfactuals" else command
        raise ConfigError(f"no finished {command} run under {ROOT / command}; run `densecf {how}` first")
    for path in (Path(which), ROOT / command / which):
        if is_run(path):
            if command_of(path) != command:
                raise ConfigError(f"{path}: a {command_of(path)} run, and a {command} run is needed")
            return path.resolve()
    names = ", ".join(p.name for p in known) or "none"
    raise ConfigError(f"{which}: no {command} run there; runs under {ROOT / command}: {names}")


def find_weights(which: str, command: str = "pretrain") -> Path:
    """The ``weights.safetensors`` of a training run, or the weights file itself.

    Raises:
        ConfigError: when there is no such run, or it has not finished.
    """
    path = Path(which)
    if path.is_file():
        return path.resolve()
    return weights_of(find_run(command, which))


def weights_of(run: Path) -> Path:
    """The ``weights.safetensors`` of a training run.

    Raises:
        ConfigError: when it has not finished.
    """
    weights = run / "weights.safetensors"
    if not weights.is_file():
        raise ConfigError(f"{run}: has no weights yet; continue it with --resume --out {quote(str(run))}")
    return weights


def read_config(path: Path) -> dict[str, Any]:
    """The options of a run, as they stand in its ``config.yaml``."""
    from densecf.yaml_files import read_yaml

    values = read_yaml(path / CONFIG, "run's config")
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{path / CONFIG}: not the config of a run (a mapping of options)")
    return values


def unfinished_run(command: str, out: Path | None) -> Path:
    """The run that ``--resume`` continues: the one in ``out``, else the newest unfinished one.

    Raises:
        ConfigError: when there is nothing to resume.
    """
    if out is not None:
        if not is_run(out):
            raise ConfigError(f"{out}: holds no run to resume")
        if command_of(out) != command:
            raise ConfigError(f"{out}: holds a {command_of(out)} run, not a {command} run")
        return out
    open_runs = [p for p in (ROOT / command).glob("*") if p.name != "latest" and is_run(p) and not is_finished(p)]
    if not open_runs:
        raise ConfigError(f"no unfinished {command} run under {ROOT / command}; name one with --out")
    return max(open_runs, key=lambda p: (p / CONFIG).stat().st_mtime)


def is_run(path: Path) -> bool:
    return (path / CONFIG).is_file() and (path / PROVENANCE).is_file()


def is_finished(path: Path) -> bool:
    return "finished" in read_provenance(path)


def command_of(path: Path) -> str:
    return str(read_provenance(path).get("command", "?"))


def read_provenance(path: Path) -> dict[str, Any]:
    """The run's provenance; a ConfigError names a file that is not one."""
    try:
        facts = parse_json((path / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path / 'provenance.json'}: cannot be read as JSON ({error})") from None
    if not isinstance(facts, dict):
        raise ConfigError(f"{path / 'provenance.json'}: not the provenance of a run (a JSON object)")
    return facts


def check_unchanged(path: Path, **facts: str) -> None:
    """Compares what a run was started with, by its provenance, with what is there now.

    Raises:
        ConfigError: when something differs; a resumed run would mix the two.
    """
    known = read_provenance(path)
    changed = [name for name, value in facts.items() if known.get(name) != value]
    if changed:
        raise ConfigError(f"{path}: {', '.join(changed)} changed since this run was started; start a new one")


def _is_fresh(path: Path) -> bool:
    """Whether a folder is empty, or was left by a run killed in its first instant."""
    return path.is_dir() and all(p.name in (PROVENANCE, LOCK) or _is_scrap(p) for p in path.iterdir())


def _is_scrap(path: Path) -> bool:
    """A first file of a run that was killed while it was written."""
    return any(fnmatch(path.name, f".{Path(name).stem}.*.partial{Path(name).suffix}") for name in (PROVENANCE, CONFIG))


def _set_aside(path: Path, command: str, overwrite: bool) -> None:
    """Moves the run that is to be replaced out of the way, unless it must stay."""
    if not path.is_dir() or not is_run(path):
        raise ConfigError(f"{path}: exists and is no run folder of densecf, so it is left alone; choose another --out")
    if not overwrite:
        raise ConfigError(
            f"{path}: holds a run already; continue it with --resume, replace it with --overwrite, "
            "or choose another --out"
        )
    if command_of(path) != command:
        raise ConfigError(
            f"{path}: holds a {command_of(path)} run, so {command} does not replace it; choose another --out"
        )
    with exclusive_lock(path / LOCK, _busy(path)), explained_os_errors(path):
        shutil.rmtree(_aside(path), ignore_errors=True)
        os.replace(path, _aside(path))


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _busy(path: Path) -> str:
    return f"{path}: another process is working in this folder; wait for it, or choose another --out"


def _free_folder(command: str, name: str) -> Path:
    """Makes ``runs/<command>/<name>``, with a number behind the name when it is taken."""
    if name in ("", ".", "..", "latest", "none") or Path(name).name != name:
        raise ConfigError(f"--name {name!r}: expected a plain folder name other than latest and none")
    number = 1
    while True:
        path = ROOT / command / (name if number == 1 else f"{name}-{number}")
        with explained_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir()
                return path
            except FileExistsError:
                number += 1
