"""From raw values to grey levels: by the maximum, or by percentiles of the field of view."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from densecf.data.raw_image import RawImage
from densecf.data.resampling import PIECE
from densecf.errors import DataError

_PERCENTILES = (0.5, 99.5)
_PERCENTILE_PIXELS = 1_000_000  # percentiles of larger images are taken on a regular grid of about this many pixels
_DARK = 5 / 255  # breast: the papers' threshold


class NoPositiveValue(DataError):
    """An image that profile "authors" cannot divide by its maximum; the caller knows the file's name."""


@dataclass(frozen=True)
class Tone:
    """From raw values to grey levels: (value - low) / span, clipped to [0, 1], turned around if ``inverted``."""

    low: np.float32
    span: np.float32
    inverted: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """New float32 array of the same shape."""
        grey = values.astype(np.float32)
        np.subtract(grey, self.low, out=grey)
        np.divide(grey, self.span, out=grey)
        np.clip(grey, 0, 1, out=grey)
        return np.subtract(1, grey, out=grey) if self.inverted else grey


def by_maximum(raw: RawImage) -> Tone:
    highest = raw.stored.max() if raw.table is None else raw.pixels.max()
    if highest <= 0:
        raise NoPositiveValue(
            "no value is above zero, so the image cannot be divided by its maximum (use profile robust)."
        )
    return Tone(np.float32(0), np.float32(highest))


def by_percentiles(raw: RawImage) -> Tone:
    rows, columns = field_of_view(raw)
    stride = max(1, math.isqrt((rows.stop - rows.start) * (columns.stop - columns.start) // _PERCENTILE_PIXELS))
    low, high = _percentiles(raw, (slice(rows.start, rows.stop, stride), slice(columns.start, columns.stop, stride)))
    if not low < high:  # nearly all pixels alike: a few bright ones are the whole content
        low, high = raw.pixels.min(), raw.pixels.max()
    return Tone(np.float32(low), np.float32(high - low), raw.inverted)


def largest_bright_region(image: np.ndarray) -> np.ndarray:
    """Black but for the largest connected region brighter than 5 of 255, which is how the papers find the breast."""
    regions, count = ndimage.label(image > _DARK)
    if not count:
        return image
    largest = np.argmax(np.bincount(regions.ravel())[1:]) + 1
    return np.where(regions == largest, image, np.float32(0))


def field_of_view(raw: RawImage) -> tuple[slice, slice]:
    """Rows and columns without the constant ones (collimator, padding) along the borders."""
    height, width = raw.shape
    edges = []
    for axis, length in ((0, height), (1, width)):
        first = _first_varying(raw, axis, range(length))
        last = _first_varying(raw, axis, range(length)[::-1])
        if first is None or last is None:  # stripes
            return slice(0, height), slice(0, width)
        edges.append(slice(first, last + 1))
    return edges[0], edges[1]


def _percentiles(raw: RawImage, part: tuple[slice, slice]) -> tuple[float, float]:
    """`_PERCENTILES` of a part of an image, as ``np.percentile`` gives them.

    8 and 16 bit numbers are counted rather than sorted, which takes a third of the time.
    """
    if raw.stored.dtype.itemsize > 2:
        low, high = np.percentile(raw.values(part), _PERCENTILES)
        return low, high
    counts = _counts(raw, part)
    present = np.flatnonzero(counts)
    values = present.astype(f"u{raw.stored.dtype.itemsize}").view(raw.stored.dtype).astype(np.float32)
    if raw.table is not None:
        values = raw.table[present]
    order = np.argsort(values, kind="stable")
    values, below = values[order], np.cumsum(counts[present][order])
    low, high = (_at_rank(values, below, float(share)) for share in np.true_divide(_PERCENTILES, 100))
    return low, high


def _counts(raw: RawImage, part: tuple[slice, slice]) -> np.ndarray:
    """How often each stored number (as unsigned) occurs in a part of an image of 8 or 16 bit."""
    if raw.stored.dtype.itemsize == 1:  # PIL counts bytes in half the time
        return np.array(Image.fromarray(raw.stored[part].view(np.uint8)).histogram())
    rows, columns = part
    counts = np.zeros(65536, np.intp)
    step = rows.step * max(1, PIECE // len(range(*columns.indices(raw.shape[1]))))
    for start in range(rows.start, rows.stop, step):
        piece = slice(start, min(start + step, rows.stop), rows.step)
        found = np.bincount(raw.index((piece, columns)).ravel())
        counts[: len(found)] += found
    return counts


def _at_rank(values: np.ndarray, below: np.ndarray, share: float) -> float:
    """The quantile of ascending values of which ``below`` counts how many there are up to each; as NumPy rounds it."""
    place = share * (int(below[-1]) - 1)
    rank = math.floor(place)
    first, second = values[np.searchsorted(below, [rank, min(rank + 1, int(below[-1]) - 1)], side="right")]
    between, weight = np.float64(second - first), place - rank
    return float(second - between * (1 - weight) if weight >= 0.5 else first + between * weight)


def _first_varying(raw: RawImage, axis: int, places: range) -> int | None:
    """The first of the rows (columns), in the order of ``places``, whose pixels are not all alike."""
    for start in range(0, len(places), 16):
        some = places[start : start + 16]
        low, high = min(some), max(some) + 1
        lines = raw.values((slice(low, high), slice(None)) if axis == 0 else (slice(None), slice(low, high)))
        varying = np.flatnonzero(lines.max(axis=1 - axis) > lines.min(axis=1 - axis)) + low
        if len(varying):
            return int(varying[0] if places.step > 0 else varying[-1])
    return None
