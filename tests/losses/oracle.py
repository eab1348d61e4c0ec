"""The losses as plain loops over rows, written for reading, not for speed. float64; autograd gives gradients."""

import torch
from torch import Tensor


def unit(row: Tensor) -> Tensor:
    return row / row.norm() if row.norm() > 0 else torch.zeros_like(row)


def slow_info_nce(queries, keys, query_ids, key_ids, *, temperature, exclude_self=False, query_mask=None) -> Tensor:
    queries, keys = [unit(row) for row in queries], [unit(row) for row in keys]
    losses = []
    for i, query in enumerate(queries):
        if query_ids[i] < 0 or (query_mask is not None and not query_mask[i]):
            continue
        seen, positives = [], []
        for j, key in enumerate(keys):
            if key_ids[j] < 0 or (exclude_self and i == j):
                continue
            similarity = query.dot(key) / temperature
            seen.append(similarity)
            if key_ids[j] == query_ids[i]:
                positives.append(similarity)
        if positives:
            losses.append(torch.stack(seen).logsumexp(0) - torch.stack(positives).mean())
    return torch.stack(losses).mean() if losses else torch.zeros((), dtype=torch.float64)


def slow_contrast(embeddings, ids, *, pairing, temperature, query_mask=None, direction_reduction="mean") -> Tensor:
    mask = torch.ones_like(ids, dtype=torch.bool) if query_mask is None else query_mask
    dim = embeddings.shape[-1]
    if pairing == "multi":
        rows, flat = embeddings.reshape(-1, dim), ids.reshape(-1)
        return slow_info_nce(
            rows, rows, flat, flat, temperature=temperature, exclude_self=True, query_mask=mask.reshape(-1)
        )
    sides: list[tuple]
    if ids.ndim == 3:
        sides = [((slice(None), 0), (slice(None), v)) for v in range(1, ids.shape[1])]
    else:
        sides = [((slice(None), p, 0), (slice(None), p, 1)) for p in range(ids.shape[1])]
    total = torch.zeros((), dtype=torch.float64)
    for anchor, target in sides:
        for query, key in ((anchor, target), (target, anchor)):
            total = total + slow_info_nce(
                embeddings[query].reshape(-1, dim),
                embeddings[key].reshape(-1, dim),
                ids[query].reshape(-1),
                ids[key].reshape(-1),
                temperature=temperature,
                query_mask=mask[query].reshape(-1),
            )
    return total / len(sides) / (2 if direction_reduction == "mean" else 1)


def slow_nearby(embeddings, positions, takes_part, *, radius, temperature) -> Tensor:
    batch, views, points, _ = embeddings.shape
    rows = [(b, v, n) for b in range(batch) for v in range(views) for n in range(points) if takes_part[b, v, n]]
    losses = []
    for query in rows:
        seen, positives = [], []
        for key in rows:
            if key == query:
                continue
            similarity = unit(embeddings[query]).dot(unit(embeddings[key])) / temperature
            seen.append(similarity)
            if key[0] == query[0] and (positions[query] - positions[key]).norm() < radius:
                positives.append(similarity)
        if positives:
            losses.append(torch.stack(seen).logsumexp(0) - torch.stack(positives).mean())
    return torch.stack(losses).mean() if losses else torch.zeros((), dtype=torch.float64)
