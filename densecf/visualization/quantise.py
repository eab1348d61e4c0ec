"""Pixel embeddings in few bytes, with a bound on what that does to any cosine similarity.

Unit vectors are turned onto the axes along which all given pixels lie (the eigenvectors of their second moment, the
uncentred PCA) and cut after K of them; each remaining coordinate becomes a small integer. For two pixels x and y with
cut-off parts r and rounding errors e

    |<x, y> - <x', y'>| <= |r_x| |r_y| + |e_x| + |e_y| + |e_x| |e_y|,

since both are unit vectors and r is orthogonal to what is kept. The largest |r|^2 and |e| over the pixels thus bound
the error of every pair, none of which has to be looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

KINDS: tuple[type[np.signedinteger], ...] = (np.int8, np.int16)
"""Integers to try; 16 bits are needed only by pixels that lie in many directions at once."""
PAIRS = 100_000
"""Pairs of pixels that the error is measured on."""
_ARITHMETIC = 1e-5  # what float32 sums may add to the error
_FINER = 0.85 * 0.9 ** np.arange(25)  # steps to try, in tolerances; the first or second does nearly always


@dataclass(frozen=True)
class Quantised:
    """Embeddings of several images under one network. A pixel's vector is ``centres + steps * codes``.

    Attributes:
        codes: (K, H, W) int8 or int16 for each image; 0 where not valid.
        centres: (K,) float32.
        steps: (K,) float32.
        dimension: D, of the vectors before.
        bound: no cosine similarity of two valid pixels is wrong by more.
    """

    codes: list[np.ndarray]
    centres: np.ndarray
    steps: np.ndarray
    dimension: int
    bound: float

    def vectors(self, image: int) -> np.ndarray:
        """The vectors of one image, (K, H, W) float32."""
        return self.centres[:, None, None] + self.steps[:, None, None] * self.codes[image].astype(np.float32)

    def similarities(self, image: int, row: int, column: int) -> list[np.ndarray]:
        """Similarity of one pixel to every pixel of every image, (H, W) float32 each."""
        pixel = self.vectors(image)[:, row, column]
        return [np.tensordot(pixel, self.vectors(other), axes=1) for other in range(len(self.codes))]


def quantise(
    features: Sequence[np.ndarray], tolerance: float, valid: Sequence[np.ndarray | None] | None = None
) -> Quantised:
    """The coarsest codes that keep every cosine similarity within the tolerance.

    Half of it goes to the axes that are cut, the rest to rounding: of what was tried (0.3, 0.5, 0.7) that gives the
    smallest page.

    Args:
        features: (D, H, W) for each image; H and W may differ. Of any length; a zero vector is similar to nothing.
        tolerance: the largest error, at least 0.001.
        valid: (H, W) bool for each image; None: everywhere. Other pixels do not count.

    Raises:
        ValueError: no valid pixel, embeddings that are not finite or of several networks, or a tolerance too small.
    """
    valid = [None] * len(features) if valid is None else valid
    masks = [
        np.ones(image.shape[1:], bool) if mask is None else mask for image, mask in zip(features, valid, strict=True)
    ]
    if len({len(image) for image in features}) != 1 or not any(mask.any() for mask in masks):
        raise ValueError("expected embeddings of one length, and at least one valid pixel")
    if tolerance < 1e-3:
        raise ValueError(f"a tolerance of {tolerance} asks for more than 16 bits can hold")
    pixels = [_unit(image[:, mask].T) for image, mask in zip(features, masks, strict=True)]
    axes = _principal_axes(pixels)
    turned = [image @ axes for image in pixels]
    cut = np.max([_energy_left(image).max(axis=0) for image in turned if len(image)], axis=0)
    kept = int(np.argmax(cut <= tolerance / 2)) + 1
    coordinates = np.concatenate([image[:, :kept] for image in turned])
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    centres = ((low + high) / 2).astype(np.float32)
    for kind in KINDS:
        for share in _FINER:
            wanted = share * tolerance / np.sqrt(kept)
            steps = np.maximum(wanted, (high - low) / (2 * np.iinfo(kind).max)).astype(np.float32)
            codes = np.rint((coordinates - centres) / steps)
            rounding = float(np.linalg.norm(coordinates - centres - codes * steps, axis=1).max())
            bound = float(cut[kept - 1]) + 2 * rounding + rounding**2 + _ARITHMETIC
            if bound <= tolerance:
                grids = _to_grids(codes.astype(kind), masks)
                return Quantised(grids, centres, steps, len(axes), bound)
    raise ValueError(f"no codes keep the error within {tolerance}")


def measured_error(
    features: Sequence[np.ndarray],
    quantised: Quantised,
    valid: Sequence[np.ndarray | None] | None = None,
    pairs: int = PAIRS,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and largest absolute error of the similarity, over pairs of valid pixels drawn from all images.

    Args:
        features, valid: as given to `quantise`.
        quantised: what it answered.
        pairs: how many.
        seed: of the draw.
    """
    valid = [None] * len(features) if valid is None else valid
    exact_parts, coarse_parts = [], []
    for place, (image, mask) in enumerate(zip(features, valid, strict=True)):
        mask = np.ones(image.shape[1:], bool) if mask is None else mask
        exact_parts.append(_unit(image[:, mask].T))
        coarse_parts.append(quantised.vectors(place)[:, mask].T)
    exact, coarse = np.concatenate(exact_parts), np.concatenate(coarse_parts)
    first, second = np.random.default_rng(seed).integers(len(exact), size=(2, pairs))
    error = np.abs(_products(exact, first, second) - _products(coarse, first, second))
    return float(error.mean()), float(error.max())


def _products(vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", vectors[first], vectors[second])


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(n, D) float32 of length 1; zero stays zero."""
    vectors = np.asarray(vectors, np.float64)
    if not np.isfinite(vectors).all():
        raise ValueError("embeddings hold NaN or infinity")
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    vectors = vectors / np.where(largest > 0, largest, 1)  # so that squares neither overflow nor vanish
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _principal_axes(pixels: Sequence[np.ndarray]) -> np.ndarray:
    """(D, D) float32, a column an axis, the one that holds most first."""
    moment = sum((image.T @ image).astype(np.float64) for image in pixels)
    return np.ascontiguousarray(np.linalg.eigh(moment)[1][:, ::-1], np.float32)


def _energy_left(turned: np.ndarray) -> np.ndarray:
    """|r|^2 of every pixel when 1, 2, ... D axes are kept, (n, D)."""
    squares = turned.astype(np.float64) ** 2
    return np.maximum(squares.sum(axis=1, keepdims=True) - np.cumsum(squares, axis=1), 0)


def _to_grids(codes: np.ndarray, masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Rows (n, K) in the order of the valid pixels of all images -> (K, H, W) for each image."""
    grids, start = [], 0
    for mask in masks:
        grid = np.zeros((codes.shape[1], *mask.shape), codes.dtype)
        count = int(mask.sum())
        grid[:, mask] = codes[start : start + count].T
        grids.append(grid)
        start += count
    return grids
