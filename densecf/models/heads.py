"""Projection heads: small networks between the features and the loss, dropped after pretraining."""

from torch import nn


def projection_head(in_channels: int, hidden: int = 256, dim: int = 128) -> nn.Sequential:
    """Dense projection head, applied to single pixels: ``(..., in_channels)`` -> ``(..., dim)``.

    The same as the authors' two 1x1 convolutions (32 -> 256 -> ReLU -> 128 in
    https://github.com/lafarguem/cf-dense-contrastive-learning), but evaluated at the sampled pixels only. The loss
    normalises the output.
    """
    return nn.Sequential(nn.Linear(in_channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim))
