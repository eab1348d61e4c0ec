"""Handing a comparison to Slurm: one array of jobs for the cells, one job after it for the report."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from densecf.errors import ConfigError
from densecf.files import write_text_atomic

CELLS, REPORT = "cells.sbatch", "report.sbatch"


_OURS = ("array", "chdir", "dependency", "job-name", "output")


def array_script(
    command: Sequence[str],
    numbers: Sequence[int],
    log_folder: Path,
    options: Sequence[str],
    environment: Mapping[str, str],
) -> str:
    """The batch script that runs cell number N as task N of an array.

    Args:
        command: how a cell is run, less its number.
        numbers: of the cells.
        log_folder: for what the jobs print.
        options: further options of sbatch, "name=value" or "name".
        environment: variables of the jobs.

    Raises:
        ConfigError: options that cannot be.
    """
    lines = [
        *_head("densecf-cells", log_folder / "slurm-%A-%a.out", options),
        f"#SBATCH --array={','.join(map(str, numbers))}",
        "",
        *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
        f'exec {shlex.join(command)} "$SLURM_ARRAY_TASK_ID"',
    ]
    return "\n".join(lines) + "\n"


def report_script(command: Sequence[str], log_folder: Path, options: Sequence[str]) -> str:
    """The batch script that makes the report."""
    return (
        "\n".join([*_head("densecf-report", log_folder / "slurm-%j.out", options), "", f"exec {shlex.join(command)}"])
        + "\n"
    )


def submit(out: Path, cells: str, report: str) -> tuple[str, str]:
    """Writes both scripts into ``out`` and submits them, the report after all cells, failed ones included.

    Args:
        out: folder of the scripts.
        cells: from `array_script`.
        report: from `report_script`; "" for none.

    Returns:
        The numbers that Slurm gave the two jobs; "" for none.

    Raises:
        ConfigError: there is no sbatch here, or it refuses; the scripts stay where they are.
    """
    write_text_atomic(out / CELLS, cells)
    if report:
        write_text_atomic(out / REPORT, report)
    if shutil.which("sbatch") is None:
        raise ConfigError(
            f"--launcher slurm: no sbatch here; the scripts are written: submit {out / CELLS}"
            + (f", and when it has ended {out / REPORT}" if report else "")
        )
    first = _sbatch([str(out / CELLS)])
    return first, _sbatch([f"--dependency=afterany:{first}", str(out / REPORT)]) if report else ""


def _head(name: str, log: Path, options: Sequence[str]) -> list[str]:
    wrong = [option for option in options if option.startswith("-") or len(option.split()) != 1]
    if wrong:
        raise ConfigError(f"--sbatch {' '.join(wrong)}: expected options as name=value, e.g. partition=gpu")
    taken = [option for option in options if option.partition("=")[0] in _OURS]
    if taken:
        raise ConfigError(f"--sbatch {' '.join(taken)}: densecf sets this itself, leave it out")
    ours = {"job-name": name, "output": log, "chdir": Path.cwd()}  # the data's path may be relative to where we are
    chosen = [*(f"{option}={shlex.quote(str(value))}" for option, value in ours.items()), *options]
    return ["#!/bin/bash", *(f"#SBATCH --{option}" for option in chosen)]


def _sbatch(arguments: Sequence[str]) -> str:
    done = subprocess.run(["sbatch", "--parsable", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(f"sbatch refuses {arguments[-1]}: {done.stderr.strip()}")
    return done.stdout.strip().split(";")[0]
