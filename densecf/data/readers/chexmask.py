"""A CheXmask file as a source of masks: one pass over its gigabytes, then single rows by their place in the file."""

import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from densecf.data.chexmask import frames
from densecf.data.chexmask.opening import opened, readable
from densecf.data.chexmask.rows import (
    CLASS_NAMES,
    DATASETS,
    PREPROCESSED,
    Columns,
    Layout,
    Row,
    examine,
    labels_of_polygons,
    labels_on_canvas,
)
from densecf.data.csv_stream import CsvRow, delimiter_of, parse_row, stream_rows
from densecf.data.problems import SHOWN
from densecf.data.raw_image import RawImage
from densecf.data.readers.mask_source import image_key
from densecf.errors import ConfigError, DataError

VERSION = 1  # of the rules by which rows become labels; raise it when results change
FLAVOURS = ("auto", "original", "preprocessed")
_SQUARE = (PREPROCESSED, PREPROCESSED)
_FOLDERS = {"CheXpert": 3}  # of the id; its files are nearly all called view1_frontal.jpg
_ODD = {
    "scores": "Dice RCA (Max) is below Dice RCA (Mean), so the names are swapped there; the lower value is the mean",
    "unsized": "no Height and Width; found from the landmarks",
    "turned": "Height and Width are swapped, as the run lengths fit the landmarks only the other way round; read so",
    "cut": "Height and Width were swapped when the mask was drawn, which cut a part off; drawn anew from the landmarks",
    "crossed": "Left Lung and Right Lung hold each other's mask (by the landmarks); exchanged",
    "unchecked": "no Landmarks, so size and sides are taken as stated",
    "repeated": "repeat an earlier row",
}


@dataclass
class _Index:
    """What one pass over a file finds; one entry a usable row in the lists."""

    columns: Columns
    delimiter: str
    dataset: str
    folders: int
    row_of: dict[str, int] = field(default_factory=dict)
    offsets: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    checks: list[int] = field(default_factory=list)  # CRC-32 of the row
    images: list[str] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)  # "square", "other" or "unknown"
    skipped: list[tuple[int, str, str]] = field(default_factory=list)  # line, image, why
    odd: Counter[str] = field(default_factory=Counter)
    seen: int = 0

    def drop(self, row: int, reason: str) -> None:
        self.skipped.append((self.lines[row], self.images[row], reason))
        self.quality[row] = float("nan")


