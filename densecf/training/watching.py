"""While it fine-tunes: how good is the network on the held-out fold by now? Looked at, and nothing is chosen by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from densecf.evaluation.result_files import read_curves
from densecf.evaluation.selection import CURVE_COLUMNS, curve_rows
from densecf.files import atomic_path

CURVES = "curves.csv"


class FoldWatcher(Callback):
    """Writes the curve of one fold, epoch by epoch; the training does not notice.

    Args:
        measure: network in eval mode -> the cases of the held-out fold, as in ``cases.csv``.
        path: the ``curves.csv`` of the fold; always whole, and replaced at each look.
        every: epochs between two looks; 0: none before the last, which is the caller's to `write`.
        steps_per_epoch: steps of one pass over the training cases.
    """

    def __init__(self, measure: Callable[[nn.Module], pd.DataFrame], path: Path, every: int, steps_per_epoch: int):
        self.measure, self.path, self.every, self.steps_per_epoch = measure, path, every, steps_per_epoch
        self.rows: list[dict[str, Any]] = []

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Forgets what a killed training saw beyond the checkpoint it goes on from, and sees what it had not yet."""
        done = trainer.global_step * trainer.accumulate_grad_batches
        reached = done // self.steps_per_epoch
        self.rows = [row for row in read_rows(self.path) if row["epoch"] <= reached] if reached else []
        if not any(row["epoch"] == reached for row in self.rows):  # killed between the checkpoint and the look
            self._look(done, trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 < trainer.num_training_batches:
            self._look(batch_idx + 1, trainer, module)

    def _look(self, steps: int, trainer: Trainer, module: LightningModule) -> None:
        epoch, within = divmod(steps, self.steps_per_epoch)
        if not trainer.is_global_zero or within or not epoch or not self.every or epoch % self.every:
            return
        unet = module.get_submodule("unet")
        unet.eval()  # batch norm then neither learns from the test cases nor mixes them; nothing is drawn
        try:
            self.write(self.measure(unet), epoch)
        finally:
            unet.train()

    def write(self, cases: pd.DataFrame, epoch: int) -> None:
        """Adds what was measured after an epoch."""
        self.rows += curve_rows(cases, epoch)
        write_rows(self.path, self.rows)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``curves.csv``; none where there is no file.

    Raises:
        DataError: the file is damaged.
    """
    if not path.is_file():
        return []
    curves = read_curves(path)
    told = curves.astype(object).where(curves.notna(), None)
    return [dict(zip(told.columns, row, strict=True)) for row in told.itertuples(index=False, name=None)]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes a ``curves.csv``, whole or not at all."""
    with atomic_path(path) as temporary:
        pd.DataFrame(rows, columns=list(CURVE_COLUMNS)).to_csv(temporary, index=False)
