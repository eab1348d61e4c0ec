"""What one row of a CheXmask file says.

CheXmask (Gaggion et al. 2024, https://physionet.org/content/chexmask-cxr-segmentation-data/1.0.0/) gives each
radiograph two scores, 120 landmarks (x, y) and the lungs and the heart as run lengths; the masks are the filled
polygons of the landmarks. "Preprocessed" files speak of 1024 x 1024 px, "OriginalResolution" files of the image's own.

The published rows are not all right, so nothing is believed that the row itself contradicts:

* The scores' names are swapped in some rows. A mean is never above its maximum: the lower one is the mean.
* Height and Width are swapped or empty in some. The runs of a lung must begin and end on the rows of its landmarks,
  which they do for one width only.
* Left Lung and Right Lung must be the polygons of their landmarks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from densecf.data.run_lengths import LARGEST, decode
from densecf.errors import DataError

CLASS_NAMES = ("background", "left_lung", "right_lung", "heart")
ORGANS = ("left_lung", "right_lung", "heart")
PREPROCESSED = 1024
POINTS = {"right_lung": slice(0, 44), "left_lung": slice(44, 94), "heart": slice(94, 120)}
NUM_POINTS = 120

# Name of the id column -> the dataset. https://github.com/ngaggion/CheXmask-Database, DataPostprocessing/
DATASETS = {
    "imageid": "PadChest",
    "dicom_id": "MIMIC-CXR-JPG",
    "path": "CheXpert",
    "image_id": "VinDr-CXR",
    "image index": "ChestX-ray8",
}
_SLACK = 1  # pixels that a polygon's outline may differ by
_PUNCTUATION = str.maketrans("[],\r\n", "     ")


@dataclass(frozen=True)
class Columns:
    """Where the cells of a row are, of ``count``; -1 for columns that a file may lack."""

    count: int
    image: int
    mean: int
    left_lung: int
    right_lung: int
    maximum: int = -1
    heart: int = -1
    landmarks: int = -1
    height: int = -1
    width: int = -1

    @classmethod
    def of(cls, header: Sequence[str], id_column: str = "", heart: bool = False) -> "Columns":
        """Find the columns by name, whatever their order and case.

        Raises:
            DataError: columns are missing; the caller knows the file.
        """
        places = {name.strip().lower(): i for i, name in enumerate(header)}
        ids = [id_column.strip().lower()] if id_column else list(DATASETS)
        image = next((places[name] for name in ids if name in places), -1)
        wanted = {"mean": "dice rca (mean)", "left_lung": "left lung", "right_lung": "right lung"}
        optional = {"maximum": "dice rca (max)", "landmarks": "landmarks", "height": "height", "width": "width"}
        (wanted if heart else optional)["heart"] = "heart"
        missing = [title for title in wanted.values() if title not in places]
        if image < 0:
            missing.insert(0, " or ".join(ids))
        if missing:
            raise DataError(
                f"the columns {', '.join(missing)} are missing, expected those of CheXmask; there are: "
                f"{', '.join(header[:20])}"
            )
        found = {field: places.get(title, -1) for field, title in (wanted | optional).items()}
        return cls(count=len(header), image=image, **found)


@dataclass(frozen=True)
class Row:
    """One row, its run lengths still as text.

    Attributes:
        image: the id as it is written.
        quality: Dice RCA (Mean), in [0, 1].
        scores_swapped: whether the two scores stood under each other's names.
        runs: organ -> run lengths.
        landmarks: (120, 2) float64, x and y; None where the cell is empty.
        height, width: as stated; None where empty.
    """

    image: str
    quality: float
    scores_swapped: bool
    runs: dict[str, str]
    landmarks: np.ndarray | None
    height: int | None
    width: int | None

    @classmethod
    def of(cls, cells: Sequence[str], columns: Columns) -> "Row":
        """Understand the cells of a row.

        Raises:
            DataError: cells that cannot be what they should be; the caller knows the file and the line.
        """

        if len(cells) != columns.count:
            raise DataError(f"{len(cells)} cells where the header has {columns.count}")

        def cell(index: int) -> str:
            return cells[index] if index >= 0 else ""

        mean = _score(cell(columns.mean), "Dice RCA (Mean)")
        maximum = _score(cell(columns.maximum), "Dice RCA (Max)") if cell(columns.maximum) else mean
        runs = {organ: cell(getattr(columns, organ)) for organ in ORGANS}
        empty = [organ for organ in ("left_lung", "right_lung") if not runs[organ]]
        if empty:
            raise DataError(f"no run lengths for {' and '.join(empty)}")
        return cls(
            image=cell(columns.image),
            quality=min(mean, maximum),
            scores_swapped=maximum < mean,
            runs=runs,
            landmarks=_landmarks(cell(columns.landmarks)),
            height=_side(cell(columns.height), "Height"),
            width=_side(cell(columns.width), "Width"),
        )

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) as stated."""
        return (self.height, self.width) if self.height is not None and self.width is not None else None

    def polygon(self, organ: str) -> np.ndarray:
        """(n, 2) x and y of an organ's outline."""
        assert self.landmarks is not None
        return self.landmarks[POINTS[organ]]


