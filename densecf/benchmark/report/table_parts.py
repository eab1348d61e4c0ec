"""What the tables of a comparison share: columns of measures, paired differences, published figures, notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from densecf.benchmark.published import Published
from densecf.benchmark.results import RowResult
from densecf.benchmark.statistics import MEASURES
from densecf.benchmark.views_code import LETTERS
from densecf.evaluation.comparison import PairedDifference
from densecf.evaluation.tables import COLUMNS
from densecf.evaluation.tabular import Column, Number, number

OURS, PAPER = "ours", "paper"
COMPARED = tuple(column for column in COLUMNS if column.key in MEASURES)
VIEWS_NOTE = "Views: " + "; ".join(f"{letter}: {what}" for letter, what in LETTERS.items()) + "."
INTERVAL_NOTE = (
    "In brackets: 95 % interval, bootstrap over patients, bold where it leaves out zero. It covers the choice of "
    "patients, not that of seeds; fewer than six have none. DSC in percentage points."
)

EXTERNAL_NOTE = (
    "External records: from elsewhere, never trained on; the network of every fold is tested on all of them."
)


def embeddings_of(row: RowResult) -> list[dict[str, Any]]:
    return [cell.embeddings for cell in row.cells if cell.embeddings is not None]


def embedding_columns() -> list[tuple[Column, Callable[[dict[str, Any]], float | None]]]:
    """What is measured before fine-tuning, and how to read it."""
    return [
        (Column(OURS, "k-means purity", digits=4, higher_is_better=True), lambda found: found["purity"]),
        (Column("floor", "k-means purity", digits=4), lambda found: found["purity_floor"]),
        (Column(OURS, "d/sigma", higher_is_better=True), lambda found: found["separation"]["d_over_std"]),
        (
            Column(OURS, "d/sigma^2 (authors' code)", higher_is_better=True),
            lambda found: found["separation"]["d_over_variance"],
        ),
        (Column(OURS, "linear probe DSC (%)", higher_is_better=True), lambda found: found["probe"]["dsc"]),
    ]


def embedding_cell(row: RowResult, of: Callable[[dict[str, Any]], float | None]) -> Number | None:
    """Mean and, of several seeds, population std; None where nothing is measured."""
    values = [value for found in embeddings_of(row) if (value := of(found)) is not None]
    if not values:
        return None
    return number(float(np.mean(values)), float(np.std(values)) if len(values) > 1 else None)


def in_group(column: Any, heading: str, group: str, arrow: bool = True) -> Column:
    """A measure in a group that states its unit."""
    return Column(heading, group, "", column.digits, column.higher_is_better if arrow else None)


def change_column(column: Any, heading: str = "") -> Column:
    return Column(heading or column.heading, "", column.unit, max(column.digits, 2), signed=True)


def difference_cell(found: PairedDifference | None) -> Number | None:
    if found is None:
        return None
    low, high = found.interval
    return Number(found.mean, low=low, high=high, bold=found.significant)


def published_cell(figure: Published | None) -> Number | None:
    return None if figure is None else Number(figure.mean, figure.std)


def over_seeds(rows: Sequence[RowResult]) -> str:
    seeds = sorted({seed for row in rows for seed in row.seeds})
    uneven = " (some rows lack some)" if any(len(row.seeds) < len(seeds) for row in rows) else ""
    return f", seeds {', '.join(map(str, seeds))}{uneven}" if len(seeds) > 1 else ""


def where_measured(external: bool) -> tuple[str, str]:
    """The beginning of a name and the ending of a title."""
    return ("external-", " on external records") if external else ("", "")
