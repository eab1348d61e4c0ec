"""Grids of inputs, reconstructions and counterfactuals in TensorBoard while a model trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torchvision.utils import make_grid

from densecf.counterfactuals.generator import HVAEGenerator
from densecf.counterfactuals.interventions import parse_interventions
from densecf.counterfactuals.parents import CONTINUOUS
from densecf.counterfactuals.response import response
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.data.prepared import PreparedDataset
from densecf.processes import process_rank
from densecf.training.logs import JsonlLogger


class SampleGrids(Callback):
    """Every so many steps: a grid with a row an image (input, reconstruction, each discrete parent's other values),
    and how far counterfactuals move each parent's mean image (`response`).

    Args:
        data: prepared dataset.
        rows: rows that are trained on.
        scm: the model's parents.
        every: steps between two grids.
        images: rows of the grid.
    """

    def __init__(
        self, data: PreparedDataset, rows: Sequence[int], scm: StructuralCausalModel, every: int, images: int = 8
    ):
        self.data, self.rows, self.scm, self.every = data, list(rows), scm, every
        self.shown = [self.rows[i] for i in np.linspace(0, len(self.rows) - 1, min(images, len(self.rows))).astype(int)]

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if (index + 1) % self.every or process_rank():
            return
        generator = HVAEGenerator(module.get_submodule("average"), self.scm, {}, "", device=module.device)  # type: ignore[arg-type]
        grid = self.grid(generator)
        shifts = {f"response_{k}": v for k, v in response(generator, self.data, self.rows, most=32).items()}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("counterfactuals", grid, index)
            elif isinstance(logger, JsonlLogger):
                logger.log_metrics(shifts, index)

    def grid(self, generator: HVAEGenerator) -> torch.Tensor:
        """(3, H, W) in [0, 1]."""
        records = self.data.records.iloc[self.shown]
        images = torch.from_numpy(np.stack([self.data.image(row) for row in self.shown]))[:, None]
        others = [f"{parent.name}=other" for parent in self.scm.parents.entries if parent.kind != CONTINUOUS]
        abducted = generator.abduct(images, torch.from_numpy(self.scm.encode(records)))
        columns = [images, generator.reconstruct(abducted)]
        interventions = parse_interventions(others, self.scm.parents) if others else ()
        if interventions:
            changed = [self.scm.encode(self.scm.intervene(records, one)) for one in interventions]
            columns += list(generator.predict(abducted, torch.from_numpy(np.stack(changed))))
        return make_grid(torch.stack(columns, dim=1).flatten(0, 1), nrow=len(columns), padding=1)
