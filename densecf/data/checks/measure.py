"""One pass over a prepared dataset: a few numbers for every image, mask and counterfactual, one image at a time."""

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from densecf.data.layout import WHITE
from densecf.data.parallel import available_cpus, map_rows
from densecf.data.prepared import PreparedDataset

SHARES = (0.0, 0.01, 0.5, 0.99, 1.0)
"""Lowest value, first percentile, median, 99th percentile, highest value (nearest rank)."""
FREQUENCIES = 12
"""Cosines along each side that describe an image: details down to a twelfth of its side."""


@dataclass(frozen=True)
class Measures:
    """Numbers for n images of k classes and c stored counterfactuals.

    Attributes:
        digest: n checksums of the stored pixels.
        levels: (n, 5) grey levels in [0, 1] at `SHARES`.
        mean: (n,) mean grey level.
        black, white: (n,) share of pixels that are 0, and 1.
        look: (n, d) float32 low-frequency cosines of the image, unit length: free of gain and offset (0 if constant).
        area: (n, k) pixels of each class, -1 without a mask.
        centre: (n, k, 2) mean row and column of each class; NaN where it has no pixel.
        edges: (n,) pairs of neighbouring pixels of different class, a measure of the borders' length.
        strange: (n,) mask pixels whose value is no class.
        counterfactuals: "<source>/<name>" for each of the c.
        cf_digest: c lists of n checksums.
        cf_levels: (c, n, 5) as ``levels``.
        cf_change: (c, n) mean absolute difference to the real image.
    """

    digest: list[bytes]
    levels: np.ndarray
    mean: np.ndarray
    black: np.ndarray
    white: np.ndarray
    look: np.ndarray
    area: np.ndarray
    centre: np.ndarray
    edges: np.ndarray
    strange: np.ndarray
    counterfactuals: tuple[str, ...]
    cf_digest: list[list[bytes]]
    cf_levels: np.ndarray
    cf_change: np.ndarray

    @property
    def has_mask(self) -> np.ndarray:
        """(n,) whether there is a mask."""
        return self.area[:, 0] >= 0

    @property
    def constant(self) -> np.ndarray:
        """(n,) whether all pixels of the image are alike."""
        return self.levels[:, 0] == self.levels[:, -1]


def measure(data: PreparedDataset, *, workers: int | None = None, progress: bool = True) -> Measures:
    """Read everything once. Memory grows by about a kilobyte an image, whatever its size.

    Args:
        data: an opened dataset.
        workers: processes; by default one a core. The result does not depend on it.
        progress: show a progress bar with rate and estimate.
    """
    from tqdm import tqdm

    n, k = len(data), len(data.class_names)
    names = [(source, name) for source, stored in data.counterfactuals.items() for name in stored]
    measures = Measures(
        digest=[],
        levels=np.empty((n, len(SHARES))),
        mean=np.empty(n),
        black=np.empty(n),
        white=np.empty(n),
        look=np.empty((n, FREQUENCIES * FREQUENCIES - 1), np.float32),
        area=np.full((n, k), -1),
        centre=np.full((n, k, 2), np.nan),
        edges=np.zeros(n, int),
        strange=np.zeros(n, int),
        counterfactuals=tuple(f"{source}/{name}" for source, name in names),
        cf_digest=[[] for _ in names],
        cf_levels=np.empty((len(names), n, len(SHARES))),
        cf_change=np.empty((len(names), n)),
    )
    found = map_rows(_Row(data, names), range(n), workers or available_cpus())
    with tqdm(found, total=n, desc="check", unit="image", disable=not progress) as bar:
        for row, (image, mask, counterfactuals) in enumerate(bar):
            digest, levels, mean, black, white, measures.look[row] = image
            measures.digest.append(digest)
            measures.levels[row] = levels
            measures.mean[row], measures.black[row], measures.white[row] = mean, black, white
            if mask is not None:
                measures.area[row], measures.centre[row], measures.edges[row], measures.strange[row] = mask
            for i, (cf_digest, cf_levels, cf_change) in enumerate(counterfactuals):
                measures.cf_digest[i].append(cf_digest)
                measures.cf_levels[i, row], measures.cf_change[i, row] = cf_levels, cf_change
    return measures


@dataclass(frozen=True)
class _Row:
    """Callable row -> what is measured of its image, mask and counterfactuals."""

    data: PreparedDataset
    names: list[tuple[str, str]]

    def __call__(self, row: int) -> tuple[Any, Any, list[Any]]:
        stored = self.data.images[row]
        image = self.data.image(row)
        mask = self.data.mask(row)
        counterfactuals = []
        for source, name in self.names:
            other = self.data.counterfactual(source, name, row)
            counterfactuals.append((_digest(other), grey_levels(other), float(np.abs(other - image).mean())))
        shares = (float((stored == 0).mean()), float((stored == WHITE).mean()))
        return (
            (_digest(image), grey_levels(image), float(image.mean()), *shares, appearance(image)),
            None if mask is None else measure_mask(mask, len(self.data.class_names)),
            counterfactuals,
        )


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def grey_levels(image: np.ndarray) -> np.ndarray:
    """(5,) the values at `SHARES`, nearest rank."""
    ranks = [round(share * (image.size - 1)) for share in SHARES]
    return np.partition(image, ranks, axis=None)[ranks]


def appearance(image: np.ndarray) -> np.ndarray:
    """(d,) float32 low-frequency cosines without the mean, of unit length; zeros for a constant image."""
    cosines = _cosines(image.shape[0])
    look = (cosines @ image @ cosines.T).ravel()[1:]
    length = float(np.linalg.norm(look))
    return look / length if length > 1e-4 * image.size else np.zeros_like(look)


@cache
def _cosines(size: int) -> np.ndarray:
    """(FREQUENCIES, size) the first rows of the discrete cosine transform, each of the same length."""
    frequency, place = np.arange(FREQUENCIES)[:, None], np.arange(size) + 0.5
    cosines = np.cos(math.pi * frequency * place / size) * math.sqrt(2)
    cosines[0] = 1
    return cosines.astype(np.float32)


def measure_mask(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Area (k,), centre (k, 2) of each class, label changes between neighbours, and pixels of no class.

    Args:
        labels: (S, S) class indices.
        num_classes: k.
    """
    area, centre = np.zeros(num_classes, int), np.full((num_classes, 2), np.nan)
    for index in range(num_classes):
        inside = labels == index
        area[index] = inside.sum()
        if area[index]:
            for axis in (0, 1):
                along = inside.sum(axis=1 - axis)
                centre[index, axis] = along @ np.arange(len(along)) / area[index]
    edges = int((labels[1:] != labels[:-1]).sum() + (labels[:, 1:] != labels[:, :-1]).sum())
    return area, centre, edges, labels.size - int(area.sum())
