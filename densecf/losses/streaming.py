"""The sum of the losses of all queries and its gradients, a tile of queries at a time.

A tile sees all its keys, so its soft-max is final and its gradient known at once: three matrix products a tile
(similarities, gradient of the queries, gradient of the keys) in the forward pass; the backward pass only scales.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from densecf.losses.matching import Match

# Below this similarity bound exp() neither overflows nor underflows in float32, so no row maximum is needed.
_SAFE_EXPONENT = 60.0
# Shorter vectors have no direction: cosine 0 with everything, and no gradient.
SMALLEST_NORM = 1e-12


class StreamedSum(torch.autograd.Function):
    """Sum over the valid queries; the gradients are made in the forward pass and scaled in the backward pass."""

    @staticmethod
    def forward(ctx, queries, keys, match, scale, self_offset, tile, grad_enabled):
        needs_q = grad_enabled and ctx.needs_input_grad[0]
        needs_k = grad_enabled and (ctx.needs_input_grad[1] or (keys is None and needs_q))
        with torch.autocast(queries.device.type, enabled=False):
            total, grad_q, grad_k = _stream(queries, keys, match, scale, self_offset, tile, needs_q, needs_k)
        ctx.save_for_backward(grad_q, None if keys is None else grad_k)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        grad_q, grad_k = ctx.saved_tensors
        return (
            None if grad_q is None else grad_q * grad,
            None if grad_k is None else grad_k * grad,
            *(None,) * 5,
        )


def _stream(
    queries: Tensor,
    keys: Tensor | None,
    match: Match,
    scale: float,
    self_offset: int | None,
    tile: int,
    needs_q: bool,
    needs_k: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Sum of the losses and its gradients in the embeddings; without keys the queries serve as keys too."""
    k, k_inverse = _normalise(queries if keys is None else keys, match.key_valid)
    q, q_inverse = (k, k_inverse) if keys is None else _normalise(queries, match.valid)
    num_keys, dim = k.shape
    grad_k = torch.zeros_like(k) if needs_k else None
    grad_q = (grad_k if keys is None else torch.zeros_like(q)) if needs_q else None

    # Sums of keys by slot, and of weighted queries by slot; one slot more for ids above all keys' ids.
    key_sums = k.new_zeros(num_keys + 1, dim).index_add_(0, match.key_slot, k)
    query_sums = torch.zeros_like(key_sums)
    key_weight = match.key_valid.to(k.dtype)
    rows = _rows_to_visit(match.valid)
    buffer = k.new_empty(min(tile, len(rows)), num_keys)
    total = k.new_zeros(())

    for chosen in rows.split(tile) if num_keys else ():
        query = q[chosen] * scale
        slot = match.query_slot[chosen]
        valid = match.valid[chosen].to(k.dtype)[:, None]
        share = valid / match.num_positives[chosen].clamp(min=1)[:, None]
        positive = key_sums[slot]
        similarity = torch.mm(query, k.t(), out=buffer[: len(chosen)])
        if match.self_positive is not None and self_offset is not None:
            own = chosen + self_offset
            own_share = share * match.self_positive[chosen].to(k.dtype)[:, None]
            similarity.scatter_(1, own[:, None], -torch.inf)
            positive = positive.mul_(share).sub_(k[own] * own_share)
            if grad_k is not None:
                grad_k.index_add_(0, own, query * own_share)
        else:
            positive = positive.mul_(share)

        shift: Tensor | float = 0.0
        if scale > _SAFE_EXPONENT:
            similarity.masked_fill_(~match.key_valid, -torch.inf)
            shift = similarity.amax(1, keepdim=True).clamp_(min=-2 * scale)
            similarity.sub_(shift)
        exponential = similarity.exp_()
        # Keys that take no part have weight 0 here and embedding 0 below: cheaper than masking the tile.
        row_sum = (exponential @ key_weight)[:, None]
        losses = row_sum.log() + shift - (query * positive).sum(1, keepdim=True)
        total += torch.where(valid > 0, losses, 0.0).sum()

        weight = valid / row_sum.clamp(min=torch.finfo(k.dtype).tiny)
        if grad_q is not None:
            grad_q.index_add_(0, chosen, torch.mm(exponential, k).mul_(weight).sub_(positive), alpha=scale)
        if grad_k is not None:
            grad_k.addmm_(exponential.t(), query * weight)
            query_sums.index_add_(0, slot, query * share)

    if grad_k is not None:
        grad_k -= query_sums[match.key_slot]
        _through_normalise_(grad_k, k, k_inverse)
    if grad_q is not None and grad_q is not grad_k:
        _through_normalise_(grad_q, q, q_inverse)
    return total, grad_q, grad_k


def _rows_to_visit(valid: Tensor) -> Tensor:
    """Indices of all queries; on the CPU, where looking at values is free, only of those that count."""
    return valid.nonzero()[:, 0] if valid.device.type == "cpu" else torch.arange(len(valid), device=valid.device)


def _normalise(rows: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Unit rows and their inverse norms (N, 1); rows that are not valid or have no direction become 0."""
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    # NaN in a row that counts stays NaN: it must be seen, not hidden.
    dropped = ~valid[:, None] | (norm <= SMALLEST_NORM)
    inverse = norm.reciprocal_().masked_fill_(dropped, 0.0)
    return (rows * inverse).masked_fill_(dropped, 0.0), inverse


def _through_normalise_(grad: Tensor, unit: Tensor, inverse: Tensor) -> None:
    """Turns the gradient in the unit rows into the gradient in the rows given, in place."""
    along = torch.einsum("nd,nd->n", grad, unit)[:, None]
    grad.addcmul_(unit, along, value=-1).mul_(inverse)


def tile_rows(num_keys: int, device: torch.device) -> int:
    """Queries a tile: 32 MB of float32 similarities on the CPU, 256 MB on an accelerator."""
    elements = 2**23 if device.type == "cpu" else 2**26
    return max(32, elements // max(num_keys, 1))
