"""An adversary that reads the parents off the latents, and whose failure is the latents' aim.

The covariance penalty (`densecf.counterfactuals.independence`) sees what is linear. Whether there is fluid, and where,
is not: it hides in combinations of latents. A small network learns to find the parents there, and its gradient
reaches the model reversed. Source: Lample et al., "Fader Networks" (NeurIPS 2017); the reversal is that of Ganin et
al. (JMLR 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densecf.counterfactuals.hvae.network import Decoder, DecoderBlock
from densecf.counterfactuals.parents import CATEGORICAL, Parents

_MOST = 8
"""Larger maps of latents are averaged to this size: the adversary looks for what an image as a whole tells."""


class Adversary(nn.Module):
    """Latents -> a guess of the parents.

    Args:
        decoder: whose latents are read.
        parents: what to look for.
        width: channels.
    """

    def __init__(self, decoder: Decoder, parents: Parents, width: int = 96):
        super().__init__()
        read = [block for block in cast(list[DecoderBlock], decoder.blocks) if block.stochastic]
        self.size = min(_MOST, max(block.size for block in read))
        self.parents = parents
        kernel = 3 if self.size > 2 else 1
        self.features = nn.Sequential(
            nn.Conv2d(sum(block.latents for block in read), width, kernel, padding=kernel // 2),
            nn.SiLU(),
            nn.Conv2d(width, width, kernel, padding=kernel // 2),
            nn.SiLU(),
        )
        self.guess = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, parents.width))

    def forward(self, latents: Sequence[Tensor], parents: Tensor, weight: float) -> Tensor:
        """The adversary's loss in nats, summed over the parents; of a continuous one it guesses whether it is above the
        mean (a squared error has no bound, and fooling it becomes an aim in itself).

        Args:
            latents: (B, C, H, W) each, with gradients.
            parents: (B, P) encoded.
            weight: the gradient that reaches the latents is multiplied by minus this.
        """
        maps = [_resized(_Reversed.apply(z.float(), weight), self.size) for z in latents]
        seen = self.features(torch.cat(maps, dim=1))
        guess = self.guess(torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1)).float()
        total = guess.new_zeros(())
        for parent in self.parents.entries:
            columns = self.parents.columns(parent.name)
            found, wanted = guess[:, columns], parents[:, columns].float()
            if parent.kind == CATEGORICAL:
                total = total + F.cross_entropy(found, wanted)
            else:  # binary ones are written -1 and +1
                total = total + F.binary_cross_entropy_with_logits(found, (wanted > 0).float())
        return total


def _resized(z: Tensor, size: int) -> Tensor:
    return F.adaptive_avg_pool2d(z, size) if z.shape[-1] > size else F.interpolate(z, size=(size, size))


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is multiplied by minus a weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None
