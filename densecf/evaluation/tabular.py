"""A table as a value: columns, cells and notes, whatever it is printed as; and its Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from densecf.markdown import markdown_table, plain

ABSENT = "n/a"


@dataclass(frozen=True)
class Column:
    """How the cells of one column are headed and printed.

    Attributes:
        heading: without unit and arrow.
        group: a heading over this and the neighbouring columns of the same group.
        unit: "%", "px", ...; empty for none.
        digits: after the point.
        higher_is_better: None where there is no better.
        signed: whether positive numbers get a plus sign.
        smallest: positive numbers below it are printed as "< smallest"; for p-values.
    """

    heading: str
    group: str = ""
    unit: str = ""
    digits: int = 2
    higher_is_better: bool | None = None
    signed: bool = False
    smallest: float = 0.0

    @property
    def title(self) -> str:
        """Heading, unit and arrow, such as "HD95 (px) ↓"."""
        arrow = "" if self.higher_is_better is None else "↑" if self.higher_is_better else "↓"
        return " ".join(part for part in (self.heading, f"({self.unit})" if self.unit else "", arrow) if part)


@dataclass(frozen=True)
class Number:
    """A measured cell.

    Attributes:
        value: None where only the interval is shown.
        std: printed behind ±.
        low, high: an interval.
        bold: whether it stands out.
    """

    value: float | None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    bold: bool = False


Cell = str | Number | None
"""Text, a number, or None where there is nothing to show."""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of its files, such as "table2-fair".
        title: above it.
        columns: the first one names the rows.
        rows: as many cells each as there are columns.
        notes: paragraphs under it.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [index for index, row in enumerate(self.rows) if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"table {self.name!r}: rows {wrong} do not have {len(self.columns)} cells")


def number(value: float | None, std: float | None = None) -> Number | None:
    """A cell of a mean and its std; None where the mean is absent or NaN."""
    return None if value is None or math.isnan(value) else Number(value, std)


def with_best_in_bold(table: Table) -> Table:
    """The best of each column that has a better, in bold: all that tie as printed. Nothing in a table of one row."""
    rows = [list(row) for row in table.rows]
    for index, column in enumerate(table.columns):
        shown = {
            line: round(cell.value, column.digits)
            for line, row in enumerate(rows)
            if isinstance(cell := row[index], Number) and cell.value is not None and not math.isnan(cell.value)
        }
        if column.higher_is_better is None or not shown or len(rows) < 2:
            continue
        best = max(shown.values()) if column.higher_is_better else min(shown.values())
        for line, value in shown.items():
            if value == best:
                rows[line][index] = replace(rows[line][index], bold=True)  # type: ignore[type-var]
    return replace(table, rows=tuple(tuple(row) for row in rows))


def cell_text(cell: Cell, column: Column) -> str:
    """A cell as printed, without its weight."""
    if cell is None:
        return ABSENT
    if isinstance(cell, str):
        return cell
    interval = (
        "" if cell.low is None or cell.high is None else f"{_signed(cell.low, column)} to {_signed(cell.high, column)}"
    )
    if cell.value is None:
        return interval or ABSENT
    if 0 <= cell.value < column.smallest:
        return f"< {column.smallest:.{column.digits}f}"
    spread = "" if cell.std is None else f" ± {cell.std:.{column.digits}f}"
    return _signed(cell.value, column) + spread + (f" ({interval})" if interval else "")


def is_bold(cell: Cell) -> bool:
    return isinstance(cell, Number) and cell.bold


def groups_of(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """The headings over neighbouring columns, with the columns that each spans; "" over those without."""
    found: list[tuple[str, int]] = []
    for column in columns:
        if found and found[-1][0] == column.group:
            found[-1] = (column.group, found[-1][1] + 1)
        else:
            found.append((column.group, 1))
    return found


def to_markdown(table: Table, level: int = 1) -> str:
    """A heading, the table and its notes."""
    headings = [plain(", ".join(filter(None, (c.group, c.title)))) for c in table.columns]
    lines = []
    for row in table.rows:
        texts = [
            (plain(cell_text(cell, column)), is_bold(cell)) for cell, column in zip(row, table.columns, strict=True)
        ]
        lines.append([f"**{text}**" if bold else text for text, bold in texts])
    body = markdown_table(headings, lines, range(1, len(headings)))
    notes = (re.sub(r"<(?=[A-Za-z/!?])", r"\\<", note) for note in table.notes if note)
    return "\n\n".join([f"{'#' * level} {table.title}", body, *notes]) + "\n"


def _signed(value: float, column: Column) -> str:
    return f"{value:{'+' if column.signed else ''}.{column.digits}f}"
