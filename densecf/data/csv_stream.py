"""CSV files of gigabytes, one row at a time, each with the place of its bytes so that it can be read again alone."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from densecf.errors import DataError

LONGEST_ROW = 1 << 24  # bytes; an unclosed quote would otherwise swallow the rest of the file
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row, unparsed.

    Attributes:
        offset: of its first byte in the (unpacked) file.
        line: 1-based line on which it begins.
        data: its bytes, line break included.
    """

    offset: int
    line: int
    data: bytes


def stream_rows(file: BinaryIO, where: str) -> Iterator[CsvRow]:
    """All rows that are not empty, the header first; quoted cells may hold line breaks.

    Args:
        file: at its beginning; plain or gzip.
        where: its name for messages.

    Raises:
        DataError: a row longer than `LONGEST_ROW` (a quote that is never closed, or not a CSV file).
    """
    offset = line = 0
    parts: list[bytes] = []
    start, first_line, size, quotes = 0, 1, 0, 0
    while chunk := file.readline(LONGEST_ROW + 1):
        line += 1
        if not parts:
            start, first_line, size, quotes = offset, line, 0, 0
        offset += len(chunk)
        size += len(chunk)
        quotes += chunk.count(b'"')
        if size > LONGEST_ROW:
            raise DataError(
                f"{where}: line {first_line} begins a row of more than {LONGEST_ROW >> 20} MB; is a quote not closed?"
            )
        parts.append(chunk)
        if quotes % 2 == 0:
            data = b"".join(parts)
            parts = []
            if data.removeprefix(_BOM).strip():
                yield CsvRow(start, first_line, data)
    if parts:
        raise DataError(f"{where}: line {first_line} opens a quote that is not closed; was the file cut off?")


def delimiter_of(header: CsvRow) -> str:
    """Comma, semicolon or tab: whichever the header has most of."""
    return max(",;\t", key=header.data.decode("utf-8", "replace").count)


def parse_row(data: bytes, delimiter: str) -> list[str]:
    """The stripped cells of one row, as `stream_rows` gave it; a byte-order mark is dropped.

    Raises:
        DataError: not UTF-8, or not CSV (a stray quote, say); the caller knows the file and the line.
    """
    try:
        text = data.removeprefix(_BOM).decode("utf-8")
        previous = csv.field_size_limit(LONGEST_ROW)
        try:
            cells = next(csv.reader([text], delimiter=delimiter, strict=True))
        finally:
            csv.field_size_limit(previous)
    except UnicodeDecodeError as error:
        raise DataError(f"not text in UTF-8 ({error.reason} at byte {error.start} of the row)") from error
    except (csv.Error, StopIteration) as error:
        raise DataError(f"not a row of a CSV file ({error})") from error
    return [cell.strip() for cell in cells]
