"""AdamW with a linear warm-up and a cosine decay, stepped once for every change of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from densecf.config import OptimConfig


def lr_factor(update: int, updates: int, config: OptimConfig) -> float:
    """Learning rate at an update, as a share of the peak: linear from 1/100, then a cosine to ``min_lr``."""
    warmup = round(config.warmup * updates)
    if update < warmup:
        return 0.01 + 0.99 * update / warmup
    done = (update - warmup) / max(1, updates - warmup)
    floor = config.min_lr / config.lr
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def make_optimizer(parameters: Iterable[nn.Parameter], config: OptimConfig, updates: int) -> dict:
    """Optimizer and scheduler in the form that Lightning's ``configure_optimizers`` returns."""
    trainable = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: lr_factor(update, updates, config))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
