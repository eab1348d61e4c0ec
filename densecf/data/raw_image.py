"""An image as its file holds it, and what every format has to mind."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from densecf.errors import DataError

SMALL_TYPES = (np.uint8, np.int8, np.uint16, np.int16)


@dataclass(frozen=True)
class RawImage:
    """An image as its file holds it.

    Large images stay in the file's own type; what needs their values takes them piece by piece (`values`).

    Attributes:
        stored: (H, W) numbers of any type.
        inverted: the lowest value means white (DICOM MONOCHROME1, TIFF WhiteIsZero); ``pixels`` are as stored.
        spacing: millimetres between (rows, columns); NaN when unknown. The resolution tags of PNG, JPEG
            and TIFF speak of print and are ignored.
        window: the DICOM (centre, width) that was applied, or None.
        white: the largest value that the file's depth allows, 255 or 65535; NaN where it sets no such limit (float and
            32-bit files, DICOM, NIfTI).
        table: (256,) or (65536,) float32, the raw value of each stored number taken as unsigned (for DICOM after
            rescale and VOI LUT or window); None where the stored numbers are the raw values.
    """

    stored: np.ndarray
    inverted: bool = False
    spacing: tuple[float, float] = (math.nan, math.nan)
    window: tuple[float, float] | None = None
    white: float = math.nan
    table: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.stored.shape
        return height, width

    @cached_property
    def pixels(self) -> np.ndarray:
        """(H, W) float32, the raw values of the whole image."""
        return self.values(np.s_[:, :])

    def values(self, part: tuple[slice, slice]) -> np.ndarray:
        """The raw values of a part of the image as float32; not to be written to."""
        if self.table is None:
            return self.stored[part].astype(np.float32, copy=False)
        return self.table[self.index(part)]

    def index(self, part: tuple[slice, slice]) -> np.ndarray:
        """Where the values of a part stand in ``table``."""
        stored = self.stored[part]
        return stored.view(f"u{stored.dtype.itemsize}").astype(np.intp)

    @property
    def spacing_mm(self) -> float:
        """Millimetres per pixel; NaN when unknown or when rows and columns differ by more than 1 %."""
        row, column = self.spacing
        return (row + column) / 2 if abs(row - column) <= 0.01 * row else math.nan


def refuse_huge(path: Path, height: int, width: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit and height * width > limit:
        raise DataError(f"{path}: {height} x {width} px is beyond the limit of {limit:,} px (a decompression bomb?).")


def small_type(pixels: np.ndarray) -> np.ndarray:
    """8 and 16 bit integers as they are, in the machine's byte order; all else as float32."""
    kind = pixels.dtype.newbyteorder("=")
    return pixels.astype(kind if kind in SMALL_TYPES else np.float32, copy=False)