class ChexmaskFile:
    """Silver masks of one CSV file of CheXmask; a `densecf.data.readers.mask_source.MaskSource`.

    Takes the files of PadChest, MIMIC-CXR-JPG, CheXpert, VinDr-CXR and ChestX-ray8 (NIH), told apart by the name of
    the id column, in both flavours: masks in the image's own pixels, and 1024 x 1024 ("preprocessed"), which are
    mapped back by `densecf.data.chexmask.frames`. Labels are always in the image's own pixels.

    Opening it reads the whole file once and keeps some hundred bytes a row, however long the run lengths are.

    Attributes:
        flavour: "original" or "preprocessed".
        dataset: such as "PadChest"; "" when the id column is none of CheXmask's.
        skipped: (line, image, why) of the rows that cannot be used.

    Args:
        path: the CSV file; gzip needs ``unpack_to``.
        heart: whether the heart is a class of its own (3). The lungs are the same with and without it.
        flavour: "auto" takes what most rows are.
        wanted: ids of the images that matter, all by default; other rows are passed over.
        resized: the images were made smaller or larger as a whole since CheXmask was made from them, so masks of
            the original flavour are resized too.
        id_column: its name where it is none of CheXmask's; preprocessed rows are then taken as PadChest's, which had
            their black borders cut off.
        unpack_to: a folder for the wanted rows of a gzip file; it must stay while this object is used.
        progress: show a bar.

    Raises:
        DataError: the file cannot be read, its columns are others, or no row can be used.
        ConfigError: no such flavour.
    """

    kind = "silver"

    def __init__(
        self,
        path: str | Path,
        heart: bool = False,
        flavour: str = "auto",
        wanted: Collection[str] | None = None,
        resized: bool = False,
        id_column: str = "",
        unpack_to: str | Path | None = None,
        progress: bool = False,
    ):
        if flavour not in FLAVOURS:
            raise ConfigError(f"There is no CheXmask flavour {flavour!r}; choose one of {', '.join(FLAVOURS)}.")
        self.path, self.heart, self.resized, self.flavour = Path(path), heart, resized, flavour
        self.class_names: tuple[str, ...] = CLASS_NAMES if heart else CLASS_NAMES[:3]
        digest = hashlib.sha256()
        with opened(self.path, unpack_to) as (file, copy, self._rows_path):
            stream = _with_bar(readable(stream_rows(file, str(self.path)), self.path), self.path, progress)
            index = self._begin(next(stream, None), id_column)
            keys = None if wanted is None else {image_key(image, index.folders) for image in wanted}
            offset = 0  # in the copy
            for record in stream:
                digest.update(record.data)
                if self._take(index, record, offset if copy else record.offset, keys) and copy:
                    offset += copy.write(record.data)
        self._digest = digest.hexdigest()
        self._settle(index)
        self._state = _state(self._rows_path)

    def _begin(self, header: CsvRow | None, id_column: str) -> _Index:
        if header is None:
            raise DataError(f"{self.path}: the file is empty.")
        try:
            delimiter = delimiter_of(header)
            cells = parse_row(header.data, delimiter)
            columns = Columns.of(cells, id_column, self.heart)
        except DataError as error:
            raise DataError(f"{self.path}: line {header.line}: {error}.") from error
        dataset = DATASETS.get(cells[columns.image].lower(), "")
        return _Index(columns, delimiter, dataset, _FOLDERS.get(dataset, 0))

    def _take(self, index: _Index, record: CsvRow, offset: int, wanted: set[str] | None) -> bool:
        """Note where a row is; False when it is not wanted or cannot be used."""
        index.seen += 1
        image = ""
        try:
            row_cells = parse_row(record.data, index.delimiter)
            image = row_cells[index.columns.image] if index.columns.image < len(row_cells) else ""
            key = image_key(image, index.folders)
            if wanted is not None and key not in wanted:
                index.seen -= 1
                return False
            if not key:
                raise DataError("no image id")
            row = Row.of(row_cells, index.columns)
            layout, state = self._first_look(row)
        except DataError as error:
            index.skipped.append((record.line, image, str(error)))
            return False
        check = zlib.crc32(record.data)
        if key in index.row_of:
            earlier = index.row_of[key]
            if check == index.checks[earlier]:
                index.odd["repeated"] += 1
            else:
                index.skipped.append((record.line, image, f"another mask than on line {index.lines[earlier]:,}"))
                if index.quality[earlier] == index.quality[earlier]:
                    index.drop(earlier, f"another mask than on line {record.line:,}")
            return False
        _count_odd(index.odd, row, layout)
        index.row_of[key] = len(index.offsets)
        for values, value in (
            (index.offsets, offset),
            (index.lengths, len(record.data)),
            (index.lines, record.line),
            (index.checks, check),
            (index.images, image),
            (index.quality, row.quality),
            (index.layouts, state),
        ):
            cast(list, values).append(value)
        return True

    def _first_look(self, row: Row) -> tuple[Layout | None, str]:
        """How a row is laid out as far as it can be said without its image: "square", "other" or "unknown"."""
        if self.flavour == "preprocessed":
            sizes = [_SQUARE]
        elif row.size is not None:
            sizes = [row.size, row.size[::-1]]
        else:
            sizes = [] if self.flavour == "original" else [_SQUARE]
        layout = examine(row, sizes)
        if layout is None and (row.size is not None or self.flavour == "preprocessed"):
            raise DataError(_misfit(row, sizes))
        if layout is None:
            return None, "unknown"
        return layout, "square" if (layout.height, layout.width) == _SQUARE else "other"

    def _settle(self, index: _Index) -> None:
        """Decide the flavour by the majority and leave out rows that contradict it."""
        states = Counter(index.layouts)
        if self.flavour == "auto":
            self.flavour = "preprocessed" if states["square"] > states["other"] + states["unknown"] else "original"
        if self.flavour == "preprocessed":
            for row, state in enumerate(index.layouts):
                if state != "square" and index.quality[row] == index.quality[row]:
                    index.drop(row, "not 1024 x 1024 px as the other rows of this file")
        self.dataset, self._folders = index.dataset, index.folders
        self.skipped, self._odd, self._seen = sorted(index.skipped), index.odd, index.seen
        self._columns, self._delimiter, self._row_of = index.columns, index.delimiter, index.row_of
        self._offsets, self._lengths = np.array(index.offsets, np.int64), np.array(index.lengths, np.int32)
        self._lines, self._quality = np.array(index.lines, np.int64), np.array(index.quality, np.float64)
        if self.skipped and not np.isfinite(self._quality).any():
            raise DataError("\n".join([f"{self.path}: no row can be used.", *self._skipped_lines()]))

    def quality(self, images: Sequence[str]) -> np.ndarray:
        """See `MaskSource.quality`: Dice RCA (Mean)."""
        found = (self._row_of.get(image_key(image, self._folders), -1) for image in images)
        return np.array([self._quality[row] if row >= 0 else np.nan for row in found], np.float64)

    def labels(self, image: str, raw: RawImage) -> np.ndarray | None:
        """See `MaskSource.labels`."""
        number = self._row_of.get(image_key(image, self._folders), -1)
        if number < 0 or np.isnan(self._quality[number]):
            return None
        try:
            row = Row.of(parse_row(self._read(number), self._delimiter), self._columns)
            return self._labels(row, raw)
        except DataError as error:
            raise DataError(f"{self.path}: line {self._lines[number]} ({image}): {error}.") from error

    def _read(self, number: int) -> bytes:
        try:
            if _state(self._rows_path) != self._state:
                raise DataError("the file has changed since it was opened; run again")
            with open(self._rows_path, "rb") as file:
                file.seek(self._offsets[number])
                return file.read(self._lengths[number])
        except OSError as error:
            raise DataError(f"the file can no longer be read ({error.strerror})") from error

    def _labels(self, row: Row, raw: RawImage) -> np.ndarray:
        height, width = shape = raw.shape
        square = self.flavour == "preprocessed"
        stated = shape if row.size is None else row.size
        sizes = [_SQUARE] if square else [stated, stated[::-1]]
        layout = examine(row, sizes)
        if layout is None:
            raise DataError(_misfit(row, sizes))
        cropped = self.dataset in (*frames.CROPPED, "")
        if square:
            frame = frames.find_frame(raw, cropped)
            return frames.from_square(labels_on_canvas(row, layout, self.heart), frame, shape)
        size = layout.height, layout.width
        if size == shape:
            return labels_on_canvas(row, layout, self.heart)
        if size == shape[::-1] and row.landmarks is not None:
            landmarks = frames.untransposed(row.landmarks, frames.find_frame(raw, cropped), shape)
            return labels_of_polygons(landmarks, shape, self.heart)
        fits = abs(size[0] * width / size[1] - height) <= 1
        if self.resized and fits:
            return frames.resized(labels_on_canvas(row, layout, self.heart), shape)
        advice = "say so if the images were made smaller as a whole" if fits else "these are not the images it is from"
        raise DataError(
            f"the mask has {size[0]} x {size[1]} px (rows x columns), the image {height} x {width}; {advice}"
        )

    def fingerprint(self) -> dict[str, Any]:
        """See `MaskSource.fingerprint`; the content's checksum comes from the one pass."""
        return {
            "masks": "chexmask",
            "version": VERSION,
            "content_sha256": self._digest,
            "flavour": self.flavour,
            "heart": self.heart,
            "resized": self.resized,
        }

    def report(self, images: Sequence[str] = ()) -> list[str]:
        """See `MaskSource.report`."""
        odd = [f"{self._odd[name]:,} of {self._seen:,} rows: {text}" for name, text in _ODD.items() if self._odd[name]]
        return (
            odd
            + ([f"{len(self.skipped):,} of {self._seen:,} rows are left out:"] if self.skipped else [])
            + (self._skipped_lines())
        )

    def _skipped_lines(self) -> list[str]:
        lines = [f"  line {line} ({image[-60:]}): {reason}" for line, image, reason in self.skipped[:SHOWN]]
        rest = len(self.skipped) - SHOWN
        return [*lines, f"  and {rest:,} more"] if rest > 0 else lines


