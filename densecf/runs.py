"""Run folders: where a command puts its product, and how another command finds it.

``runs/<command>/<name>/`` holds ``config.yaml`` (complete, re-runnable), ``metrics.jsonl``, ``provenance.json``
and the product; ``runs/<command>/latest`` points to the newest finished one.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from densecf import __version__
from densecf.errors import ConfigError, DensecfError
from densecf.files import exclusive_lock, write_json_atomic, write_text_atomic

ROOT = Path("runs")
_SHARED_RUN = "DENSECF_RUN"
_PACKAGES = (
    "torch",
    "monai",
    "segmentation-models-pytorch",
    "pytorch-lightning",
    "numpy",
    "scikit-learn",
    "umap-learn",
)


def start_run(
    command: str,
    name: str,
    config: dict[str, Any],
    *,
    out: Path | None = None,
    overwrite: bool = False,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Makes a new run folder with its config and provenance.

    Args:
        command: the command's name, e.g. "pretrain".
        name: what to call the run; a number is added when the name is taken.
        config: every option of the run, as plain values.
        out: the folder to use instead of ``runs/<command>/<name>``.
        overwrite: replace a run that is already in ``out``.
        provenance: what else the run depends on (dataset, parent run).

    Raises:
        ConfigError: when ``out`` holds anything and ``overwrite`` does not allow to replace it.
    """
    path = out if out is not None else _free_name(ROOT / command / name)
    if path.exists() and not _is_fresh(path):
        if not path.is_dir() or not is_run(path):
            raise ConfigError(
                f"{path}: exists and is no run folder of densecf, so it is left alone; choose another --out"
            )
        if not overwrite:
            raise ConfigError(
                f"{path}: holds a run already; continue it with --resume, replace it with --overwrite, "
                "or choose another --out"
            )
        if command_of(path) != command:
            raise ConfigError(
                f"{path}: holds a {command_of(path)} run, so {command} does not replace it; choose another --out"
            )
        shutil.rmtree(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DensecfError(f"{path}: cannot be made ({error.strerror}); choose another --out") from None
    import yaml

    write_json_atomic(path / "provenance.json", {"command": command, **_environment(), **(provenance or {})})
    write_text_atomic(path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    return path


def process_rank() -> int:
    """This process's place among those that train together (torchrun, Slurm, Lightning); 0 when it is alone."""
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), 0)


def announce_run(path: Path) -> None:
    """Tells processes that this one starts where the run is."""
    os.environ[_SHARED_RUN] = str(path.resolve())


def join_run(out: Path | None, seconds: float = 120) -> Path:
    """The run that the first process makes; waits until it is there.

    Raises:
        ConfigError: when it is not known where, or nothing appears.
    """
    known = os.environ.get(_SHARED_RUN) or out
    if known is None:
        raise ConfigError("several processes share one run: say with --out where it is")
    path, deadline = Path(known), time.monotonic() + seconds
    while not is_run(path):
        if time.monotonic() > deadline:
            raise ConfigError(f"{path}: the first process made no run here within {seconds:.0f} s")
        time.sleep(0.1)
    return path


def finish_run(path: Path, command: str, **facts: Any) -> None:
    """Notes that the run is complete, with ``facts`` about it, and lets ``latest`` point to it."""
    write_json_atomic(path / "provenance.json", {**read_provenance(path), **facts, "finished": _now()})
    shelf = ROOT / command
    shelf.mkdir(parents=True, exist_ok=True)
    link = shelf / "latest"
    fresh = shelf / f".latest-{os.getpid()}"
    fresh.symlink_to(os.path.relpath(path.resolve(), shelf.resolve()))
    os.replace(fresh, link)


def find_run(command: str, which: str) -> Path:
    """The folder of a run given as ``latest``, as a name under ``runs/<command>`` or as a path.

    Raises:
        ConfigError: when there is none, naming what is there.
    """
    candidates = [ROOT / command / which] if which == "latest" else [Path(which), ROOT / command / which]
    for path in candidates:
        if is_run(path):
            return path.resolve()
    known = sorted(p.name for p in (ROOT / command).glob("*") if is_run(p) and p.name != "latest")
    if which == "latest":
        raise ConfigError(f"no finished {command} run under {ROOT / command}; run `densecf {command}` first")
    raise ConfigError(f"{which}: no {command} run there; runs under {ROOT / command}: {', '.join(known) or 'none'}")


def find_weights(which: str) -> Path:
    """The ``weights.safetensors`` of a pretraining run, or the weights file itself.

    Raises:
        ConfigError: when there is no such run, or it has not finished.
    """
    path = Path(which)
    if path.is_file():
        return path.resolve()
    run = find_run("pretrain", which)
    weights = run / "weights.safetensors"
    if not weights.is_file():
        raise ConfigError(f"{run}: has no weights yet; continue it with `densecf pretrain --resume --out {run}`")
    return weights


def read_config(path: Path) -> dict[str, Any]:
    """The options of a run, as they stand in its ``config.yaml``."""
    import yaml

    try:
        values = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path / 'config.yaml'}: cannot be read ({error})") from None
    return values if isinstance(values, dict) else {}


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
    return max(open_runs, key=lambda p: (p / "config.yaml").stat().st_mtime)


def is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file() and (path / "provenance.json").is_file()


def is_finished(path: Path) -> bool:
    return "finished" in read_provenance(path)


def command_of(path: Path) -> str:
    return str(read_provenance(path).get("command", "?"))


def read_provenance(path: Path) -> dict[str, Any]:
    """The run's provenance; a ConfigError names a file that is not one."""
    try:
        return json.loads((path / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path / 'provenance.json'}: cannot be read as JSON ({error})") from None


@contextmanager
def working_in(path: Path) -> Iterator[None]:
    """Holds the run folder for this process; a refusal before anything was trained leaves no folder behind.

    Raises:
        DensecfError: when another process holds the folder: two writers would spoil it.
    """
    busy = f"{path}: another process is working in this folder; wait for it, or choose another --out"
    with exclusive_lock(path / ".lock", busy):
        try:
            yield
        except DensecfError:
            if not any(path.rglob("metrics.jsonl")):
                shutil.rmtree(path)
            raise


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
    return path.is_dir() and {p.name for p in path.iterdir()} <= {"provenance.json", ".lock"}


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _environment() -> dict[str, Any]:
    """Versions, commit and command line: what one needs to run this again."""
    packages = {}
    for package in _PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "missing"
    return {
        "densecf": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "packages": packages,
        "argv": sys.argv[1:],
        "started": _now(),
    }


def _git_commit() -> str | None:
    """The commit of the code that runs, when it runs from a checkout."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
