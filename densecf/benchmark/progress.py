"""How far a running cell is, read off its run folders."""

from __future__ import annotations

import json
from pathlib import Path

from densecf import runs
from densecf.benchmark.cells import Cell
from densecf.benchmark.stages import Stage
from densecf.benchmark.worker import is_done

_TAIL_BYTES = 4096
_FOLD_DONE = "cases.csv"


def share_done(cell: Cell, stage: Stage, *, images: int, masks: int) -> float:
    """How much of a stage is done, from 0 to 1.

    Args:
        cell: whose stage it is.
        stage: which.
        images: records it is pretrained on.
        masks: records it is fine-tuned on, all folds together.
    """
    from densecf.training.sampler import StepPlan

    if is_done(stage):
        return 1.0
    config, folder = cell.pretrain, stage.folder
    if stage.command == "pretrain" and config is not None:
        steps = StepPlan(tuple(range(images)), config.batch_size, config.epochs, config.accumulate).steps
        return min(1.0, last_step(folder / runs.METRICS) / steps)
    if stage.command == "finetune":
        fine = cell.finetune
        held_in = fine.train_cases or masks * (fine.folds - 1) // fine.folds
        steps = StepPlan(tuple(range(held_in)), fine.batch_size, fine.epochs).steps
        folds = [folder / "folds" / str(fold) for fold in range(fine.folds)]
        shares = [1.0 if (at / _FOLD_DONE).is_file() else last_step(at / runs.METRICS) / steps for at in folds]
        return sum(min(1.0, share) for share in shares) / fine.folds
    return 0.0


def last_step(metrics: Path) -> int:
    """The last step that a ``metrics.jsonl`` speaks of; 0 while there is none."""
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, metrics.stat().st_size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):  # cut by a kill, or by where we began to read
            continue
    return 0
