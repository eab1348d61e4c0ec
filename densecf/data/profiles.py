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

from densecf.data.images import read_image
from densecf.data.raw_image import RawImage
from densecf.data.resampling import cover, resample, resample_nearest, resample_rows
from densecf.data.tones import NoPositiveValue, Tone, by_maximum, by_percentiles, largest_bright_region
from densecf.errors import ConfigError, DataError


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
            image = resample_rows(lambda rows: tone(raw.stored[rows]), raw.shape, affine, size)
        else:
            table = tone(raw.table)
            image = resample_rows(lambda rows: table[raw.index((rows, slice(None)))], raw.shape, affine, size)
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
        covered = np.stack([cover(labels, k, affine, size) for k in range(1, num_classes)])
        background = 1 - covered.sum(axis=0, keepdims=True)
        return np.argmax(np.concatenate([background, covered]), axis=0).astype(np.uint8)


def spacing_of(affine: np.ndarray, spacing_mm: float) -> float:
    """Millimetres per prepared pixel, from those per original pixel (NaN stays NaN)."""
    return float(spacing_mm * math.sqrt(affine[0, 0] * affine[1, 1]))


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


PROFILES: dict[str, Profile] = {
    "robust": Profile(
        "robust", 1, _robust_affine, by_percentiles, True, "percentile window, inversion, whole field padded"
    ),
    "breast": Profile(
        "breast",
        1,
        _robust_affine,
        by_percentiles,
        True,
        "as robust, black beside the largest bright region",
        largest_bright_region,
    ),
    "authors": Profile("authors", 1, _authors_affine, by_maximum, False, "divide by maximum, short side, centre crop"),
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
