"""Masks that a table speaks of, as mask sources: image files, or run lengths in its cells."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from densecf.data.raw_image import RawImage
from densecf.data.readers.masks import read_class_masks, read_label_mask
from densecf.data.readers.paths import FileState, digest_of_files
from densecf.data.run_lengths import decode
from densecf.errors import DataError


class FileMasks:
    """Mask images; a `densecf.data.readers.mask_source.MaskSource`.

    Args:
        class_names: "background" first.
        paths: image -> its files: one binary image a class, or one image of class indices.
        as_labels: which of the two.
        states: of all files, for the fingerprint.
        kind: "manual" or "silver".
        values: pixel value -> class index, for images of indices that count otherwise.
        quality: image -> quality; 1 where it says nothing.
    """

    def __init__(
        self,
        class_names: tuple[str, ...],
        paths: Mapping[str, Sequence[Path]],
        as_labels: bool,
        states: Sequence[FileState] = (),
        kind: str = "manual",
        values: Mapping[int, int] | None = None,
        quality: Mapping[str, float] | None = None,
    ):
        self.class_names, self.kind = class_names, kind
        self._paths, self._as_labels, self._values = dict(paths), as_labels, dict(values or {})
        self._quality = dict(quality or {})
        self._digest = digest_of_files(states)

    def quality(self, images: Sequence[str]) -> np.ndarray:
        """See `MaskSource.quality`."""
        stated = (self._quality.get(image, 1.0) if image in self._paths else np.nan for image in images)
        return np.fromiter(stated, np.float64, len(images))

    def labels(self, image: str, raw: RawImage) -> np.ndarray | None:
        """See `MaskSource.labels`."""
        if image not in self._paths:
            return None
        paths, shape = self._paths[image], raw.shape
        if not self._as_labels:
            return read_class_masks(paths, shape)
        return read_label_mask(paths[0], shape, self.class_names, self._values or None)

    def fingerprint(self) -> dict[str, Any]:
        """See `MaskSource.fingerprint`: the size and time of change of every file."""
        values = {str(value): index for value, index in self._values.items()}
        return {"masks": "files", "files_sha256": self._digest, "as_labels": self._as_labels, "values": values}

    def report(self, images: Sequence[str] = ()) -> list[str]:
        """See `MaskSource.report`."""
        return []


class RunLengthMasks:
    """Run lengths, one text a class; a `densecf.data.readers.mask_source.MaskSource`.

    Args:
        class_names: "background" first.
        runs: image -> one text for each class but the background.
        sizes: image -> (height, width) that the runs speak of; without an entry the image's own.
        columns_first: runs go down the columns.
        kind: "manual" or "silver".
        quality: image -> quality; 1 where it says nothing.
    """

    def __init__(
        self,
        class_names: tuple[str, ...],
        runs: Mapping[str, Sequence[str]],
        sizes: Mapping[str, tuple[int, int]],
        columns_first: bool = False,
        kind: str = "manual",
        quality: Mapping[str, float] | None = None,
    ):
        self.class_names, self.kind = class_names, kind
        self._runs, self._sizes, self._columns_first = dict(runs), dict(sizes), columns_first
        self._quality = dict(quality or {})

    def quality(self, images: Sequence[str]) -> np.ndarray:
        """See `MaskSource.quality`."""
        stated = (self._quality.get(image, 1.0) if image in self._runs else np.nan for image in images)
        return np.fromiter(stated, np.float64, len(images))

    def labels(self, image: str, raw: RawImage) -> np.ndarray | None:
        """See `MaskSource.labels`; where classes overlap the later one wins."""
        if image not in self._runs:
            return None
        shape = raw.shape
        height, width = self._sizes.get(image, shape)
        if (height, width) != shape:
            raise DataError(
                f"{image}: the run lengths speak of {height} x {width} px (rows x columns), the image has "
                f"{shape[0]} x {shape[1]}."
            )
        labels = np.zeros(shape, np.uint8)
        for index, text in enumerate(self._runs[image], start=1):
            try:
                inside = decode(text, width, height).T if self._columns_first else decode(text, height, width)
            except DataError as error:
                raise DataError(f"{image}: {self.class_names[index]}: {error}") from error
            labels[inside] = index
        return labels

    def fingerprint(self) -> dict[str, Any]:
        """See `MaskSource.fingerprint`; the runs are in the table, which has its own checksum."""
        return {"masks": "run lengths", "columns_first": self._columns_first}

    def report(self, images: Sequence[str] = ()) -> list[str]:
        """See `MaskSource.report`."""
        return []
