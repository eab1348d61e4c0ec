"""From a raw radiograph to a square image in [0, 1]: a few named, versioned recipes.

| profile | intensity | geometry | masks |
|---|---|---|---|
| authors 1 | divide by the maximum; no inversion | short side to size, centre crop | nearest |
| robust 1 | 0.5 to 99.5 percentile of the field, inverted if MONOCHROME1 | long side to size, zero padding | vote |
| breast 1 | as robust; black beside the largest bright region | as robust | vote |

"authors" is what the papers' code does (torchvision ``Resize`` with antialiasing, then ``CenterCrop``);
it cuts the ends of the long side off. "robust" keeps the whole field and isotropic pixels. "breast" is for
mammograms: letters and markers beside the breast, which tell the scanner, go.

A profile's geometry is one axis-aligned affine, prepared pixel index -> original pixel index (row,
column, 1; pixel centres at integers); images and masks are resampled from it and from nothing else.
A change that alters results must raise the profile's version.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage, sparse

from densecf.data.images import read_image
from densecf.data.raw_image import RawImage
from densecf.errors import ConfigError, DataError

_PERCENTILES = (0.5, 99.5)
_PERCENTILE_PIXELS = 1_000_000  # percentiles of larger images are taken on a regular grid of about this many pixels
_DARK = 5 / 255  # breast: the papers' threshold
_PIECE = 300_000  # pixels that are worked on at a time: what stays in a core's cache is many times faster


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


@dataclass(frozen=True)
class Profile:
    """A recipe.

    Attributes:
        name, version: what ``meta.json`` records.
        affine: (height, width, size) -> (3, 3) float64, prepared -> original.
        tone: `RawImage` -> what makes its raw values grey levels.
        vote: masks take the class that covers most of a prepared pixel; otherwise that of the nearest pixel.
        summary: one line for help texts.
        finish: what is done to the grey levels of the whole image, if anything.
    """

    name: str
    version: int
    affine: Callable[[int, int, int], np.ndarray]
    tone: Callable[[RawImage], Tone]
    vote: bool
    summary: str
    finish: Callable[[np.ndarray], np.ndarray] | None = None

    def intensity(self, raw: RawImage) -> np.ndarray:
        """(H, W) float32 in [0, 1], at the original size."""
        image = self.tone(raw)(raw.pixels)
        return image if self.finish is None else self.finish(image)

    def image(self, raw: RawImage, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The prepared image.

        Args:
            raw: what `densecf.data.images.read_image` gave.
            size: S, pixels a side.

        Returns:
            image: (S, S) float32 in [0, 1]; 0 where the original has no pixel.
            affine: (3, 3) float64.
        """
        affine = self.affine(*raw.shape, size)
        tone = self.tone(raw)
        if self.finish is not None:
            image = resample(self.intensity(raw), affine, size)
        elif raw.table is None:
            image = _resample(lambda rows: tone(raw.stored[rows]), raw.shape, affine, size)
        else:
            table = tone(raw.table)
            image = _resample(lambda rows: table[raw.index((rows, slice(None)))], raw.shape, affine, size)
        return np.clip(image, 0, 1, out=image), affine

    def mask(self, labels: np.ndarray, size: int, num_classes: int) -> np.ndarray:
        """The prepared mask, aligned with the image of the same original size.

        Args:
            labels: (H, W) class indices from 0 to num_classes - 1.
            size: S, pixels a side.
            num_classes: how many classes there are.

        Returns:
            (S, S) uint8; 0 (background) where the original has no pixel.
        """
        height, width = labels.shape
        affine = self.affine(height, width, size)
        if not self.vote:
            return resample_nearest(labels, affine, size).astype(np.uint8)
        # Nearest-neighbour reduction by an even factor shifts every border by half an original pixel; a vote does not.
        cover = np.stack([_cover(labels, k, affine, size) for k in range(1, num_classes)])
        background = 1 - cover.sum(axis=0, keepdims=True)
        return np.argmax(np.concatenate([background, cover]), axis=0).astype(np.uint8)


def spacing_of(affine: np.ndarray, spacing_mm: float) -> float:
    """Millimetres per prepared pixel, from those per original pixel (NaN stays NaN)."""
    return float(spacing_mm * math.sqrt(affine[0, 0] * affine[1, 1]))


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
    return _resample(lambda rows: image[rows], (height, width), affine, size)


def _cover(labels: np.ndarray, index: int, affine: np.ndarray, size: int) -> np.ndarray:
    """(S, S) share of each prepared pixel that a class covers."""
    height, width = labels.shape
    return _resample(lambda rows: (labels[rows] == index).astype(np.float32), (height, width), affine, size)


