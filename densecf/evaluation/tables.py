"""Summaries in the layout of the paper's Table 2, and paired differences between two runs, as tables and Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from densecf.evaluation.comparison import PairedDifference
from densecf.evaluation.tabular import Column as Head
from densecf.evaluation.tabular import Number, Table, number, to_markdown, with_best_in_bold

Summary = Mapping[str, Any]  # as returned by densecf.evaluation.segmentation.summarise


@dataclass(frozen=True)
class Column:
    """A measure of a summary and how it is printed."""

    key: str
    heading: str
    unit: str
    digits: int
    higher_is_better: bool


COLUMNS = (
    Column("dsc", "DSC", "%", 2, True),
    Column("dsc_nf", "DSC_NF", "%", 2, True),
    Column("dsc_pe", "DSC_PE", "%", 2, True),
    Column("hd95", "HD95", "px", 1, False),
    Column("asd", "ASD", "px", 2, False),
    Column("hd95_mm", "HD95", "mm", 1, False),
    Column("asd_mm", "ASD", "mm", 2, False),
)
OPTIONAL = ("hd95_mm", "asd_mm")
LEGEND = (
    "Mean ± population standard deviation over folds. DSC_NF: cases without finding; DSC_PE: cases with pleural "
    "effusion. px: pixels of the prepared image. Missed: structures that only the truth or only the prediction "
    "holds; each counts DSC 0 and the image diagonal in HD95 and ASD."
)


def summary_markdown(summary: Summary, title: str, *, name: str = "this run", note: str = "") -> str:
    """One run as a one-row table.

    Args:
        summary: what ``summarise`` returned (or ``summary.json`` holds).
        title: the heading.
        name: what the row is called, for instance the pretraining method.
        note: a line under the table, for instance the image size, cases and folds.
    """
    return summaries_markdown({name: summary}, title, note=note)


def summaries_markdown(summaries: Mapping[str, Summary], title: str, *, note: str = "") -> str:
    """Several runs, one a row, the best of each column in bold (all that tie as printed).

    Raises:
        ValueError: there is no summary.
    """
    return to_markdown(summaries_table(summaries, title, note=note))


def summaries_table(summaries: Mapping[str, Summary], title: str, *, name: str = "summaries", note: str = "") -> Table:
    """`summaries_markdown` before it is printed; ``name`` is that of the table's files."""
    if not summaries:
        raise ValueError("expected at least one summary")
    shown = shown_columns(list(summaries.values()))
    columns = (Head("Pretraining"), *map(head, shown), Head("Missed", digits=0))
    rows = tuple(
        (row, *(summary_cell(summary, column.key) for column in shown), missed_cell(summary))
        for row, summary in summaries.items()
    )
    return with_best_in_bold(Table(name, title, columns, rows, tuple(filter(None, (note, LEGEND)))))


def shown_columns(summaries: Sequence[Summary]) -> list[Column]:
    """`COLUMNS`, the optional ones where any run knows them."""
    return [c for c in COLUMNS if c.key not in OPTIONAL or any(summary_cell(s, c.key) for s in summaries)]


def head(column: Column, heading: str | None = None, group: str = "") -> Head:
    """How a measure is printed; under a heading of its own where it stands in a group."""
    return Head(
        column.heading if heading is None else heading, group, column.unit, column.digits, column.higher_is_better
    )


def summary_cell(summary: Summary, key: str) -> Number | None:
    """Mean ± std of one measure; None where the summary has no such case (null, NaN or absent)."""
    found = summary.get(key) or {}
    return number(found.get("mean"), found.get("std"))


def missed_cell(summary: Summary) -> Number | None:
    return Number(summary["n_missed"]["total"]) if summary.get("n_missed") else None


def comparison_markdown(
    differences: Sequence[PairedDifference], name_a: str, name_b: str, title: str = "Paired comparison"
) -> str:
    """Paired differences A - B, one comparison a row; an interval that leaves out zero is bold."""
    units = {column.key: column.unit for column in COLUMNS}
    rows = []
    for d in differences:
        metric = d.metric.upper().replace("_MM", "") + (f"_{d.subset.upper()}" if d.subset else "")
        unit = units.get(d.metric, "")
        rows.append(
            (
                f"{metric} ({unit})" if unit else metric,
                Number(d.mean),
                _interval_cell(d),
                f"{d.better} / {d.worse}",
                Number(d.p_value),
                f"{d.num_cases} / {d.num_patients}",
            )
        )
    columns = (
        Head("Metric"),
        Head("Difference", signed=True),
        Head("95 % interval", signed=True),
        Head("Better / worse"),
        Head("Wilcoxon p", digits=3, smallest=0.001),
        Head("Cases / patients"),
    )
    left_out = sum(d.num_undefined for d in differences)
    notes = (
        f"Difference: {_plain(name_a)} minus {_plain(name_b)}, mean over the same cases; DSC in percentage points. "
        "Interval: bootstrap over patients, bold where it leaves out zero. Better / worse: cases.",
        f"{left_out} undefined pairs were left out." if left_out else "",
    )
    return to_markdown(Table("comparison", title, columns, tuple(rows), notes))


def _plain(text: str) -> str:
    return " ".join(text.split())


def _interval_cell(d: PairedDifference) -> Number | None:
    low, high = d.interval
    return None if low is None else Number(None, low=low, high=high, bold=d.significant)