def _score(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise DataError(f"{name} is {text[:30]!r}, expected a number from 0 to 1")
    return value


def _side(text: str, name: str) -> int | None:
    if text.lower() in ("", "nan"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (1 <= value <= LARGEST and value == int(value)):
        raise DataError(f"{name} is {text[:30]!r}, expected a whole number of pixels or empty")
    return int(value)


def _landmarks(text: str) -> np.ndarray | None:
    """Flat numbers with commas (Preprocessed), or a printed array, over several lines (OriginalResolution)."""
    if text.lower() in ("", "nan"):
        return None
    try:
        numbers = np.array(list(map(float, text.translate(_PUNCTUATION).split())))
    except ValueError:
        numbers = np.array([math.nan])
    if numbers.size != 2 * NUM_POINTS or not np.isfinite(numbers).all() or np.abs(numbers).max() > LARGEST:
        raise DataError(f"Landmarks are {text[:30]!r}..., expected {NUM_POINTS} pairs of x and y")
    return numbers.reshape(-1, 2)


@dataclass(frozen=True)
class Layout:
    """How the run lengths of a row are to be read.

    Attributes:
        height, width: of the canvas they were made on.
        crossed: the column Left Lung holds the right lung, and the other way round.
        clipped: the landmarks leave the canvas.
    """

    height: int
    width: int
    crossed: bool
    clipped: bool


def examine(row: Row, sizes: Sequence[tuple[int, int]]) -> Layout | None:
    """Which of some sizes the run lengths of the lungs were made with, judged by the landmarks.

    Only the first and the last run are looked at, so this is fast; `labels_on_canvas` finds damage between them.

    Args:
        row: one row.
        sizes: (height, width) to try, the likeliest first.

    Returns:
        The first that fits; None when none does. Without landmarks, the first size that can hold the runs.

    Raises:
        DataError: the runs are no numbers, or the landmarks lie on the wrong sides.
    """
    ends = {organ: _first_and_last(row.runs[organ]) for organ in ("left_lung", "right_lung")}
    if row.landmarks is None:
        last = max(end for _, end in ends.values())
        return next((Layout(h, w, False, False) for h, w in sizes if last < h * w), None)
    if row.polygon("right_lung")[:, 0].mean() >= row.polygon("left_lung")[:, 0].mean():
        raise DataError("the landmarks have the patient's right lung on the right of the image (a mirrored image?)")
    boxes = {organ: (row.polygon(organ).min(axis=0), row.polygon(organ).max(axis=0)) for organ in ends}
    for clipped in (False, True):
        for height, width in dict.fromkeys(sizes):
            for crossed in (False, True):
                pairs = zip(ends.values(), reversed(boxes.values()) if crossed else boxes.values(), strict=True)
                if all(_fits(end, box, height, width, clipped) for end, box in pairs):
                    return Layout(height, width, crossed, clipped)
    return None


def _first_and_last(rle: str) -> tuple[int, int]:
    """0-based positions of the first and the last pixel of a mask."""
    try:
        first = int(rle[:40].split()[0])
        *_, start, length = rle[-60:].split()
        return first - 1, int(start) + int(length) - 2
    except ValueError as error:
        raise DataError(f"the run lengths {rle[:20]!r}...{rle[-20:]!r} are not pairs of whole numbers") from error


def _fits(ends: tuple[int, int], box: tuple[np.ndarray, np.ndarray], height: int, width: int, clipped: bool) -> bool:
    """Whether a mask's first and last pixel lie where those of its polygon do."""
    (left, top), (right, bottom) = box
    (first_row, first_column), (last_row, last_column) = (divmod(end, width) for end in ends)
    inside = left >= 0 and top >= 0 and right < width and bottom < height
    if last_row >= height or not (inside or clipped):
        return False
    columns = all(left - _SLACK <= column <= right + _SLACK for column in (first_column, last_column))
    if clipped and (left < 0 or right >= width):  # the topmost or lowest part may be what was cut off
        rows = first_row >= max(top, 0) - _SLACK and last_row <= min(bottom, height - 1) + _SLACK
    else:
        rows = abs(first_row - max(top, 0)) <= _SLACK and abs(last_row - min(bottom, height - 1)) <= _SLACK
    return bool(columns and rows)


def labels_on_canvas(row: Row, layout: Layout, heart: bool) -> np.ndarray:
    """The class indices, (layout.height, layout.width) uint8; the lungs lie over the heart, which they overlap.

    Raises:
        DataError: damaged run lengths, lungs that overlap or lie on the wrong sides.
    """
    masks = {}
    for organ in ("left_lung", "right_lung", *(["heart"] if heart else [])):
        try:
            masks[organ] = decode(row.runs[organ], layout.height, layout.width)
        except DataError as error:
            raise DataError(f"{organ}: {error}") from error
    if layout.crossed:
        masks["left_lung"], masks["right_lung"] = masks["right_lung"], masks["left_lung"]
    return _join(masks)


def labels_of_polygons(landmarks: np.ndarray, shape: tuple[int, int], heart: bool) -> np.ndarray:
    """As `labels_on_canvas`, drawn anew from landmarks (120, 2) on an image of the given shape."""
    masks = {}
    for organ in ("left_lung", "right_lung", *(["heart"] if heart else [])):
        canvas = Image.new("1", shape[::-1])
        ImageDraw.Draw(canvas).polygon([tuple(point) for point in landmarks[POINTS[organ]].tolist()], fill=1)
        masks[organ] = np.asarray(canvas)
    return _join(masks)


def _join(masks: dict[str, np.ndarray]) -> np.ndarray:
    left, right = masks["left_lung"], masks["right_lung"]
    for organ, mask in masks.items():
        if not mask.any():
            raise DataError(f"the mask of {organ} is empty")
    if np.count_nonzero(left & right) > 0.01 * min(left.sum(), right.sum()):
        raise DataError("the two lungs overlap")
    # Column means suffice: which lung lies further left.
    left_x, right_x = (np.average(np.arange(m.shape[1]), weights=m.sum(axis=0)) for m in (left, right))
    if right_x >= left_x:
        raise DataError("the patient's right lung lies on the right of the image (a mirrored image?)")
    labels = np.zeros(left.shape, np.uint8)
    for organ in ("heart", "left_lung", "right_lung"):
        if organ in masks:
            labels[masks[organ]] = CLASS_NAMES.index(organ)
    return labels
