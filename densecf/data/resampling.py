"""Resample an image or a mask through one axis-aligned affine, a few rows at a time."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import sparse

PIECE = 300_000  # pixels that are worked on at a time: what stays in a core's cache is many times faster


def resample(image: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
    """Antialiased bilinear resampling: a triangle filter as wide as the step between output pixels.

    Equals ``PIL.Image.resize(..., BILINEAR)`` and torchvision's antialiased ``Resize`` for their
    geometry, and takes any shift and scale. Weights are normalised at the borders.

    Args:
        image: (H, W) float32.
        affine: (3, 3), prepared -> original, without rotation.
        size: S.

    Returns:
        (S, S) float32; 0 where the pixel centre falls outside the original's area.
    """
    height, width = image.shape
    return resample_rows(lambda rows: image[rows], (height, width), affine, size)


def resample_rows(
    read: Callable[[slice], np.ndarray], shape: tuple[int, int], affine: np.ndarray, size: int
) -> np.ndarray:
    """`resample` of an image that is read a few rows at a time: ``read`` gives rows as (r, W) float32.

    Every output row is the same sum, in the same order, however the rows are divided.
    """
    height, width = shape
    columns = _weights(width, float(affine[1, 1]), float(affine[1, 2]), size)
    reduced = np.zeros((size, width), np.float32)
    for first, source, weights in _row_pieces(height, width, float(affine[0, 0]), float(affine[0, 2]), size):
        reduced[first : first + weights.shape[0]] = weights @ read(source)
    return np.ascontiguousarray((columns @ reduced.T).T)


def resample_nearest(labels: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
    """The value of the nearest original pixel, 0 outside. (H, W) -> (S, S), same dtype."""
    output = np.zeros((size, size), labels.dtype)
    axes = []
    for axis, length in enumerate(labels.shape):
        centres = affine[axis, 2] + affine[axis, axis] * np.arange(size)
        inside = np.flatnonzero(_inside(centres, length))
        axes.append((inside, np.clip(np.floor(centres[inside] + 0.5).astype(int), 0, length - 1)))
    (rows, from_rows), (columns, from_columns) = axes
    output[np.ix_(rows, columns)] = labels[np.ix_(from_rows, from_columns)]
    return output


def cover(labels: np.ndarray, index: int, affine: np.ndarray, size: int) -> np.ndarray:
    """(S, S) share of each prepared pixel that a class covers."""
    height, width = labels.shape
    return resample_rows(lambda rows: (labels[rows] == index).astype(np.float32), (height, width), affine, size)


@lru_cache(maxsize=64)  # most images of a dataset have one of a few sizes
def _row_pieces(
    height: int, width: int, step: float, start: float, size: int
) -> tuple[tuple[int, slice, sparse.csr_array], ...]:
    """The weights along the rows, a few output rows at a time: the first of them, the rows they need, their weights."""
    rows = _weights(height, step, start, size)
    count = max(1, int(PIECE / (width * max(1.0, abs(step)))))
    pieces = []
    for first in range(0, size, count):
        begin, end = rows.indptr[first], rows.indptr[min(size, first + count)]
        if begin == end:
            continue
        source = rows.indices[begin:end]
        low, high = int(source.min()), int(source.max()) + 1
        parts = (rows.data[begin:end], source - low, rows.indptr[first : first + count + 1] - begin)
        pieces.append((first, slice(low, high), sparse.csr_array(parts, shape=(len(parts[2]) - 1, high - low))))
    return tuple(pieces)


@lru_cache(maxsize=64)
def _weights(length: int, step: float, start: float, size: int) -> sparse.csr_array:
    """(S, length) sparse matrix of the weights along one axis."""
    centres = start + step * np.arange(size)
    reach = max(1.0, abs(step))
    first = np.ceil(centres - reach).astype(int)
    source = first[:, None] + np.arange(math.ceil(2 * reach) + 1)
    weights = np.clip(1 - np.abs(source - centres[:, None]) / reach, 0, None)
    weights[(source < 0) | (source >= length)] = 0
    weights[~_inside(centres, length)] = 0
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    output = np.broadcast_to(np.arange(size)[:, None], source.shape)
    used = weights > 0
    entries = (weights[used].astype(np.float32), (output[used], source[used]))
    return sparse.csr_array(entries, shape=(size, length))


def _inside(centres: np.ndarray, length: int) -> np.ndarray:
    # Half a pixel beyond the outer centres is still image; the slack absorbs rounding of the affine.
    return (centres >= -0.5 - 1e-9) & (centres <= length - 0.5 + 1e-9)
