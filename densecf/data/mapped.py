"""From a dataset's own table to records, by a mapping (`densecf.data.mapping`)."""

import ast
import difflib
import math
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from densecf.data.csv_table import CsvTable
from densecf.data.mapping import Filter, Mapping, Rule, template_columns
from densecf.data.problems import Problems, listing
from densecf.data.records import MISSING, is_missing
from densecf.errors import DataError

_QUOTED = r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\""
_LIST = re.compile(rf"\[\s*(?:(?:{_QUOTED})\s*(?:,\s*|(?=['\"\]])))*\]")
_ITEM = re.compile(_QUOTED)


@dataclass(frozen=True)
class Mapped:
    """What a mapping made of a table.

    Attributes:
        records: the rows that are used; not yet through `densecf.data.records.validate`.
        table: the same rows as the table has them, for path templates and run lengths.
        report: what each filter left out, in words.
    """

    records: pd.DataFrame
    table: CsvTable
    report: list[str]

    def fill(self, template: str) -> list[str]:
        """A path template for each row; names are columns of the records, else of the table."""
        names = template_columns(template)
        cells = {n: (self.records if n in self.records else self.table.frame)[n].tolist() for n in names}
        if not names:
            return [template] * len(self.records)
        pieces = [(text, name) for text, name, _, _ in string.Formatter().parse(template)]
        return [
            "".join(text + (str(cells[name][row]) if name else "") for text, name in pieces)
            for row in range(len(self.records))
        ]


def apply_mapping(mapping: Mapping, table: CsvTable, where: str) -> Mapped:
    """Filter and convert a table.

    Args:
        mapping: what to do.
        table: the cells as text, with the line of each row.
        where: the table's name for messages.

    Raises:
        DataError: columns the mapping needs are missing (all are named), no row is left, or cells do not fit
            (all of them, with line, column and what was expected).
    """
    frame = table.frame
    _check_columns(mapping, [str(name) for name in frame.columns], table.left_out, where)
    places = np.array([f"line {line}" for line in table.lines], dtype=object)
    problems = Problems()
    kept = np.arange(len(frame))
    report = []
    for item in mapping.filters:
        cells = frame[item.column].iloc[kept]
        holds = _holds(item, cells, places[kept], problems)
        problems.raise_if_any(f"{where}: rows that cannot be used")
        if not holds.any():
            common = listing([repr(value) for value in cells.value_counts().index[:8]], 8)
            raise DataError(
                f"{where}: no row is left after the filter {_in_words(item)}; {item.column} is: {common}. "
                "Is this the right table?"
            )
        report.append(f"{int((~holds).sum()):,} rows left out: {item.because or 'not ' + _in_words(item)}")
        kept = kept[holds]
    rows = CsvTable(frame.iloc[kept].reset_index(drop=True), [table.lines[i] for i in kept])
    columns: dict[str, Any] = {}
    for name, rule in mapping.columns.items():
        columns[name] = read_rule(rule, rows.frame, places[kept], problems)
    problems.raise_if_any(f"{where}: rows that cannot be used")
    columns |= {name: pd.Series([value] * len(kept), dtype="str") for name, value in mapping.constants.items()}
    columns |= {name: rows.frame[name] for name in mapping.keep}
    return Mapped(pd.DataFrame(columns), rows, report)


def _check_columns(mapping: Mapping, present: list[str], left_out: tuple[str, ...], where: str) -> None:
    missing = [name for name in mapping.table_columns() if name not in present]
    if not missing:
        return
    present = [*present, *left_out]
    hints = []
    for name in missing:
        near = difflib.get_close_matches(name.lower(), [other.lower() for other in present], 1, 0.8)
        like = [other for other in present if near and other.lower() == near[0]]
        hints.append(name + (f" (like {like[0]}?)" if like else ""))
    raise DataError(
        f"{where}: the mapping {mapping.name} needs columns that this table does not have: {', '.join(hints)}. "
        f"It has: {listing(present, 50)}."
    )


def read_rule(rule: Rule, frame: pd.DataFrame, places: np.ndarray, problems: Problems) -> pd.Series:
    """One record column, text or float64, of all rows; cells that do not fit are added to ``problems``."""
    if rule.constant is not None:
        read = pd.Series([rule.constant] * len(frame), dtype="str")
    elif rule.any_of:
        flags = np.stack([read_rule(r, frame, places, problems).to_numpy(np.float64) for r in rule.any_of])
        unknown = np.where(np.isnan(flags).any(axis=0), math.nan, 0.0)
        return pd.Series(np.where((flags == 1).any(axis=0), 1.0, unknown))
    elif rule.is_plain:
        read = frame[rule.column].mask(frame[rule.column].str.lower().isin(MISSING), "")
    else:
        read = _each_value(frame[rule.column], lambda cell: _read_cell(rule, cell), places, problems)
    if rule.minus is not None:
        other = read_rule(rule.minus, frame, places, problems)
        return _numbers(read, places, problems, rule.column) - _numbers(other, places, problems, rule.minus.column)
    return read


