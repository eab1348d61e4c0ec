"""The images that a command looks at pixel by pixel: image files, or a record of a dataset with its counterfactuals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from densecf.commands.datasets import row_of
from densecf.data.images import read_image
from densecf.data.prepared import PreparedDataset
from densecf.data.profiles import get_profile
from densecf.data.tones import NoPositiveValue
from densecf.errors import DataError


@dataclass(frozen=True)
class LoadedImage:
    """One image, as it is and as a network takes it.

    Attributes:
        title: file name, or record and what was changed.
        image: (H, W) float32 in [0, 1], at its original size; of a record, the prepared one.
        prepared: (S, S) float32 in [0, 1].
        valid: (S, S) bool, False where the original has no pixel; None: everywhere, or not known.
        affine: (3, 3) prepared pixel index -> pixel index of `image`; None: they are the same.
    """

    title: str
    image: np.ndarray
    prepared: np.ndarray
    valid: np.ndarray | None = None
    affine: np.ndarray | None = None


def load_files(paths: Sequence[Path], facts: Mapping[str, Any]) -> Iterator[LoadedImage]:
    """Image files, prepared as the pretraining data of a network was.

    Args:
        paths: PNG, JPEG, TIFF, DICOM or NIfTI files.
        facts: what the network's weights file says of itself.

    Raises:
        DataError: a file that cannot be read.
    """
    profile, size = get_profile(facts.get("profile") or "robust"), int(facts["size"])
    for path in paths:
        raw = read_image(path)
        try:
            prepared, affine = profile.image(raw, size)
        except NoPositiveValue as error:
            raise DataError(f"{path}: {error}") from None
        yield LoadedImage(path.name, profile.intensity(raw), prepared, _field(affine, raw.pixels.shape, size), affine)


def load_record(data: PreparedDataset, record: str) -> tuple[str, list[LoadedImage]]:
    """A record (the first of the manual split when none is named), then its stored counterfactuals.

    Returns:
        A name for files, and the images.

    Raises:
        DataError: no such record.
    """
    row = row_of(data, record)
    name = str(data.records["image"].iloc[row])
    pictures = {"real": data.image(row)}
    for source, interventions in data.counterfactuals.items():
        pictures |= {f"{source}: do({name})": data.counterfactual(source, name, row) for name in interventions}
    images = [LoadedImage(f"{name} · {title}", image, image) for title, image in pictures.items()]
    return Path(name).stem, images


def _field(affine: np.ndarray, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Which prepared pixels lie on the original image of that shape."""
    rows, columns = (affine[axis, axis] * np.arange(size) + affine[axis, 2] for axis in range(2))
    on_rows, on_columns = (
        (at >= -0.5) & (at <= length - 0.5) for at, length in zip((rows, columns), shape, strict=True)
    )
    return on_rows[:, None] & on_columns[None, :]
