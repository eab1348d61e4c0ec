"""Markdown tables: summaries in the layout of the paper's Table 2, and paired differences between two runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from densecf.evaluation.comparison import PairedDifference

Summary = Mapping[str, Any]  # as returned by densecf.evaluation.segmentation.summarise


@dataclass(frozen=True)
class Column:
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
    if not summaries:
        raise ValueError("expected at least one summary")
    shown = [c for c in COLUMNS if c.key not in OPTIONAL or any(_mean(s, c) is not None for s in summaries.values())]
    best = {column.key: _best(summaries, column) for column in shown}
    headings = [f"{c.heading} ({c.unit}) {'↑' if c.higher_is_better else '↓'}" for c in shown]
    rows = [
        [_plain(name), *(_cell(summary, column, best[column.key]) for column in shown), _missed(summary)]
        for name, summary in summaries.items()
    ]
    return _document(title, ["Pretraining", *headings, "Missed"], rows, [note, LEGEND])


def comparison_markdown(
    differences: Sequence[PairedDifference], name_a: str, name_b: str, title: str = "Paired comparison"
) -> str:
    """Paired differences A - B, one comparison a row; an interval that leaves out zero is bold."""
    units = {column.key: column.unit for column in COLUMNS}
    rows = []
    for d in differences:
        metric = d.metric.upper().replace("_MM", "") + (f"_{d.subset.upper()}" if d.subset else "")
        unit = units.get(d.metric, "")
        interval = f"{d.low:+.2f} to {d.high:+.2f}"
        rows.append(
            [
                f"{metric} ({unit})" if unit else metric,
                f"{d.mean:+.2f}",
                f"**{interval}**" if d.significant else interval,
                f"{d.better} / {d.worse}",
                "< 0.001" if d.p_value < 0.001 else f"{d.p_value:.3f}",
                f"{d.num_cases} / {d.num_patients}",
            ]
        )
    headings = ["Metric", "Difference", "95 % interval", "Better / worse", "Wilcoxon p", "Cases / patients"]
    left_out = sum(d.num_undefined for d in differences)
    notes = [
        f"Difference: {_plain(name_a)} minus {_plain(name_b)}, mean over the same cases; DSC in percentage points. "
        "Interval: bootstrap over patients, bold where it leaves out zero. Better / worse: cases.",
        f"{left_out} undefined pairs were left out." if left_out else "",
    ]
    return _document(title, headings, rows, notes)


def _document(title: str, headings: list[str], rows: list[list[str]], notes: Sequence[str]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([f"# {title}", table, *(note for note in notes if note)]) + "\n"


def _mean(summary: Summary, column: Column) -> float | None:
    """The mean as printed, or None where the summary has no such case (null, NaN or absent)."""
    value = (summary.get(column.key) or {}).get("mean")
    return None if value is None or math.isnan(value) else round(value, column.digits)


def _best(summaries: Mapping[str, Summary], column: Column) -> float | None:
    means = [mean for mean in (_mean(summary, column) for summary in summaries.values()) if mean is not None]
    if len(summaries) < 2 or not means:
        return None
    return max(means) if column.higher_is_better else min(means)


def _cell(summary: Summary, column: Column, best: float | None) -> str:
    mean = _mean(summary, column)
    if mean is None:
        return "n/a"
    text = f"{mean:.{column.digits}f} ± {summary[column.key]['std']:.{column.digits}f}"
    return f"**{text}**" if mean == best else text


def _missed(summary: Summary) -> str:
    return str(summary["n_missed"]["total"]) if summary.get("n_missed") else "n/a"


def _plain(text: str) -> str:
    """Text that cannot break out of its table cell."""
    return " ".join(text.split()).replace("|", "\\|")
