"""Where CheXmask's 1024 x 1024 images lie in the images that they were made from.

Its preparation (https://github.com/ngaggion/CheXmask-Database, DataPreparation/) read an image with 8-bit grey values,
for some datasets cut the black borders off, padded it to a centred square and resized that.
"""

import math
from dataclasses import dataclass

import numpy as np

from densecf.data.raw_image import RawImage
from densecf.errors import DataError

CROPPED = ("PadChest", "MIMIC-CXR-JPG")  # the datasets whose black borders were cut off
_BLACK = 1  # 8-bit values up to this are border


@dataclass(frozen=True)
class Frame:
    """The square that CheXmask's preparation cut out of an image, before it was resized to 1024 x 1024.

    Attributes:
        top, left: of the content, in the image's pixels.
        height, width: of the content.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def side(self) -> int:
        return max(self.height, self.width)

    @property
    def origin(self) -> tuple[int, int]:
        """(row, column) of the square's first pixel in the image; negative where it was padded."""
        return self.top - (self.side - self.height) // 2, self.left - (self.side - self.width) // 2


def find_frame(raw: RawImage, cropped: bool) -> Frame:
    """The square of an image.

    Args:
        raw: the image as its PNG or JPEG file holds it, (H, W).
        cropped: whether the borders whose 8-bit values never exceed 1 were cut off first.

    Raises:
        DataError: the depth of the image is unknown (not PNG or JPEG), or it is all black.
    """
    height, width = raw.shape
    if not cropped:
        return Frame(0, 0, height, width)
    if not math.isfinite(raw.white) or raw.white < 255:
        raise DataError(
            "CheXmask cut the black borders off by the 8-bit values of the PNG or JPEG file, which this image's "
            "format does not give; use the OriginalResolution file, or the PNG or JPEG images"
        )
    rows, columns = (np.flatnonzero(_eight_bit(raw.pixels.max(axis=axis), raw.white) > _BLACK) for axis in (1, 0))
    if not len(rows):
        raise DataError("nothing in the image is brighter than 1 of 255, so CheXmask cannot have had a mask for it")
    return Frame(int(rows[0]), int(columns[0]), int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)


def _eight_bit(values: np.ndarray, white: float) -> np.ndarray:
    """As OpenCV reads grey values: of 16 bits the upper 8."""
    return np.floor(values / 256) if white > 255 else np.round(values)


def from_square(labels: np.ndarray, frame: Frame, shape: tuple[int, int]) -> np.ndarray:
    """Labels of the 1024 x 1024 image -> (H, W) of the image that ``frame`` was found in.

    The inverse of an image resize with pixel centres at half integers (OpenCV), nearest pixel, 0 outside.
    """
    axes = []
    for axis, origin in enumerate(frame.origin):
        # (y + 0.5) / side is the place within the square, from 0 to 1
        within = (np.arange(shape[axis]) - origin + 0.5) * (labels.shape[axis] / frame.side)
        axes.append(np.floor(within).astype(int))
    return gather(labels, axes[0], axes[1])


def resized(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels at another resolution of the same field: nearest pixel."""
    rows, columns = (
        np.floor((np.arange(n) + 0.5) * (m / n)).astype(int) for n, m in zip(shape, labels.shape, strict=True)
    )
    return gather(labels, rows, columns)


def gather(labels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The labels at (rows x columns), (n,) and (m,) indices; 0 where they lie outside. Returns (n, m) uint8."""
    output = np.zeros((len(rows), len(columns)), np.uint8)
    ys, xs = (np.flatnonzero((axis >= 0) & (axis < n)) for axis, n in zip((rows, columns), labels.shape, strict=True))
    output[np.ix_(ys, xs)] = labels[np.ix_(rows[ys], columns[xs])]
    return output


def untransposed(landmarks: np.ndarray, frame: Frame, shape: tuple[int, int]) -> np.ndarray:
    """Undo what a back-projection with height and width swapped does to landmarks (120, 2).

    It takes the side of the square from the swapped sides less the borders, which is another number where there are
    black borders, and scales by it: DataPostprocessing/ReversePreprocessing/back_padchest.py.
    """
    height, width = shape
    wrong = max(width - (height - frame.height), height - (width - frame.width))
    origin = np.array(frame.origin[::-1], float)
    return (landmarks - origin) * (frame.side / wrong) + origin
