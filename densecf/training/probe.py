"""While it pretrains: how well do the embeddings separate the classes by now?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError
from densecf.evaluation.network import evaluate_network
from densecf.training.logs import measured

MAX_IMAGES = 24


class EmbeddingMonitor(Callback):
    """K-means purity and linear pixel probe on a few records every so many steps; nothing is chosen by them.

    Args:
        data: prepared dataset.
        rows: records with masks to draw from: of the pretraining set, so that test cases stay unseen.
        every: steps between two measurements.
        seed: which records.
    """

    def __init__(self, data: PreparedDataset, rows: list[int], every: int, seed: int):
        self.data, self.every, self.seed = data, every, seed
        chosen = np.random.default_rng([seed, len(rows)]).permutation(rows)[:MAX_IMAGES]
        self.rows = sorted(chosen.tolist())

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        last = batch_idx + 1 == trainer.num_training_batches
        if not trainer.is_global_zero or not (last or (batch_idx + 1) % self.every == 0):
            return
        module.eval()
        try:
            # Global generators stay untouched, so that measuring more often changes no result.
            with torch.random.fork_rng():
                found = evaluate_network(
                    module.get_submodule("unet"),
                    module.get_submodule("head"),
                    self.data,
                    self.rows,
                    seed=self.seed,
                    pixels_per_image=300,
                )
        except DataError:  # too few patients, or masks of one class only: nothing to measure on
            return
        finally:
            module.train()
        metrics = {
            "purity": found["purity"],
            "purity_floor": found["purity_floor"],
            "d_over_std": found["separation"]["d_over_std"],
            "probe_dsc": found["probe"]["dsc"],
        }
        for logger in trainer.loggers:
            logger.log_metrics(measured(metrics), batch_idx)  # no probe image may have shown any foreground
