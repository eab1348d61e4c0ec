"""Is the embedding alive? A few numbers about a batch of embeddings, cheap enough to log at every step.

All take ``z`` of shape (N, D) (``nearby_gap``: by image), L2-normalise its rows, and return a 0-dim tensor on its
device, without gradient. No N x N matrix is held, and no shape depends on the data, so nothing waits for the device;
``effective_rank`` alone does, once, because PyTorch's eigenvalue solver checks its own success.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from densecf.losses.nearby import near_counts, near_sums

COLLAPSED_VARIANCE = 1e-8  # of unit vectors; float32 rounding of equal rows stays below 1e-12


@torch.no_grad()
def feature_spread(z: Tensor) -> Tensor:
    """How far the embeddings use the sphere: 1 when isotropic, 0 when all are equal.

    Standard deviation over rows, averaged over dimensions, times sqrt(D) (a unit vector's coordinates have
    variance 1 / D when isotropic). Used to detect collapse in SimSiam (https://arxiv.org/abs/2011.10566, Fig. 2).

    Args:
        z: (N, D) embeddings, N >= 1.
    """
    unit = _unit_rows(z)
    return unit.std(dim=0, unbiased=False).mean() * unit.shape[1] ** 0.5


@torch.no_grad()
def effective_rank(z: Tensor, max_rows: int = 4096) -> Tensor:
    """How many directions the embeddings vary in: from 1 (all on a line, or all equal) to D (isotropic).

    Exponential of the entropy of the eigenvalues of the covariance, taken as shares of the total variance
    (the effective rank of Roy & Vetterli, EUSIPCO 2007, on variances).

    Args:
        z: (N, D) embeddings, N >= 1.
        max_rows: at most so many rows, evenly spread over z, enter.
    """
    if len(z) > max_rows:
        z = z[torch.linspace(0, len(z) - 1, max_rows, device=z.device).long()]
    unit = _unit_rows(z)
    centred = unit - unit.mean(dim=0)
    with torch.autocast(z.device.type, enabled=False):
        variances = torch.linalg.eigvalsh(centred.T @ centred / len(centred)).clamp(min=0)
    shares = variances / variances.sum().clamp(min=COLLAPSED_VARIANCE)
    return torch.special.entr(shares).sum().exp()


@torch.no_grad()
def positive_negative_gap(z: Tensor, ids: Tensor) -> Tensor:
    """Mean cosine of the pairs with the same id minus that of the pairs with different ids.

    Linear in N: the cosines of all pairs in a set sum to the squared length of its vector sum.

    Args:
        z: (N, D) embeddings.
        ids: (N,) integers; rows with a negative id are left out.

    Returns:
        The gap, in [-2, 2]; NaN when there is no pair of the one or the other kind.
    """
    if ids.shape != z.shape[:1]:
        raise ValueError(f"expected one id a row, got z {tuple(z.shape)} and ids {tuple(ids.shape)}")
    order = ids.argsort()
    ids = ids[order]
    takes_part = (ids >= 0).to(torch.float32 if z.dtype != torch.float64 else z.dtype)
    unit = _unit_rows(z)[order] * takes_part[:, None]

    # Rows are sorted by id, so numbering the runs needs no torch.unique, whose output size would wait for the device.
    starts = torch.ones_like(ids)
    starts[1:] = ids[1:] != ids[:-1]
    run = starts.cumsum(0) - 1
    sums = torch.zeros_like(unit).index_add_(0, run, unit)
    counts = torch.zeros_like(takes_part).index_add_(0, run, takes_part)

    own = unit.square().sum()
    same = sums.square().sum()
    everything = unit.sum(0).square().sum()
    count = counts.sum()
    positives = (counts * (counts - 1)).sum()
    negatives = (counts * (count - counts)).sum()
    return (same - own) / positives - (everything - same) / negatives


@torch.no_grad()
def nearby_gap(z: Tensor, positions: Tensor, takes_part: Tensor, radius: float) -> Tensor:
    """Mean cosine of the pairs that are near minus that of all other pairs: `positive_negative_gap` without ids.

    Args:
        z: (B, V, N, D) embeddings.
        positions, takes_part, radius: as in `densecf.losses.nearby.nearby_contrast`.

    Returns:
        The gap, in [-2, 2]; NaN when there is no pair of the one or the other kind.
    """
    positions, takes_part = positions.flatten(1, 2), takes_part.flatten(1, 2)
    unit = _unit_rows(z.flatten(0, 2)).view(*takes_part.shape, -1) * takes_part[..., None]
    same = (unit * near_sums(unit, positions, takes_part, radius)).sum()
    others = unit.sum((0, 1)).square().sum() - unit.square().sum() - same
    positives, count = near_counts(positions, takes_part, radius).sum(), takes_part.sum()
    return same / positives - others / (count * (count - 1) - positives)


def _unit_rows(z: Tensor) -> Tensor:
    """(N, D) rows of length one, in float32 at least: a bfloat16 std would round away the signal."""
    return normalize(z.detach().to(torch.float64 if z.dtype == torch.float64 else torch.float32), dim=1)
