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
from pathlib import Path

import numpy as np
from scipy import ndimage, sparse

from densecf.data.images import RawImage, read_image
from densecf.errors import ConfigError, DataError

_PERCENTILES = (0.5, 99.5)
_DARK = 5 / 255  # breast: the papers' threshold
_PERCENTILE_PIXELS = 1_000_000  # percentiles of larger images are taken on a regular grid of about this many pixels


class NoPositiveValue(DataError):
    """An image that profile "authors" cannot divide by its maximum; the caller knows the file's name."""


@dataclass(frozen=True)
class Profile:
    """A recipe.

    Attributes:
        name, version: what ``meta.json`` records.
        affine: (height, width, size) -> (3, 3) float64, prepared -> original.
        intensity: `RawImage` -> (H, W) float32 in [0, 1], at the original size.
        vote: masks take the class that covers most of a prepared pixel; otherwise that of the nearest pixel.
        summary: one line for help texts.
    """

    name: str
    version: int
    affine: Callable[[int, int, int], np.ndarray]
    intensity: Callable[[RawImage], np.ndarray]
    vote: bool
    summary: str

    def image(self, raw: RawImage, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The prepared image.

        Args:
            raw: what `densecf.data.images.read_image` gave.
            size: S, pixels a side.

        Returns:
            image: (S, S) float32 in [0, 1]; 0 where the original has no pixel.
            affine: (3, 3) float64.
        """
        height, width = raw.pixels.shape
        affine = self.affine(height, width, size)
        image = resample(self.intensity(raw), affine, size)
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
        cover = np.stack([resample((labels == k).astype(np.float32), affine, size) for k in range(1, num_classes)])
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
    rows = _weights(image.shape[0], affine[0, 0], affine[0, 2], size)
    columns = _weights(image.shape[1], affine[1, 1], affine[1, 2], size)
    return np.ascontiguousarray((columns @ (rows @ image).T).T)


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


def _authors_intensity(raw: RawImage) -> np.ndarray:
    highest = float(raw.pixels.max())
    if highest <= 0:
        raise NoPositiveValue(
            "no value is above zero, so the image cannot be divided by its maximum (use profile robust)."
        )
    return np.clip(raw.pixels / np.float32(highest), 0, 1)


def _robust_intensity(raw: RawImage) -> np.ndarray:
    field = field_of_view(raw.pixels)
    stride = max(1, math.isqrt(field.size // _PERCENTILE_PIXELS))
    low, high = np.percentile(field[::stride, ::stride], _PERCENTILES)
    if not low < high:  # nearly all pixels alike: a few bright ones are the whole content
        low, high = raw.pixels.min(), raw.pixels.max()
    image = np.clip((raw.pixels - np.float32(low)) / np.float32(high - low), 0, 1)
    return 1 - image if raw.inverted else image


def _breast_intensity(raw: RawImage) -> np.ndarray:
    """As robust within the largest connected region brighter than 5 of 255, which is how the papers find the breast."""
    image = _robust_intensity(raw)
    regions, count = ndimage.label(image > _DARK)
    if not count:
        return image
    largest = np.argmax(np.bincount(regions.ravel())[1:]) + 1
    return np.where(regions == largest, image, np.float32(0))


def field_of_view(pixels: np.ndarray) -> np.ndarray:
    """The image without the constant rows and columns (collimator, padding) along its borders; a view."""
    rows = np.flatnonzero(pixels.max(axis=1) > pixels.min(axis=1))
    columns = np.flatnonzero(pixels.max(axis=0) > pixels.min(axis=0))
    if not len(rows) or not len(columns):  # stripes
        return pixels
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


PROFILES: dict[str, Profile] = {
    "robust": Profile(
        "robust", 1, _robust_affine, _robust_intensity, True, "percentile window, inversion, whole field padded"
    ),
    "breast": Profile(
        "breast", 1, _robust_affine, _breast_intensity, True, "as robust, black beside the largest bright region"
    ),
    "authors": Profile(
        "authors", 1, _authors_affine, _authors_intensity, False, "divide by maximum, short side, centre crop"
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
