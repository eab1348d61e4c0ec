"""Choose records with short expressions: ``source=montgomery``, ``age>=60``, ``scanner!=A``.

Several conditions joined by a comma must all hold. A value that contains a comma, or begins or ends
with a space, goes in double quotes: ``scanner="A, second room"``. ``column=`` with nothing behind it
means "unknown". Comparisons with ``<`` or ``>`` never hold where the value is unknown; ``!=`` does.
"""

import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from densecf.data.problems import listing
from densecf.data.records import is_missing
from densecf.errors import DataError

_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r'\s*([^<>=!,"]+?)\s*(>=|<=|!=|==|=|>|<)\s*("[^"]*"|[^,"]*?)\s*(?:,|$)')


def select(records: pd.DataFrame, expression: str) -> pd.Series:
    """Which records fulfil an expression.

    Args:
        records: a records table.
        expression: see above; the empty expression holds for every record.

    Returns:
        Booleans with the index of ``records``.

    Raises:
        DataError: the expression cannot be read, the column does not exist (the columns are listed), the
            value never occurs (the values are listed), or an order is asked of a column of text.
    """
    chosen = pd.Series(True, index=records.index)
    position = 0
    while position < len(expression):
        match = _CONDITION.match(expression, position)
        if not match:
            raise DataError(
                f"The condition {expression[position:]!r} cannot be read; write column=value, column!=value, "
                "column>=number and so on, joined by commas."
            )
        column, symbol, value = match.groups()
        chosen &= _holds(records, column, symbol, value[1:-1] if value.startswith('"') else value)
        position = match.end()
    return chosen


def _holds(records: pd.DataFrame, column: str, symbol: str, value: str) -> pd.Series:
    if column not in records:
        raise DataError(f"There is no column {column!r}; the columns are: {', '.join(map(str, records.columns))}.")
    values = records[column]
    if symbol in _ORDER:
        return _compare(values, symbol, value)
    number = _number(value)
    if pd.api.types.is_bool_dtype(values):
        equal = values.astype("str").str.lower() == value.lower()
    elif pd.api.types.is_numeric_dtype(values):
        equal = values.isna() if value == "" else values == number
    else:
        equal = values.fillna("").astype("str") == value
    if not equal.any():
        raise DataError(f"{column} is never {value!r}; it is: {_values(values)}.")
    return ~equal if symbol == "!=" else equal


def _compare(values: pd.Series, symbol: str, value: str) -> pd.Series:
    number = _number(value)
    if np.isnan(number):
        raise DataError(f"{values.name}{symbol}{value}: {symbol} needs a number behind it.")
    numbers = pd.to_numeric(values, errors="coerce")
    if ((numbers.isna()) & ~values.map(is_missing)).any():
        raise DataError(f"{values.name}{symbol}{value}: {values.name} is not a column of numbers ({_values(values)}).")
    return _ORDER[symbol](numbers, number)


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("nan")


def _values(values: pd.Series) -> str:
    """The values of a column, the commonest first."""
    counts = values.value_counts(dropna=False)
    return listing(["unknown" if is_missing(v) else f"{v:g}" if isinstance(v, float) else str(v) for v in counts.index])
