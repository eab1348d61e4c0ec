"""Exact nearest neighbours among a few thousand points, for tens of thousands of queries."""

import numpy as np

CHUNK = 512  # rows of the distance table held at a time: it stays in the cache


def nearest(
    queries: np.ndarray, keys: np.ndarray, count: int, *, exclude_self: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` nearest keys of each query in Euclidean distance, nearest first.

    One matrix product a chunk and `count` passes of argmin, which at such counts is several times faster than a
    partial sort; distances are then recomputed exactly, as the product loses them for near-duplicates.

    Args:
        queries: (M, D) float32.
        keys: (K, D) float32.
        count: 1 <= count <= K (K - 1 with `exclude_self`).
        exclude_self: query i is key i, and is not its own neighbour.

    Returns:
        Indices (M, count) int64 and squared distances (M, count) float32.

    Raises:
        ValueError: `count` out of range.
    """
    if not 1 <= count <= len(keys) - exclude_self:
        raise ValueError(f"{count} neighbours asked for among {len(keys)} keys")
    half_norms = 0.5 * np.einsum("kd,kd->k", keys, keys)
    keys_t = np.ascontiguousarray(keys.T)
    indices = np.empty((len(queries), count), np.int64)
    squared = np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), CHUNK):
        chunk = queries[start : start + CHUNK]
        rows = np.arange(len(chunk))
        ranking = half_norms - chunk @ keys_t
        if exclude_self:
            ranking[rows, start + rows] = np.inf
        for rank in range(count):
            found = ranking.argmin(axis=1)
            difference = chunk - keys[found]
            indices[start + rows, rank] = found
            squared[start + rows, rank] = np.einsum("nd,nd->n", difference, difference)
            ranking[rows, found] = np.inf
    order = np.argsort(squared, axis=1, kind="stable")
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(squared, order, axis=1)