def _read_cell(rule: Rule, cell: str) -> Any:
    """Raises ValueError saying what was expected."""
    if is_missing(cell) and _key(cell) not in {_key(value) for value in rule.values}:
        value = rule.missing or ""
        if rule.missing is None:
            return math.nan if rule.contains or rule.kind != "text" else ""
    elif rule.contains:
        return float(not _items(cell, rule.separator).isdisjoint(rule.contains))
    else:
        value = _looked_up(rule, _matched(rule, cell))
    if rule.contains or rule.kind != "text":
        return _flag(value) if rule.contains or rule.kind == "flag" else _number(value)
    return value


def _matched(rule: Rule, cell: str) -> str:
    if rule.pattern is None:
        return cell
    match = rule.pattern.search(cell)
    if match is not None and match.group(1) is not None:
        return match.group(1)
    if rule.otherwise is None:
        raise ValueError(f"a text that fits {rule.pattern.pattern!r}")
    return rule.otherwise


def _looked_up(rule: Rule, cell: str) -> str:
    if not rule.values:
        return cell
    values = {_key(key): value for key, value in rule.values.items()}
    found = values.get(_key(cell), rule.otherwise)
    if found is None:
        raise ValueError(f"one of {listing(list(rule.values), 12)}")
    return found


def _key(text: str) -> str:
    """Equal for equal texts, and for equal numbers however written."""
    text = text.strip()
    try:
        return f"{float(text):.12g}" if text[:1] in "+-.0123456789" else text
    except ValueError:
        return text


@lru_cache(1 << 16)  # several rules read the same labels
def _items(cell: str, separator: str) -> frozenset[str]:
    """The items of a list as a table holds it."""
    if separator:
        return frozenset(item.strip() for item in cell.split(separator))
    if not _LIST.fullmatch(cell):
        raise ValueError("a list such as ['a', 'b']")
    if "\\" in cell:
        try:
            return frozenset(str(ast.literal_eval(item.group())).strip() for item in _ITEM.finditer(cell))
        except (ValueError, SyntaxError) as error:
            raise ValueError("a list such as ['a', 'b']") from error
    return frozenset((single or double).strip() for single, double in _ITEM.findall(cell))


def _number(text: str) -> float:
    if is_missing(text):
        return math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise ValueError("a number")
    return number


def _flag(text: str) -> float:
    flags = {"1": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "false": 0.0, "no": 0.0}
    if is_missing(text):
        return math.nan
    if _key(text.lower()) not in flags:
        raise ValueError("1 or 0 (also true/false, yes/no) or empty")
    return flags[_key(text.lower())]


def _each_value(cells: pd.Series, convert: Callable[[str], Any], places: np.ndarray, problems: Problems) -> pd.Series:
    """``convert`` once for each distinct cell: tables of 100,000 rows have few."""
    results: dict[str, Any] = {}
    expected: dict[str, str] = {}
    for cell in pd.unique(cells):
        try:
            results[cell] = convert(cell)
        except ValueError as error:
            expected[cell] = str(error)
    values = cells.tolist()
    if expected:
        for place, cell in zip(places, values, strict=True):
            if cell in expected:
                problems.add(place, f"{cells.name} is {_shortened(cell)}, expected {expected[cell]}")
        results |= dict.fromkeys(expected, "" if any(isinstance(v, str) for v in results.values()) else math.nan)
    numeric = all(isinstance(value, float) for value in results.values()) and results
    return pd.Series([results[cell] for cell in values], dtype="float64" if numeric else "str")


def _shortened(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")


def _numbers(values: pd.Series, places: np.ndarray, problems: Problems, name: str) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values):
        return values
    return _each_value(values.rename(name), _number, places, problems)


def _holds(item: Filter, cells: pd.Series, places: np.ndarray, problems: Problems) -> np.ndarray:
    wanted, unwanted = ({_key(value) for value in values} for values in (item.is_in, item.is_not))

    def test(cell: str) -> float:
        missing = is_missing(cell)
        if item.given is not None and item.given == missing:
            return 0.0
        if (wanted and _key(cell) not in wanted) or _key(cell) in unwanted:
            return 0.0
        if item.contains or item.lacks:
            items = frozenset() if missing else _items(cell, item.separator)
            if (item.contains and items.isdisjoint(item.contains)) or not items.isdisjoint(item.lacks):
                return 0.0
        if item.at_least is not None or item.at_most is not None:
            number = _number(cell)
            low = -math.inf if item.at_least is None else item.at_least
            high = math.inf if item.at_most is None else item.at_most
            return float(low <= number <= high)  # false for NaN
        return 1.0

    return _each_value(cells, test, places, problems).to_numpy() == 1


def _in_words(item: Filter) -> str:
    said = []
    for word, values in (("is", item.is_in), ("is not", item.is_not), ("has", item.contains), ("lacks", item.lacks)):
        said += [f"{item.column} {word} {listing(list(values), 3)}"] if values else []
    said += [f"{item.column} >= {item.at_least:g}"] if item.at_least is not None else []
    said += [f"{item.column} <= {item.at_most:g}"] if item.at_most is not None else []
    said += [f"{item.column} is {'given' if item.given else 'empty'}"] if item.given is not None else []
    return ", ".join(said)