def _misfit(row: Row, sizes: Sequence[tuple[int, int]]) -> str:
    tried = " nor ".join(f"{height} x {width}" for height, width in dict.fromkeys(sizes))
    what = "the landmarks" if row.landmarks is not None else "the run lengths"
    return f"the run lengths do not fit {what} on {tried} px (rows x columns)"


def _count_odd(odd: Counter[str], row: Row, layout: Layout | None) -> None:
    odd["scores"] += row.scores_swapped
    odd["unsized"] += row.size is None
    odd["unchecked"] += row.landmarks is None
    if layout is None:
        return
    odd["crossed"] += layout.crossed
    if row.size is not None and row.landmarks is not None:
        odd["turned"] += (layout.height, layout.width) != row.size
        # Landmarks beyond the canvas that would lie on a turned one: the canvas was wrong, not the patient's position.
        x, y = row.landmarks.max(axis=0)
        odd["cut"] += layout.clipped and bool(x < layout.height and y < layout.width)


def _with_bar(stream: Iterator[CsvRow], path: Path, progress: bool) -> Iterator[CsvRow]:
    from tqdm import tqdm

    with tqdm(total=os.path.getsize(path), desc=path.name, unit="B", unit_scale=True, disable=not progress) as bar:
        for record in stream:
            bar.update(len(record.data))
            yield record


def _state(path: Path) -> tuple[int, int]:
    info = os.stat(path)
    return info.st_size, info.st_mtime_ns
