"""The one building block: a bottleneck of two convolutions that hears the parents."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Group norm, SiLU, convolution, plus parents, group norm, SiLU, dropout, convolution; with or without a skip.

    The last convolution starts at zero, so a block with a skip starts as the identity and one without as zero.

    Args:
        inputs, outputs: channels.
        hidden: channels between the two convolutions.
        size: pixels a side; maps of at most 2 x 2 get 1 x 1 convolutions.
        context: width of the parents' embedding; 0: the block does not hear them.
        dropout: share of hidden values dropped in training.
        skip: add the input (through a 1 x 1 convolution when the width changes).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int,
        size: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
        skip: bool = True,
    ):
        super().__init__()
        kernel = 1 if size <= 2 else 3
        self.norm_in = group_norm(inputs)
        self.conv_in = nn.Conv2d(inputs, hidden, kernel, padding=kernel // 2)
        self.parents = nn.Linear(context, hidden) if context else None
        self.norm_out = group_norm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zero_init(nn.Conv2d(hidden, outputs, kernel, padding=kernel // 2))
        self.widen = nn.Conv2d(inputs, outputs, 1) if skip and inputs != outputs else None
        self.skip = skip

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B, context) or None -> (B, C', H, W)."""
        hidden = self.conv_in(F.silu(self.norm_in(x)))
        if self.parents is not None and context is not None:
            hidden = hidden + self.parents(F.silu(context))[:, :, None, None]
        out = self.conv_out(self.dropout(F.silu(self.norm_out(hidden))))
        if self.skip:
            out = out + (x if self.widen is None else self.widen(x))
        return out


def group_norm(channels: int) -> nn.GroupNorm:
    """At most 32 groups, of four channels or more where the width allows it."""
    groups = min(32, max(1, channels // 4))
    return nn.GroupNorm(math.gcd(groups, channels), channels)


def zero_init(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with zero weights and bias."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
