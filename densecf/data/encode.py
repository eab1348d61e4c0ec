"""One row of a prepared dataset: load the sample, check it, write its bytes."""

import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from densecf.data.layout import IMAGE_DTYPE, IMAGES, MASK_DTYPE, MASKS, NO_MASK, counterfactual_file, quantise
from densecf.data.row_files import RowFile
from densecf.data.sources import Sample, Source
from densecf.errors import DataError


@dataclass(frozen=True)
class Written:
    """A finished row.

    Attributes:
        row: its number.
        crc: CRC-32 of its bytes in all files, in the order of the files.
        affine: (3, 3) as nested lists.
        pixel_spacing: millimetres per prepared pixel, NaN when unknown.
    """

    row: int
    crc: int
    affine: list[list[float]]
    pixel_spacing: float

    def to_json(self) -> str:
        spacing = None if math.isnan(self.pixel_spacing) else self.pixel_spacing
        return json.dumps({"row": self.row, "crc": self.crc, "affine": self.affine, "spacing": spacing})

    @classmethod
    def from_json(cls, line: str) -> "Written":
        """Raises ValueError, TypeError or KeyError on a line that was cut off."""
        entry = json.loads(line)
        spacing = math.nan if entry["spacing"] is None else float(entry["spacing"])
        return cls(int(entry["row"]), int(entry["crc"]), entry["affine"], spacing)


@dataclass(frozen=True)
class Unusable:
    """A record that cannot be prepared, and why."""

    row: int
    image: str
    reason: str


def row_files(folder: Path, source: Source, has_masks: bool, rows: int, size: int) -> dict[str, RowFile]:
    """The arrays of a dataset, by their name relative to ``folder``; the order is fixed."""
    files = {IMAGES: RowFile(folder / IMAGES, rows, size, IMAGE_DTYPE)}
    if has_masks:
        files[MASKS] = RowFile(folder / MASKS, rows, size, MASK_DTYPE)
    for name in source.counterfactual_names:
        file = counterfactual_file(source.counterfactual_source, name)
        files[file] = RowFile(folder / file, rows, size, IMAGE_DTYPE)
    return files


class RowWriter:
    """Callable row -> `Written` or `Unusable`; picklable, for worker processes.

    Args:
        source: where samples come from.
        files: see `row_files`.
        images: the name of each record, for messages.
        has_mask: (n,) whether each record has a mask.
        size: S.
    """

    def __init__(self, source: Source, files: dict[str, RowFile], images: list[str], has_mask: np.ndarray, size: int):
        self.source, self.files, self.images, self.has_mask, self.size = source, files, images, has_mask, size

    def __call__(self, row: int) -> Written | Unusable:
        try:
            sample = self.source.load(row, self.size)
            arrays = self._encode(row, sample)
        except DataError as error:
            return Unusable(row, self.images[row], str(error))
        crc = 0
        for name, file in self.files.items():
            file.write(row, arrays[name])
            crc = zlib.crc32(arrays[name].tobytes(), crc)
        return Written(row, crc, np.asarray(sample.affine, np.float64).tolist(), float(sample.pixel_spacing))

    def _encode(self, row: int, sample: Sample) -> dict[str, np.ndarray]:
        image = self._checked(row, sample.image, "image")
        if image.min() == image.max():
            raise DataError(f"{self.images[row]}: the image is constant at {self.size} px (far too narrow?).")
        arrays = {IMAGES: quantise(image)}
        if MASKS in self.files:
            arrays[MASKS] = self._mask(row, sample.mask)
        if set(sample.counterfactuals) != set(self.source.counterfactual_names):
            raise ValueError(f"{self.images[row]}: the source gave other counterfactuals than it names")
        for name in self.source.counterfactual_names:
            counterfactual = self._checked(row, sample.counterfactuals[name], name)
            arrays[counterfactual_file(self.source.counterfactual_source, name)] = quantise(counterfactual)
        return arrays

    def _checked(self, row: int, image: np.ndarray, what: str) -> np.ndarray:
        if image.shape != (self.size, self.size):
            raise ValueError(f"{self.images[row]}: {what} has shape {image.shape}, expected {(self.size, self.size)}")
        if not (image.min() >= -1e-4 and image.max() <= 1 + 1e-4):  # false for NaN too
            raise ValueError(f"{self.images[row]}: {what} is not in [0, 1]")
        return image

    def _mask(self, row: int, mask: np.ndarray | None) -> np.ndarray:
        if (mask is not None) != self.has_mask[row]:
            raise ValueError(f"{self.images[row]}: mask_kind and the mask given by the source do not agree")
        if mask is None:
            return np.full((self.size, self.size), NO_MASK, np.uint8)
        if mask.shape != (self.size, self.size) or mask.max() >= len(self.source.class_names):
            raise ValueError(f"{self.images[row]}: mask of shape {mask.shape} with class {mask.max()} does not fit")
        return mask.astype(np.uint8)


def still_valid(written: Written, files: dict[str, RowFile]) -> bool:
    """Whether the row on disk is what the journal says (a power cut may have lost it)."""
    crc = 0
    for file in files.values():
        crc = zlib.crc32(file.read(written.row), crc)
    return crc == written.crc
