"""Exogenous noise must not tell the parents: the penalty that makes latents keep to it.

The bound alone does not care whether the latents or the parents say which scanner an image is from: one bit is cheap,
and the image carries it already. Then abduction stores the scanner in the latents, and changing the parent changes
nothing. By the definition of a structural causal model the noise is independent of the parents, so its covariance
with them is zero; a covariance that is not is penalised, for the latents and for their squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def dependence(latents: Sequence[Tensor], parents: Tensor) -> Tensor:
    """How much a batch's latents tell of its parents, in nats an image; 0 when nothing varies with them.

    Half the squared correlation, summed over latents and parents: what the shift of a latent's mean between the
    groups costs a normal prior that ignores it. Squared latents count alike: a group's spread tells of it too.

    Args:
        latents: (B, ...) each.
        parents: (B, P). A parent that is the same in the whole batch counts nothing.
    """
    weights = _standardised(parents.float()) / len(parents)
    total = parents.new_zeros((), dtype=torch.float32)
    for latent in latents:
        z = latent.float().flatten(1)
        for moment in (z, (z - z.mean(dim=0)).square()):
            total = total + 0.5 * (weights.T @ _standardised(moment)).square().sum()
    return total


def _standardised(values: Tensor) -> Tensor:
    """Columns of mean 0 and standard deviation 1 over the batch; the deviation is taken as given, so that a penalty
    moves the means and does not blow up the rest."""
    centred = values - values.mean(dim=0)
    return centred / centred.square().mean(dim=0).sqrt().clamp_min(1e-3).detach()
