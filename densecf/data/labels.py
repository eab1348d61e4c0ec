"""A column of the records as classes: what a probe predicts, and what a projection is coloured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from densecf.data.problems import listing
from densecf.data.records import is_missing
from densecf.errors import DataError

UNKNOWN = -1
MOST_NUMBERS = 10
"""A column of numbers with more values than this is a measurement, not a label."""


@dataclass(frozen=True)
class Labels:
    """One class a record.

    Attributes:
        column: where they come from.
        codes: (n,) int64 index into ``classes``, or UNKNOWN.
        classes: their names; for two of them the second is the positive one.
        foreign: values that are none of the classes asked for, and count as unknown.
    """

    column: str
    codes: np.ndarray
    classes: tuple[str, ...]
    foreign: tuple[str, ...] = ()


def read_labels(
    records: pd.DataFrame, column: str, *, classes: Sequence[str] | None = None, where: str = "records"
) -> Labels:
    """The classes of the records by one of their columns.

    Args:
        records: the table.
        column: numbers (1 and 0, say), booleans or text; empty cells and NaN are unknown.
        classes: take these, in this order; without it: those of the column, sorted.
        where: the table's name for messages.

    Raises:
        DataError: no such column (they are listed), a measurement, or a column that knows no value.
    """
    if column not in records:
        raise DataError(f"{where}: there is no column {column!r}; the columns are {listing(list(records.columns), 60)}")
    values = records[column]
    names = np.array(["" if is_missing(value) else _name(value) for value in values], dtype=object)
    present = sorted(set(names) - {""}, key=_by_number)
    if not present:
        raise DataError(f"{where}: {column} is unknown for all {len(records):,} records")
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if classes is None and is_number and len(present) > MOST_NUMBERS:
        raise DataError(
            f"{where}: {column} has {len(present):,} different numbers ({listing(present, 3)}), so it is no label; "
            "add a column that says the class of each record"
        )
    chosen = tuple(present) if classes is None else tuple(classes)
    code = {name: number for number, name in enumerate(chosen)}
    codes = np.array([code.get(name, UNKNOWN) for name in names], dtype=np.int64)
    return Labels(column, codes, chosen, tuple(name for name in present if name not in code))


def _name(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value).strip()


def _by_number(name: str) -> tuple[bool, float, str]:
    """Numbers in their own order, before words."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name
