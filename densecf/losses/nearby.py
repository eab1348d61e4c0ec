"""Positives by nearness: pixels of one image, in any of its views, that lie closer together than a radius.

    loss = mean over valid queries i of   logsumexp_{j != i} s_ij  -  mean_{p in P(i)} s_ip
    P(i) = {p != i: of the image of i, |x_p - x_i| < radius}

j runs over all rows of all images, x are positions on the image that the views were made from. So the authors' code
of MVD-CL has it, with a tenth of the image's width for radius (`SupervisedContrastiveLoss` with `use_labels: false` in
https://github.com/lafarguem/cf-dense-contrastive-learning), where the paper has the same point only.

Nearness is no equivalence relation, so that no id says it, and `contrast` cannot. The log-sum-exp is streamed as there.
The other term is quadratic in the embeddings; it and its gradient take one product with the 0-1 matrix of nearness,
made for some rows of one image at a time.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from densecf.losses.gather import all_reduce_sum, gather_rows, joint_mean, world_size
from densecf.losses.info_nce import uniform_loss
from densecf.losses.matching import Match
from densecf.losses.streaming import SMALLEST_NORM, StreamedSum, tile_rows


def nearby_contrast(
    embeddings: Tensor, positions: Tensor, takes_part: Tensor, *, radius: float, temperature: float
) -> Tensor:
    """The contrastive loss over all views at once whose positives are near; over all processes when there are several.

    A query is valid when it takes part and has a positive. `contrast` with pairing "multi" and location ids is the
    same where the V positions of each point are equal and the radius is too small for two points.

    Args:
        embeddings: (B, V, N, D); L2-normalised here, in float32 at least. A zero vector has cosine 0 with every key
            and receives no gradient.
        positions: (B, V, N, 2), where each point lies on its image, whatever the view.
        takes_part: (B, V, N) bool, False for rows that are neither query nor key.
        radius: in the unit of positions, > 0; a pair exactly so far apart is not near.
        temperature: what cosines are divided by, > 0.

    Returns:
        The loss of the joint batch, a scalar in nats, float32 or float64; 0 with zero gradients when no query is valid.
        The average over processes of its gradients is the gradient of the loss.

    Raises:
        ValueError: shapes or types do not fit together, or radius or temperature is not positive.
    """
    _check(embeddings, positions, takes_part, radius)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    positions, takes_part = positions.flatten(1, 2), takes_part.flatten(1, 2)
    rows = embeddings.flatten(1, 2).to(torch.promote_types(embeddings.dtype, torch.float32))
    counts = near_counts(positions, takes_part, radius).to(rows.dtype)
    valid = counts > 0
    spread = _logsumexp_sum(rows.flatten(0, 1), valid.flatten(), takes_part.flatten(), 1 / temperature)
    share = valid / counts.clamp(min=1) / temperature
    positive = _quadratic(_unit(rows, takes_part), share[..., None], positions, takes_part, radius)
    return joint_mean(spread - positive, valid.sum())


def nearby_chance_level(positions: Tensor, takes_part: Tensor, *, radius: float) -> Tensor:
    """The value of `nearby_contrast` when all similarities are equal.

    Args:
        positions, takes_part: (B, V, N, 2) and (B, V, N), as in `nearby_contrast`.
        radius: as in `nearby_contrast`.

    Returns:
        A float32 scalar in nats, without gradient: the logarithm of the number of keys a query sees.
    """
    counts = near_counts(positions.flatten(1, 2), takes_part.flatten(1, 2), radius)
    num_valid, num_keys = all_reduce_sum((counts > 0).sum()), all_reduce_sum(takes_part.sum())
    return uniform_loss(num_valid, num_keys, exclude_self=True)


@torch.no_grad()
def near_sums(values: Tensor, positions: Tensor, takes_part: Tensor, radius: float) -> Tensor:
    """Each row's sum of the values of its positives: (B, M, K) from (B, M, K), (B, M, 2) and (B, M) bool."""
    sums = torch.zeros_like(values)
    for image, (place, part) in enumerate(zip(positions, takes_part, strict=True)):
        for rows in torch.arange(len(place), device=place.device).split(tile_rows(len(place), place.device)):
            # The usual way through a matrix product is too inexact for positions that are equal.
            distance = torch.cdist(place[rows], place, compute_mode="donot_use_mm_for_euclid_dist")
            near = (distance < radius) & part[rows, None] & part
            near.scatter_(1, rows[:, None], False)
            with torch.autocast(values.device.type, enabled=False):
                sums[image, rows] = near.to(values.dtype) @ values[image]
    return sums


def near_counts(positions: Tensor, takes_part: Tensor, radius: float) -> Tensor:
    """The number of positives of each row, (B, M), from positions (B, M, 2) and takes_part (B, M) bool."""
    ones = torch.ones((*takes_part.shape, 1), device=positions.device)
    return near_sums(ones, positions, takes_part, radius)[..., 0].long()


def _quadratic(unit: Tensor, share: Tensor, positions: Tensor, takes_part: Tensor, radius: float) -> Tensor:
    """Sum over rows i of ``share_i * unit_i . (sum of the positives of i)``, for unit (B, M, D), share (B, M, 1).

    It is u'Wu, whose gradient is (W + W')u; nearness is mutual, so W' differs from W by whose share it takes.
    """
    still = unit.detach()
    sums, shared = near_sums(torch.cat([still, share * still], dim=-1), positions, takes_part, radius).chunk(2, dim=-1)
    twice = (unit * (share * sums + shared)).sum()
    return twice - twice.detach() / 2


def _logsumexp_sum(rows: Tensor, valid: Tensor, takes_part: Tensor, scale: float) -> Tensor:
    """Sum over the valid rows (M, D) of log-sum-exp over all rows but itself, those of other processes included."""
    several = world_size() > 1
    keys, key_valid = (gather_rows(rows), gather_rows(takes_part)) if several else (None, takes_part)
    none = torch.zeros_like(valid)
    match = Match(
        query_slot=torch.full_like(valid, len(key_valid), dtype=torch.int64),  # where no key's id is: no positives
        key_slot=torch.arange(len(key_valid), device=rows.device),
        num_positives=none.long(),
        self_positive=none,
        valid=valid,
        key_valid=key_valid,
    )
    own = dist.get_rank() * len(rows) if several else 0
    tile = tile_rows(len(key_valid), rows.device)
    return StreamedSum.apply(rows, keys, match, scale, own, tile, torch.is_grad_enabled())


def _unit(rows: Tensor, takes_part: Tensor) -> Tensor:
    """Rows of length one; 0 for rows that take no part or have no direction."""
    norm = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    dropped = ~takes_part[..., None] | (norm <= SMALLEST_NORM)
    return torch.where(dropped, 0.0, rows / torch.where(dropped, 1.0, norm))


def _check(embeddings: Tensor, positions: Tensor, takes_part: Tensor, radius: float) -> None:
    shape = embeddings.shape[:-1]
    if len(shape) != 3 or positions.shape != (*shape, 2) or takes_part.shape != shape:
        raise ValueError(
            f"embeddings (B, V, N, D), positions (B, V, N, 2) and takes_part (B, V, N) expected, got "
            f"{tuple(embeddings.shape)}, {tuple(positions.shape)} and {tuple(takes_part.shape)}"
        )
    if takes_part.dtype != torch.bool:
        raise ValueError(f"takes_part must be bool, got {takes_part.dtype}")
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
