"""Batch normalisation over the batch of all processes, so that several train like one with the joint batch."""

from __future__ import annotations

import torch
from pytorch_lightning.plugins import LayerSync
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from densecf.losses.gather import gather_rows, world_size


class JointBatchNorm(LayerSync):
    """Lightning's plugin for it, with timm's conversion: torch's drops the activation that timm's layers hold.

    Args:
        on_gpu: where the training runs; torch has synchronised layers for GPUs only.
    """

    def __init__(self, *, on_gpu: bool):
        self.on_gpu = on_gpu

    def apply(self, model: nn.Module) -> nn.Module:
        if self.on_gpu:
            return convert_sync_batchnorm(model)
        for layer in model.modules():
            if isinstance(layer, _BatchNorm):
                layer.__class__ = _ActOnCpu if isinstance(layer, BatchNormAct2d) else _OnCpu
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Nothing to undo: outside a training these layers are ordinary ones, with the same names for their weights."""
        return model


class _OnCpu(_BatchNorm):
    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) -> the same, normalised in training by mean and variance over all processes' B and places."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        rows = input.to(torch.promote_types(input.dtype, torch.float32))
        places = [0, *range(2, rows.ndim)]
        own = torch.full_like(rows[0].flatten(1)[:, 0], rows.numel() // rows.shape[1])
        parts = gather_rows(torch.stack([rows.mean(places), rows.var(places, unbiased=False), own])[None])
        means, variances, counts = parts.unbind(1)
        total = counts.sum(0)
        share = counts / total
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean).square())).sum(0)
        self._remember(mean.detach(), (variance * total / (total - 1).clamp(min=1)).detach())
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale
        if self.affine:
            shift = shift + self.bias
        shape = (-1, *(1,) * (rows.ndim - 2))
        return (rows * scale.view(shape) + shift.view(shape)).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        step = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
        self.running_var.lerp_(variance.to(self.running_var.dtype), step)


class _ActOnCpu(_OnCpu):
    """For timm's layer that holds what comes after it, too."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))
