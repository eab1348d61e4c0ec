"""Class indices from mask files: one binary image for each class, or one image of indices."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from densecf.data.images import read_mask
from densecf.data.problems import listing
from densecf.errors import DataError

MOST_OVERLAP = 0.01  # of the smaller class; neighbouring outlines drawn by hand may touch


def read_class_masks(paths: Sequence[Path], shape: tuple[int, ...]) -> np.ndarray:
    """Join binary masks; the k-th file gives class k + 1.

    A pixel belongs to a class where its value is above half of that file's maximum. Where two classes
    overlap by at most a hundredth of the smaller one, the later class wins.

    Args:
        paths: one file a class.
        shape: (H, W) of the image.

    Returns:
        (H, W) uint8.

    Raises:
        DataError: unreadable, another size than the image, covering all of it, or a larger overlap.
    """
    labels = np.zeros(shape, np.uint8)
    areas = {0: 0}
    for index, path in enumerate(paths, start=1):
        values = _read_sized(path, shape)
        inside = values > values.max() / 2
        areas[index] = int(inside.sum())
        if areas[index] == inside.size:
            raise DataError(f"{path}: the mask covers the whole image.")
        for other in range(1, index):
            shared = int(np.count_nonzero(labels[inside] == other))
            if shared > MOST_OVERLAP * min(areas[index], areas[other]):
                raise DataError(f"{path}: overlaps {paths[other - 1].name} in {shared:,} px; a pixel has one class.")
        labels[inside] = index
    return labels


def read_label_mask(
    path: Path, shape: tuple[int, ...], class_names: Sequence[str], values: Mapping[int, int] | None = None
) -> np.ndarray:
    """Read an image of class indices.

    Args:
        path: the file.
        shape: (H, W) of the image.
        class_names: "background" first.
        values: pixel value -> class index; without it the value is the index.

    Returns:
        (H, W) uint8.

    Raises:
        DataError: unreadable, another size than the image, or values that are no class (they are listed).
    """
    pixels = _read_sized(path, shape)
    known = {index: index for index in range(len(class_names))} if values is None else values
    found, inverse = np.unique(pixels, return_inverse=True)
    unknown = [f"{value:g}" for value in found if value not in known]
    if unknown:
        classes = ", ".join(f"{value} {class_names[index]}" for value, index in known.items())
        raise DataError(f"{path}: holds the values {listing(unknown, 10)}, which are no class; expected {classes}.")
    return np.array([known[int(value)] for value in found], np.uint8)[inverse].reshape(pixels.shape)


def _read_sized(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    values = read_mask(path)
    if values.shape != tuple(shape):
        mask_size, image_size = (" x ".join(map(str, s)) for s in (values.shape, shape))
        raise DataError(f"{path}: the mask has {mask_size} px (rows x columns) but its image {image_size} px.")
    return values
