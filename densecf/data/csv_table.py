"""CSV files as written by people and by spreadsheets, read as text with the line each row stands on."""

import csv
import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pandas as pd

from densecf.data.problems import Problems, repeated
from densecf.data.unpacking import gunzip
from densecf.errors import DataError

_LONGEST_FIELD = 1 << 27  # run-length masks of CheXmask are long; Python's own limit is 131,072 characters
_HEADER_WITHIN = 1 << 20  # characters at the beginning of a file among which its header is looked for
_PORTION = 1024


@dataclass(frozen=True)
class CsvTable:
    """A CSV file, unconverted.

    Attributes:
        frame: all cells as stripped text; missing cells are "".
        lines: for each row the 1-based line of the file on which it begins (the header is line 1 unless
            empty lines come before it).
        left_out: columns of the file that nobody asked for.
    """

    frame: pd.DataFrame
    lines: list[int]
    left_out: tuple[str, ...] = ()


def read_csv_table(path: str | Path, only: Collection[str] = ()) -> CsvTable:
    """Read a table as text.

    Takes commas, semicolons or tabs (whichever the header has most of), quoted fields that hold line
    breaks, a byte-order mark, any line ends, UTF-8 or UTF-16, and gzip. Empty lines are passed over, and so are
    columns at the end that have neither a name nor any cell.

    Args:
        path: the file.
        only: the columns to keep, of those that there are; by default all. A table of long reports takes half the
            time and memory without them.

    Raises:
        DataError: missing, empty, not text, a header with empty or repeated names, or rows with more or
            fewer cells than the header (all of them are listed with their lines).
    """
    path = Path(path)
    content = _read_bytes(path)
    encoding, beginning = _look_at(content, path)
    first = next((line for line in beginning.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    previous_limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with io.TextIOWrapper(io.BytesIO(content), encoding, newline="") as text:
            header, columns, lines = _parse(text, delimiter, path, only)
    except csv.Error as error:
        raise DataError(f"{path}: not a readable CSV file ({error}).") from error
    finally:
        csv.field_size_limit(previous_limit)
    kept = {
        name: pd.Series(cells, dtype="str") for name, cells in zip(header, columns, strict=True) if cells is not None
    }
    return CsvTable(pd.DataFrame(kept), lines, tuple(name for name in header if name not in kept))


_Columns = list[list[str] | None]


def _parse(text: TextIO, delimiter: str, path: Path, only: Collection[str]) -> tuple[list[str], _Columns, list[int]]:
    """The header, the cells of each column (None for one that is not kept), and the line of each row."""
    reader = csv.reader(text, delimiter=delimiter)
    header: list[str] = []
    width = 0
    columns: _Columns = []
    rows: list[list[str]] = []  # turned into columns in portions: millions of small lists are slow to keep
    lines: list[int] = []
    problems = Problems()
    end_of_last = 0
    for row in reader:
        line, end_of_last = end_of_last + 1, reader.line_num
        cells = list(map(str.strip, row))
        if not any(cells):
            continue
        if not header:
            width, header = len(cells), _without_empty_end(cells)
            _check_header(header, path)
            columns = [[] if not only or name in only else None for name in header]
        elif len(cells) != width:
            problems.add(f"line {line}", f"{len(cells)} cells where the header has {width}")
        elif width > len(header) and any(cells[len(header) :]):
            problems.add(f"line {line}", "a cell beyond the last named column")
        else:
            rows.append(cells[: len(header)])
            lines.append(line)
            if len(rows) == _PORTION:
                _append(columns, rows)
    problems.raise_if_any(f"{path}: rows that do not fit the header (a comma in an unquoted text?)")
    if not lines:
        raise DataError(f"{path}: the table holds no rows.")
    _append(columns, rows)
    return header, columns, lines


def _append(columns: _Columns, rows: list[list[str]]) -> None:
    for column, cells in zip(columns, zip(*rows, strict=True), strict=False):  # no rows, no cells
        if column is not None:
            column.extend(cells)
    rows.clear()


def _without_empty_end(header: list[str]) -> list[str]:
    """NIH ChestX-ray14 has a comma at the end of every line."""
    named = [i for i, name in enumerate(header) if name]
    return header[: named[-1] + 1]


def _check_header(header: list[str], path: Path) -> None:
    if twice := repeated(filter(None, header)):
        raise DataError(f"{path}: the header names these columns more than once: {', '.join(twice)}.")
    # pandas writes its index as a column without a name: harmless, and common enough to be let through.
    if "" in header[1:] or header == [""]:
        raise DataError(f"{path}: column {header.index('', 1) + 1} of the header has no name.")
    if header[0] == "":
        header[0] = "row"


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gunzip(content, path) if content[:2] == b"\x1f\x8b" else content
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such table.") from error
    except OSError as error:
        raise DataError(f"{path}: this table cannot be read ({error.strerror or error}).") from error


def _look_at(content: bytes, path: Path) -> tuple[str, str]:
    """The encoding, and the beginning of the text; all of it is checked, none of it kept (it may be large)."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start}).") from error
    if "\0" in text:
        raise DataError(f"{path}: not a text file (it holds zero bytes).")
    return encoding, text[:_HEADER_WITHIN]
