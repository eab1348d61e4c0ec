"""From a radiograph to what the network expects, and its scores back to the radiograph: densecf's profiles in PyTorch.

`densecf.export.to_monai` copies this file into every bundle, so it imports nothing of densecf. Its numbers are those of
`densecf.data.profiles`, which says what the profiles are for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

PERCENTILES = (0.5, 99.5)
PERCENTILE_PIXELS = 1_000_000  # percentiles of larger images are taken on a regular grid of about this many pixels
DARK = 5 / 255  # breast: what is no brighter is black
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def image_files(folder: str) -> list[str]:
    """The images of a folder, by name.

    Raises:
        ValueError: the folder is missing or has none, or two of them would share one mask file.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder; make it, and put the images into it")
    files = sorted(str(file) for file in Path(folder).iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{folder}: holds no image ({', '.join(SUFFIXES)})")
    named = defaultdict(list)
    for file in files:
        named[Path(file).stem].append(Path(file).name)
    if shared := [names for names in named.values() if len(names) > 1]:
        raise ValueError(
            f"{folder}: {' and '.join(shared[0])} would share the mask {Path(shared[0][0]).stem}_mask.png; rename one"
        )
    return files


def prepare(image: Tensor, size: int, profile: str) -> Tensor:
    """Raw values ``(1, H, W)`` -> grey levels in [0, 1], ``(1, size, size)``; 0 where the image has no pixel."""
    height, width = image.shape[1:]
    rows, columns = (
        _weights(start + step * torch.arange(size, dtype=torch.float64), length, step)
        for length, (start, step) in zip((height, width), _axes(height, width, size, profile), strict=True)
    )
    return (rows @ _grey_levels(image.float(), profile) @ columns.T).clamp(0, 1)


def restore(scores: Tensor, height: int, width: int, profile: str) -> Tensor:
    """Scores of a prepared image ``(K, size, size)`` -> scores of the image ``(K, height, width)``; 0 where it was cut
    off."""
    size = scores.shape[-1]
    rows, columns = (
        _weights((torch.arange(length, dtype=torch.float64) - start) / step, size, 1 / step).to(scores.device)
        for length, (start, step) in zip((height, width), _axes(height, width, size, profile), strict=True)
    )
    return rows @ scores.float() @ columns.T


def _grey_levels(image: Tensor, profile: str) -> Tensor:
    """``(1, H, W)`` float32 in [0, 1]."""
    low, high = _window(np.asarray(image[0]), profile)
    grey = ((image - float(np.float32(low))) / float(np.float32(high - low))).clamp(0, 1)
    if profile != "breast":
        return grey
    regions, count = ndimage.label(np.asarray(grey[0]) > DARK)
    largest = np.argmax(np.bincount(regions.ravel())[1:]) + 1 if count else 0
    return grey * torch.from_numpy(regions == largest)


def _window(values: np.ndarray, profile: str) -> tuple[float, float]:
    """What becomes 0 and what becomes 1."""
    if profile == "authors":
        if values.max() <= 0:
            raise ValueError("no value is above zero, so the image cannot be divided by its maximum")
        return 0.0, values.max()
    field = values[_varying(values, 1), _varying(values, 0)]
    stride = max(1, math.isqrt(field.size // PERCENTILE_PIXELS))
    low, high = np.percentile(field[::stride, ::stride], PERCENTILES)
    return (low, high) if low < high else (values.min(), values.max())


def _varying(values: np.ndarray, across: int) -> slice:
    """The rows (``across`` 1) or columns (0) without the constant ones along the borders; all when all are constant."""
    found = np.flatnonzero(np.ptp(values, axis=across))
    return slice(found[0], found[-1] + 1) if len(found) else slice(None)


def _axes(height: int, width: int, size: int, profile: str) -> list[tuple[float, float]]:
    """For rows and columns: place of the first prepared pixel in the image, and the step from one to the next."""
    if profile != "authors":  # the long side to size, in the middle of a square
        step = max(height, width) / size
        return [((length - 1) / 2 - step * (size - 1) / 2, step) for length in (height, width)]
    axes, short = [], min(height, width)
    for length in (height, width):  # the short side to size, the middle of the long one
        resized = size if length == short else int(size * length / short)
        step = length / resized
        axes.append(((round((resized - size) / 2) + 0.5) * step - 0.5, step))
    return axes


def _weights(centres: Tensor, length: int, step: float) -> Tensor:
    """A triangle as wide as the step around each place: ``(len(centres), length)`` float32; 0 for places outside."""
    distances = (torch.arange(length) - centres[:, None]).abs()
    inside = (centres >= -0.5 - 1e-9) & (centres <= length - 0.5 + 1e-9)
    weights = (1 - distances / max(1.0, step)).clamp(min=0) * inside[:, None]
    return torch.nn.functional.normalize(weights, p=1, dim=1).float()
