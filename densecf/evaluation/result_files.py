"""The results of a fine-tuning as they lie in its run folder, read again: cases, curves, summary."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from densecf.data.csv_table import CsvTable, read_csv_table
from densecf.errors import DataError
from densecf.evaluation.segmentation import CASE_METRICS, SUBSETS
from densecf.evaluation.selection import ALL, CURVE_COLUMNS
from densecf.files import read_json

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_CASE_COLUMNS = ("case", "patient_id", "fold", "pleural_effusion", *CASE_METRICS, "n_missed")


def read_cases(path: Path) -> pd.DataFrame:
    """A ``cases.csv``: one row a case, numbers to their last digit, NaN for empty cells.

    Names that look like numbers, or like nothing ("NA"), stay names.

    Raises:
        DataError: missing or damaged.
    """
    table = _read(path, _CASE_COLUMNS)
    whole, names = ("fold", "n_missed"), ("case", "patient_id")
    cases = pd.DataFrame(
        {
            name: table.frame[name]
            if name in names
            else _converted(path, table, name, _whole if name in whole else _number)
            for name in table.frame.columns
        }
    )
    for name in names:
        if (cases[name] == "").any():
            raise DataError(f"{path}: a cell of the column {name} is empty; {_ADVICE}")
    if cases.duplicated(["case", "fold"]).any():  # external cases are tested by every fold
        raise DataError(f"{path}: holds a case twice in one fold; {_ADVICE}")
    return cases


def read_curves(path: Path) -> pd.DataFrame:
    """A ``curves.csv`` (see `densecf.evaluation.selection`), numbers to their last digit, NaN for empty cells.

    Raises:
        DataError: missing or damaged.
    """
    table = _read(path, CURVE_COLUMNS)
    kinds = {"fold": _whole, "epoch": _whole, "subset": _subset}
    return pd.DataFrame({name: _converted(path, table, name, kinds.get(name, _number)) for name in CURVE_COLUMNS})


def read_summary(path: Path) -> dict[str, dict[str, Any]]:
    """A ``summary.json``, as `densecf.evaluation.segmentation.summarise` made it.

    Raises:
        DensecfError: missing or not JSON.
        DataError: not such a summary.
    """
    summary = read_json(path, "summary of a fine-tuning run")
    if not (isinstance(summary, dict) and "dsc" in summary and all(map(_is_mean_std, summary.values()))):
        raise DataError(f"{path}: not the summary of a fine-tuning run (a mean and std of each measure); {_ADVICE}")
    if "n_missed" in summary and not _is_count(summary["n_missed"].get("total")):
        raise DataError(f"{path}: the total of n_missed is no whole number; {_ADVICE}")
    return summary


_ADVICE = "copy the run folder again from where it was made, or fine-tune again"


def _read(path: Path, columns: Sequence[str]) -> CsvTable:
    table = read_csv_table(path)
    if missing := [name for name in columns if name not in table.frame]:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; {_ADVICE}")
    return table


def _converted(path: Path, table: CsvTable, name: str, convert: Callable[[str], Any]) -> pd.Series:
    values = []
    for line, cell in zip(table.lines, table.frame[name], strict=True):
        try:
            values.append(convert(cell))
        except ValueError as error:
            raise DataError(f"{path}: line {line}: {name} is {cell!r}, expected {error}; {_ADVICE}") from None
    return pd.Series(values)


def _number(cell: str) -> float:
    """Raises ValueError saying what is expected, as the next two."""
    value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    if cell and not math.isfinite(value):
        raise ValueError("a number or nothing")
    return value


def _whole(cell: str) -> int:
    if not _WHOLE.fullmatch(cell):
        raise ValueError("a whole number")
    return int(cell)


def _subset(cell: str) -> str:
    if cell not in (ALL, *SUBSETS):
        raise ValueError(" or ".join((ALL, *SUBSETS)))
    return cell


def _is_mean_std(found: Any) -> bool:
    return isinstance(found, dict) and all(_is_figure(found.get(name)) for name in ("mean", "std"))


def _is_figure(value: Any) -> bool:
    """A number that JSON knows, or null; True and False are none."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
