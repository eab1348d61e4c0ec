"""AdamW with a linear warm-up and a cosine decay, stepped once for every change of the weights."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule

from densecf.config import OptimConfig


def lr_factor(update: int, updates: int, config: OptimConfig) -> float:
    """Learning rate at an update, as a share of the peak: linear from 1/100, then a cosine to ``min_lr``."""
    warmup = round(config.warmup * updates)
    if update < warmup:
        return 0.01 + 0.99 * update / warmup
    done = (update - warmup) / max(1, updates - warmup)
    floor = config.min_lr / config.lr
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class TrainingModule(LightningModule):
    """A module trained with AdamW, the schedule above and clipped gradients.

    Args:
        optim: learning rate, decay, warm-up, clipping.
        updates: changes of the weights in the whole training.
    """

    def __init__(self, optim: OptimConfig, updates: int):
        super().__init__()
        self.optim, self.updates = optim, updates

    def configure_optimizers(self) -> Any:
        return self.with_schedule([{"params": [p for p in self.parameters() if p.requires_grad]}])

    def with_schedule(self, groups: list[dict[str, Any]]) -> Any:
        """AdamW over groups of parameters, each following the schedule from its own learning rate."""
        # The fused kernel would unscale float16 gradients itself, after they were clipped.
        fused = self.trainer.precision != "16-mixed"
        optimizer = torch.optim.AdamW(
            groups, lr=self.optim.lr, betas=self.optim.betas, weight_decay=self.optim.weight_decay, fused=fused
        )
        factor = partial(lr_factor, updates=self.updates, config=self.optim)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        # Lightning refuses to clip for fused optimizers, whichever the precision.
        if self.optim.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.optim.clip)
