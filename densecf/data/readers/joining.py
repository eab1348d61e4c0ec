"""Datasets in several tables: which file is which, and taking up columns of one into another."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from densecf.data.csv_table import CsvTable, read_csv_table
from densecf.data.mapped import read_rule
from densecf.data.mapping import Mapping
from densecf.data.problems import Problems, listing
from densecf.data.records import is_missing
from densecf.errors import DataError

_AGE = re.compile(r"0*(\d+(?:\.\d+)?)([DWMY]?)")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0, "": 1.0}
OLDEST = 120  # NIH ChestX-ray14 knows patients of 414


@dataclass(frozen=True)
class NamedTable:
    """A table, and the file it is from."""

    path: Path
    content: CsvTable

    @property
    def places(self) -> list[str]:
        """What to call each row in messages."""
        return [f"line {line}" for line in self.content.lines]

    def require(self, columns: Sequence[str]) -> None:
        """Raises DataError when columns are missing."""
        present = list(map(str, self.content.frame.columns))
        missing = [name for name in columns if name not in present]
        if missing:
            raise DataError(
                f"{self.path}: needs columns that this table does not have: {', '.join(missing)}. "
                f"It has: {listing(present, 50)}."
            )

    def take(self, rows: np.ndarray) -> "NamedTable":
        """These rows, in this order."""
        frame = self.content.frame.iloc[rows].reset_index(drop=True)
        return NamedTable(self.path, CsvTable(frame, [self.content.lines[i] for i in rows]))

    def with_columns(self, columns: dict[str, Sequence[str]]) -> "NamedTable":
        """The table with these columns added or replaced."""
        frame = self.content.frame.assign(**{name: pd.Series(list(c), dtype="str") for name, c in columns.items()})
        return NamedTable(self.path, CsvTable(frame, self.content.lines))


def open_table(path: Path, columns: Sequence[str]) -> NamedTable:
    """Read a table that must have some columns.

    Raises:
        DataError: unreadable, or columns are missing.
    """
    table = NamedTable(path, read_csv_table(path))
    table.require(columns)
    return table


def find_file(tables: Sequence[Path], names: Sequence[str]) -> Path:
    """One of a dataset's files: among those given, else beside the first of them.

    A given file is recognised by the beginning of its name, up to the first digit, of one of ``names``.

    Args:
        tables: the files of ``--table``; a folder stands for the files in it.
        names: what the owner calls the file, the preferred one first; each also with ``.gz``.

    Raises:
        DataError: it is neither given nor there.
    """
    begins = tuple(re.split(r"\d", name.removesuffix(".csv"), maxsplit=1)[0].lower() for name in names)
    folders = [path if path.is_dir() else path.parent for path in tables]
    for path in tables:
        if not path.is_dir() and path.name.lower().startswith(begins):
            return path
    for folder in dict.fromkeys(folders):
        for name in (*names, *(f"{name}.gz" for name in names)):
            if (folder / name).is_file():
                return folder / name
    places = ", ".join(dict.fromkeys(map(str, folders))) or "no folder"
    raise DataError(
        f"{names[0]} is needed and not in {places}. Put it there, or name it as a further file of --table"
        f"{' (also taken: ' + ', '.join(names[1:]) + ')' if names[1:] else ''}."
    )


def look_up(table: NamedTable, key: str, other: NamedTable, other_key: str, columns: Sequence[str]) -> NamedTable:
    """Take up columns of another table into the rows that have its key; all rows must find one.

    Args:
        table: has column ``key``.
        other: has columns ``other_key`` and ``columns``; the same key twice is fine if the cells agree.

    Raises:
        DataError: keys that the other table does not have, or has twice with different cells; all are listed.
    """
    row_of = _rows_by_key(other, other_key, columns)
    keys = table.content.frame[key].tolist()
    problems = Problems()
    for value, place in zip(keys, table.places, strict=True):
        if value not in row_of:
            problems.add(place, f"{key} is {value!r}, expected one that is in column {other_key} of {other.path.name}")
    problems.raise_if_any(f"{table.path}: rows that cannot be used")
    rows = [row_of[value] for value in keys]
    return table.with_columns({name: other.content.frame[name].iloc[rows].tolist() for name in columns})


def _rows_by_key(table: NamedTable, key: str, columns: Sequence[str]) -> dict[str, int]:
    problems = Problems()
    row_of: dict[str, int] = {}
    cells = table.content.frame[list(columns)].to_numpy(dtype=object)
    for row, value in enumerate(table.content.frame[key]):
        first = row_of.setdefault(value, row)
        if first != row and (cells[first] != cells[row]).any():
            differing = [name for name, a, b in zip(columns, cells[first], cells[row], strict=True) if a != b]
            problems.add(
                table.places[row],
                f"{key} {value!r} is already on {table.places[first]} with another {', '.join(differing)}",
            )
    problems.raise_if_any(f"{table.path}: rows that contradict each other")
    return row_of


def check_cells(table: NamedTable, columns: Sequence[str], mapping: Mapping) -> None:
    """Read the cells of a table that is about to be joined, so that messages name its own file and lines.

    Raises:
        DataError: cells that the mapping's rules for ``columns`` cannot read.
    """
    problems = Problems()
    places = np.array(table.places, dtype=object)
    for rule in mapping.columns.values():
        if rule.table_columns and rule.table_columns <= set(columns):
            read_rule(rule, table.content.frame, places, problems)
    problems.raise_if_any(f"{table.path}: rows that cannot be used")


def read_ages(table: NamedTable, column: str) -> NamedTable:
    """Ages as DICOM and NIH write them (``058Y``, ``018M``, ``58``) become years; beyond 120 they become unknown.

    Raises:
        DataError: cells that are no age.
    """
    problems = Problems()
    years = []
    for cell, place in zip(table.content.frame[column], table.places, strict=True):
        match = _AGE.fullmatch(cell.strip().upper())
        if match is None and not is_missing(cell):
            problems.add(place, f"{column} is {cell!r}, expected an age such as 58 or 058Y, or empty")
        age = float(match.group(1)) / _PER_YEAR[match.group(2)] if match else np.inf
        years.append(f"{age:g}" if age <= OLDEST else "")
    problems.raise_if_any(f"{table.path}: rows that cannot be used")
    return table.with_columns({column: years})
