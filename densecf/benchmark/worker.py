"""One cell in this process: pretraining, fine-tuning, evaluation, each resumed where it was left."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from densecf import runs
from densecf.benchmark.cells import Cell
from densecf.benchmark.stages import Stage
from densecf.errors import BusyError
from densecf.files import exclusive_lock

POLL_SECONDS = 2.0
STOPPED = 130
"""Exit code of a process that was told to stop."""
_SLURM = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID")


def run_cell(cell: Cell, stages: Sequence[Stage], folds: Path, *, workers: int | None = None) -> None:
    """Does the stages that are not finished.

    Args:
        cell: with all its options.
        stages: from `densecf.benchmark.stages.stages_of`.
        folds: the folds file that all cells share.
        workers: loader processes of the trainings; None: as configured.

    Raises:
        DensecfError: as the commands do.
    """
    pretrained = next((stage.folder for stage in stages if stage.command == "pretrain"), None)
    for stage in stages:
        with _alone(stage):  # cells may share a stage: then the first one does it
            if not is_done(stage):
                print(f"== {cell.title}: {stage.command} in {stage.folder}", flush=True)
                _DO[stage.command](cell, stage.folder, pretrained, folds, workers)


def is_done(stage: Stage) -> bool:
    return runs.is_run(stage.folder) and runs.is_finished(stage.folder)


@contextmanager
def _alone(stage: Stage) -> Iterator[None]:
    """Waits until no other process works on the stage."""
    lock = stage.folder.with_suffix(".lock")
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(exclusive_lock(lock, f"{stage.folder}: another process is working on it"))
                break
            except BusyError:
                time.sleep(POLL_SECONDS)
        yield


def stop_with_parent() -> None:
    """Ends this process as soon as the one that started it closes our standard input, however it died."""

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock would be held when this process ends by itself
            pass
        os._exit(STOPPED)

    threading.Thread(target=wait, daemon=True).start()


def train_alone() -> None:
    """Forgets what Slurm says of the tasks beside this one: a cell is one process, and Lightning would look for the
    others, and take signals that requeue the job."""
    for name in _SLURM:
        os.environ.pop(name, None)


def _pretrain(cell: Cell, folder: Path, pretrained: Path | None, folds: Path, workers: int | None) -> None:
    from densecf.commands.options import PretrainOptions
    from densecf.commands.pretrain import run_pretrain

    run_pretrain(PretrainOptions(_run_options(folder), _with_workers(cell.pretrain, workers)))


def _finetune(cell: Cell, folder: Path, pretrained: Path | None, folds: Path, workers: int | None) -> None:
    from densecf.commands.finetune import run_finetune
    from densecf.commands.options import FinetuneOptions

    config = replace(cell.finetune, pretrained=str(pretrained) if pretrained else "none", folds_file=str(folds))
    run_finetune(FinetuneOptions(_run_options(folder), _with_workers(config, workers)))


def _evaluate(cell: Cell, folder: Path, pretrained: Path | None, folds: Path, workers: int | None) -> None:
    from densecf.commands.evaluate import run_evaluate
    from densecf.commands.options import EvaluateOptions

    again = runs.is_run(folder)
    where = cell.finetune.where  # who is tested there was not pretrained on
    run_evaluate(EvaluateOptions(run=str(pretrained), where=where, out=folder, overwrite=again, keep_latest=True))


_DO = {"pretrain": _pretrain, "finetune": _finetune, "evaluate": _evaluate}


def _run_options(folder: Path) -> Any:
    from densecf.commands.options import RunOptions

    return RunOptions(out=folder, resume=runs.is_run(folder), keep_latest=True, quiet=True)


def _with_workers(config: Any, workers: int | None) -> Any:
    return config if workers is None else replace(config, hardware=replace(config.hardware, workers=workers))