def _resample(read: Callable[[slice], np.ndarray], shape: tuple[int, int], affine: np.ndarray, size: int) -> np.ndarray:
    """`resample` of an image that is read a few rows at a time: ``read`` gives rows as (r, W) float32.

    Every output row is the same sum, in the same order, however the rows are divided.
    """
    height, width = shape
    columns = _weights(width, float(affine[1, 1]), float(affine[1, 2]), size)
    reduced = np.zeros((size, width), np.float32)
    for first, source, weights in _row_pieces(height, width, float(affine[0, 0]), float(affine[0, 2]), size):
        reduced[first : first + weights.shape[0]] = weights @ read(source)
    return np.ascontiguousarray((columns @ reduced.T).T)


@lru_cache(maxsize=64)  # most images of a dataset have one of a few sizes
def _row_pieces(
    height: int, width: int, step: float, start: float, size: int
) -> tuple[tuple[int, slice, sparse.csr_array], ...]:
    """The weights along the rows, a few output rows at a time: the first of them, the rows they need, their weights."""
    rows = _weights(height, step, start, size)
    count = max(1, int(_PIECE / (width * max(1.0, abs(step)))))
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


def _scale_and_shift(row_step: float, row_start: float, column_step: float, column_start: float) -> np.ndarray:
    return np.array([[row_step, 0, row_start], [0, column_step, column_start], [0, 0, 1]], dtype=np.float64)


def _authors_affine(height: int, width: int, size: int) -> np.ndarray:
    """torchvision's ``Resize(size)`` (short side to size, long side truncated) and ``CenterCrop(size)``."""
    short = min(height, width)
    parameters = []
    for length in (height, width):
        resized = size if length == short else int(size * length / short)
        step = length / resized
        crop = round((resized - size) / 2)
        parameters += [step, (crop + 0.5) * step - 0.5]
    return _scale_and_shift(*parameters)


def _robust_affine(height: int, width: int, size: int) -> np.ndarray:
    """One scale for both axes; the original's centre in the middle of the square."""
    step = max(height, width) / size
    return _scale_and_shift(*[v for n in (height, width) for v in (step, (n - 1) / 2 - step * (size - 1) / 2)])


def _authors_tone(raw: RawImage) -> Tone:
    highest = raw.stored.max() if raw.table is None else raw.pixels.max()
    if highest <= 0:
        raise NoPositiveValue(
            "no value is above zero, so the image cannot be divided by its maximum (use profile robust)."
        )
    return Tone(np.float32(0), np.float32(highest))


def _robust_tone(raw: RawImage) -> Tone:
    rows, columns = field_of_view(raw)
    stride = max(1, math.isqrt((rows.stop - rows.start) * (columns.stop - columns.start) // _PERCENTILE_PIXELS))
    low, high = _percentiles(raw, (slice(rows.start, rows.stop, stride), slice(columns.start, columns.stop, stride)))
    if not low < high:  # nearly all pixels alike: a few bright ones are the whole content
        low, high = raw.pixels.min(), raw.pixels.max()
    return Tone(np.float32(low), np.float32(high - low), raw.inverted)


def _largest_bright_region(image: np.ndarray) -> np.ndarray:
    """Black but for the largest connected region brighter than 5 of 255, which is how the papers find the breast."""
    regions, count = ndimage.label(image > _DARK)
    if not count:
        return image
    largest = np.argmax(np.bincount(regions.ravel())[1:]) + 1
    return np.where(regions == largest, image, np.float32(0))


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
    step = rows.step * max(1, _PIECE // len(range(*columns.indices(raw.shape[1]))))
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


PROFILES: dict[str, Profile] = {
    "robust": Profile(
        "robust", 1, _robust_affine, _robust_tone, True, "percentile window, inversion, whole field padded"
    ),
    "breast": Profile(
        "breast",
        1,
        _robust_affine,
        _robust_tone,
        True,
        "as robust, black beside the largest bright region",
        _largest_bright_region,
    ),
    "authors": Profile(
        "authors", 1, _authors_affine, _authors_tone, False, "divide by maximum, short side, centre crop"
    ),
}


def get_profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    if name not in PROFILES:
        raise ConfigError(f"There is no profile {name!r}; choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def load_image(path: str | Path, size: int, profile: str = "robust") -> tuple[np.ndarray, np.ndarray]:
    """Read one file as `prepare` would.

    Returns:
        image: (S, S) float32 in [0, 1].
        affine: (3, 3) float64, prepared -> original pixel index.

    Raises:
        DataError: the file cannot be used.
        ConfigError: no such profile.
    """
    chosen = get_profile(profile)
    try:
        return chosen.image(read_image(path), size)
    except NoPositiveValue as error:
        raise DataError(f"{path}: {error}") from error
