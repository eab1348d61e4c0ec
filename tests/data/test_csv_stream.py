"""Rows of large CSV files: quotes that Python's csv module reads on beyond the row, or not at all, are refused."""

import io

import pytest

from densecf.data.csv_stream import parse_row, stream_rows
from densecf.errors import DataError


def rows_of(content: bytes) -> list[list[str]]:
    return [parse_row(row.data, ",") for row in stream_rows(io.BytesIO(content), "a.csv")]


def test_quoted_cells_hold_delimiters_quotes_and_line_breaks():
    assert rows_of(b'a,b\n"x, ""y""","1\n2"\n') == [["a", "b"], ['x, "y"', "1\n2"]]


@pytest.mark.parametrize("row", [b'a"b,"c,d\n', b'"a"b,c\n', b'a"b,c\nd"e,f\n'])
def test_stray_quotes_are_refused(row):
    """An even number of them looks like whole cells to whoever only counts."""
    with pytest.raises(DataError, match="not a row of a CSV file"):
        rows_of(row)
