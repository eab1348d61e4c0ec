"""The one contrastive loss, with any number of positives a query, streamed over tiles of queries.

    loss = mean over valid queries i of   logsumexp_{j in K(i)} s_ij  -  mean_{p in P(i)} s_ip

Because positives are told by integer ids, the mean over positives is linear in the keys and needs only one
sum of keys an id. What remains, a row-wise log-sum-exp, is streamed (`densecf.losses.streaming`), so that the
similarity matrix is never held. Averaging outside the logarithm is the form called L_out in Khosla et al. 2020
(https://arxiv.org/abs/2004.11362, section 3.2); with one positive a query it is NT-Xent.
"""

import torch
from torch import Tensor

from densecf.losses.matching import match_ids
from densecf.losses.streaming import StreamedSum, tile_rows


def info_nce(
    queries: Tensor,
    keys: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    *,
    temperature: float,
    exclude_self: bool = False,
    query_mask: Tensor | None = None,
) -> Tensor:
    """Mean over valid queries of log-sum-exp over all keys minus the mean similarity to the positives.

    A key is a positive of a query when their ids are equal. A query is valid when its mask is True, its id is
    not negative and it has at least one positive. Rows with a negative id take no part, neither as query nor
    as key. Nothing is copied to the host when the tensors lie on an accelerator.

    Args:
        queries: (M, D) embeddings; L2-normalised here, in float32 at least. A zero vector has cosine 0 with
            every key and receives no gradient.
        keys: (K, D) embeddings, treated alike.
        query_ids: (M,) integers, any values.
        key_ids: (K,) integers, any values.
        temperature: what cosines are divided by, > 0.
        exclude_self: query i and key i are the same row (M == K): i is neither its own positive nor counted
            among its keys.
        query_mask: (M,) bool, False where a row may be a key but not a query (the background, for example).

    Returns:
        The loss, a scalar in nats, float32 or float64; 0 with zero gradients when no query is valid.

    Raises:
        ValueError: shapes or types do not fit together, or the temperature is not positive.
    """
    if exclude_self:
        check_same_rows(queries, keys)
    total, count = info_nce_sum(
        queries,
        keys,
        query_ids,
        key_ids,
        temperature=temperature,
        self_offset=0 if exclude_self else None,
        query_mask=query_mask,
    )
    return total / count.clamp(min=1)


def chance_level(
    query_ids: Tensor, key_ids: Tensor, *, exclude_self: bool = False, query_mask: Tensor | None = None
) -> Tensor:
    """The value of `info_nce` when all similarities are equal: the logarithm of the number of keys a query sees.

    Printed beside the loss, it tells whether anything is learned at all.

    Args:
        query_ids, key_ids: (N,) and (M,), as in `info_nce`.
        exclude_self, query_mask: as in `info_nce`.

    Returns:
        A float32 scalar in nats, without gradient; 0 when no query is valid.
    """
    match = match_ids(query_ids, key_ids, self_offset=0 if exclude_self else None, query_mask=query_mask)
    return uniform_loss(match.valid.sum(), match.key_valid.sum(), exclude_self)


def uniform_loss(num_valid: Tensor, num_keys: Tensor, exclude_self: bool) -> Tensor:
    """`chance_level` from the numbers of valid queries and of keys that count; a valid query's own key counts."""
    seen = (num_keys - int(exclude_self)).clamp(min=1)
    return torch.where(num_valid > 0, seen.float().log(), 0.0)


def info_nce_sum(
    queries: Tensor,
    keys: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    *,
    temperature: float,
    self_offset: int | None = None,
    query_mask: Tensor | None = None,
    tile: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The sum that `info_nce` divides by the number of valid queries, and that number.

    Args:
        queries, keys, query_ids, key_ids, temperature, query_mask: as in `info_nce`.
        self_offset: None, or query i is the same row as key ``i + self_offset`` and does not see it.
        tile: queries taken at a time; None chooses by the number of keys.

    Returns:
        The differentiable sum (scalar), and the number of valid queries (int64 scalar tensor).

    Raises:
        ValueError: as in `info_nce`.
    """
    _check(queries, keys, query_ids, key_ids, temperature, self_offset, query_mask)
    match = match_ids(query_ids, key_ids, self_offset=self_offset, query_mask=query_mask)
    dtype = torch.promote_types(torch.promote_types(queries.dtype, keys.dtype), torch.float32)
    shared = queries is keys and query_ids is key_ids  # then one normalised copy and one gradient will do
    total = StreamedSum.apply(
        queries.to(dtype),
        None if shared else keys.to(dtype),
        match,
        1.0 / temperature,
        self_offset,
        tile or tile_rows(len(keys), queries.device),
        torch.is_grad_enabled(),
    )
    return total, match.valid.sum()


def check_same_rows(queries: Tensor, keys: Tensor) -> None:
    """Raises ValueError unless there is one key a query."""
    if len(queries) != len(keys):
        raise ValueError(f"exclude_self needs one key a query, got {len(queries)} queries and {len(keys)} keys")


def _check(queries, keys, query_ids, key_ids, temperature, self_offset, query_mask) -> None:
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise ValueError(f"queries (M, D) and keys (K, D) expected, got {tuple(queries.shape)}, {tuple(keys.shape)}")
    for name, tensor, rows in (
        ("query_ids", query_ids, queries),
        ("key_ids", key_ids, keys),
        ("query_mask", query_mask, queries),
    ):
        if tensor is not None and tensor.shape != rows.shape[:1]:
            raise ValueError(f"{name}: one value a row expected, {len(rows)}, got shape {tuple(tensor.shape)}")
    for name, ids in (("query_ids", query_ids), ("key_ids", key_ids)):
        if ids.dtype != torch.int64:
            raise ValueError(f"{name} must be int64, got {ids.dtype}")
    if query_mask is not None and query_mask.dtype != torch.bool:
        raise ValueError(f"query_mask must be bool, got {query_mask.dtype}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if self_offset is not None and not 0 <= self_offset <= len(keys) - len(queries):
        raise ValueError(f"{len(queries)} queries from key {self_offset} on do not fit into {len(keys)} keys")
