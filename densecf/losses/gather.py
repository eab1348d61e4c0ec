"""The loss over all processes: every process's queries against every process's keys.

Distributed data parallel training averages gradients over processes. A mean over each process's own valid
queries would weigh queries unequally when their numbers differ. Here each process divides its sum by the
*global* number of valid queries and multiplies by the number of processes, so that the averaged gradient is
exactly the gradient of one process holding the joint batch. All functions are the identity, or the plain
loss, when ``torch.distributed`` is not initialised.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from densecf.losses.info_nce import check_same_rows, info_nce, info_nce_sum, uniform_loss
from densecf.losses.matching import match_ids


def world_size() -> int:
    """Number of processes that share a batch; 1 when ``torch.distributed`` is not initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenates the rows of all processes in rank order, with correct gradients.

    Args:
        rows: (N, ...), of the same shape in every process.

    Returns:
        (R * N, ...) over R processes; its gradient is summed over processes, each getting its own rows' part.
        The very tensor given when there is one process.
    """
    return rows if world_size() == 1 else _GatherRows.apply(rows)


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sum over processes, of any shape (...,) of counts or values, without gradient; the argument stays as it is."""
    values = values.detach()
    if world_size() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def joint_mean(total: Tensor, count: Tensor) -> Tensor:
    """The totals of all processes by their counts, with the gradient that averaging over processes makes right.

    Args:
        total: this process's differentiable sum, a scalar.
        count: how many addends it has; the mean over none is 0.
    """
    processes = world_size()
    if processes == 1:
        return total / count.clamp(min=1)
    loss = total * processes / all_reduce_sum(count).clamp(min=1)
    # Same gradient, but the value of the whole batch instead of this process's part.
    return loss + (all_reduce_sum(loss) / processes - loss.detach())


def distributed_info_nce(
    queries: Tensor,
    keys: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    *,
    temperature: float,
    exclude_self: bool = False,
    query_mask: Tensor | None = None,
) -> Tensor:
    """`info_nce` of the joint batch of all processes, each passing its own rows.

    Every process must call it with the same numbers of rows (absent rows have a negative id) and with ids that
    mean the same everywhere: location ids of different processes' images must differ.

    Args:
        queries, keys: this process's (N, D) and (M, D).
        query_ids, key_ids, temperature, exclude_self, query_mask: as in `info_nce`.

    Returns:
        The loss of the joint batch (scalar), the same in every process. The *average over processes* of its
        gradients, which is what distributed data parallel training takes, is the gradient of that loss.

    Raises:
        ValueError: as in `info_nce`.
    """
    if world_size() == 1:
        return info_nce(
            queries,
            keys,
            query_ids,
            key_ids,
            temperature=temperature,
            exclude_self=exclude_self,
            query_mask=query_mask,
        )
    if exclude_self:
        check_same_rows(queries, keys)
    # Gathered in full precision: half-precision gradients must not be added up across processes.
    full = torch.promote_types(keys.dtype, torch.float32)
    total, count = info_nce_sum(
        queries,
        gather_rows(keys.to(full)),
        query_ids,
        gather_rows(key_ids),
        temperature=temperature,
        self_offset=dist.get_rank() * len(keys) if exclude_self else None,
        query_mask=query_mask,
    )
    return joint_mean(total, count)


def distributed_chance_level(
    query_ids: Tensor, key_ids: Tensor, *, exclude_self: bool = False, query_mask: Tensor | None = None
) -> Tensor:
    """`chance_level` of the joint batch of all processes; arguments and result as there."""
    all_key_ids = gather_rows(key_ids)
    rank = dist.get_rank() if world_size() > 1 else 0
    match = match_ids(
        query_ids, all_key_ids, self_offset=rank * len(key_ids) if exclude_self else None, query_mask=query_mask
    )
    return uniform_loss(all_reduce_sum(match.valid.sum()), match.key_valid.sum(), exclude_self)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows):
        ctx.num_rows = len(rows)
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        # Every process used these rows as keys, so their gradient is the sum over processes.
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.narrow(0, dist.get_rank() * ctx.num_rows, ctx.num_rows).clone()
