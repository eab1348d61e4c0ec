"""The paper's Table 1 and Table 2 with ours beside them, differences to the baseline, and the order of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from densecf.benchmark.protocols import PROTOCOLS
from densecf.benchmark.published import LINEAR_PROBE, TABLE_1, TABLE_2, misprints
from densecf.benchmark.report.table_parts import (
    COMPARED,
    EXTERNAL_NOTE,
    INTERVAL_NOTE,
    OURS,
    PAPER,
    VIEWS_NOTE,
    change_column,
    difference_cell,
    embedding_cell,
    embedding_columns,
    embeddings_of,
    in_group,
    over_seeds,
    published_cell,
    where_measured,
)
from densecf.benchmark.results import RowResult
from densecf.benchmark.statistics import Order, compare_with_baseline, order_of
from densecf.evaluation.tables import LEGEND, head, missed_cell, shown_columns, summary_cell
from densecf.evaluation.tabular import Cell, Column, Number, Table, with_best_in_bold

SIGNIFICANT = 0.05
_PAPER_NOTE = (
    "Paper: on PadChest at 224 px, 70 manual masks, each measure at its best epoch on the held-out fold; its SimCLR "
    "contrasts with effusion counterfactuals, its VADeR does not rotate, its SSDCL neither rotates nor crops. Its "
    "masks are private: orders and differences can be compared with ours, levels cannot."
)


def embeddings_table(rows: Sequence[RowResult], protocol: str) -> Table:
    """The paper's Table 1, ours beside it."""
    held = [row for row in rows if embeddings_of(row)]
    measures = embedding_columns()
    columns = (
        Column("Pretraining"),
        *(column for column, _ in measures[:1]),
        Column(PAPER, measures[0][0].group, digits=4, higher_is_better=True),
        *(column for column, _ in measures[1:4]),
        Column(PAPER, measures[3][0].group, higher_is_better=True),
        measures[4][0],
        Column(PAPER, measures[4][0].group, higher_is_better=True),
    )
    found = []
    for row in held:
        purity, floor, paper_ratio, code_ratio, probe = (embedding_cell(row, of) for _, of in measures)
        known = TABLE_1.get(row.name, {})
        found.append(
            (
                row.name,
                purity,
                published_cell(known.get("purity")),
                floor,
                paper_ratio,
                code_ratio,
                published_cell(known.get("separation")),
                probe,
                published_cell(LINEAR_PROBE.get(row.name)),
            )
        )
    notes = (
        f"Before fine-tuning{over_seeds(held)}; ± population standard deviation over seeds. Purity: of k-means with "
        "one cluster a class; its floor is the share of the largest class, which clusters that know nothing reach. "
        "d/sigma: distance between classes over the spread within, as the paper writes it; d/sigma^2: as its code "
        "computes it, from which the printed figures come. Linear probe: DSC of a linear classifier of pixels, on "
        "patients that it was not trained on.",
        _misprints("purity"),
    )
    return with_best_in_bold(
        Table(f"table1-{protocol}", f"Embeddings before fine-tuning ({protocol})", columns, tuple(found), notes)
    )


def segmentation_table(rows: Sequence[RowResult], protocol: str, *, external: bool = False) -> Table:
    """The paper's Table 2, ours beside it.

    Args:
        rows: main rows.
        protocol: of the rows.
        external: the rows hold external cases, of which only the last epoch is known and nothing is published.
    """
    epoch = "last" if external else PROTOCOLS[protocol].epoch
    summaries = {row.name: row.summary(epoch) for row in rows}
    shown = shown_columns(list(summaries.values()))
    published = [c.key for c in shown if any(c.key in TABLE_2.get(row.name, {}) for row in rows) and not external]
    columns = [Column("Pretraining"), Column("Views")]
    for column in shown:
        group = f"{column.heading} ({column.unit})" if column.key in published else ""
        columns.append(in_group(column, OURS, group) if group else head(column))
        if group:
            columns.append(in_group(column, PAPER, group))
    counted = epoch == "last"
    found = []
    for row in rows:
        cells: list[Cell] = [row.name, row.views or "-"]
        for column in shown:
            cells.append(summary_cell(summaries[row.name], column.key))
            if column.key in published:
                cells.append(published_cell(TABLE_2.get(row.name, {}).get(column.key)))
        found.append((*cells, missed_cell(summaries[row.name])) if counted else tuple(cells))
    if counted:
        columns.append(Column("Missed", digits=0))
    notes = (
        f"Ours: {PROTOCOLS[protocol].summary}{over_seeds(rows)}; the folds of each seed count as folds of their own.",
        EXTERNAL_NOTE if external else "",
        LEGEND,
        _PAPER_NOTE if published else "",
        VIEWS_NOTE,
        _misprints("DSC_PE") if "dsc_pe" in published else "",
    )
    where, title = where_measured(external)
    title = f"Segmentation after fine-tuning{title} ({protocol}, {epoch} epoch)"
    return with_best_in_bold(Table(f"{where}table2-{protocol}", title, tuple(columns), tuple(found), notes))


def differences_table(
    rows: Sequence[RowResult],
    baseline: str,
    protocol: str,
    further: Sequence[RowResult] = (),
    *,
    external: bool = False,
) -> Table | None:
    """Every row against the baseline; None where the baseline has not finished.

    Args:
        rows: main rows.
        baseline: name of a row, or of one of the further rows.
        protocol: of the rows.
        further: where else to look for the baseline.
        external: the rows hold external cases.
    """
    against = next((row for row in (*rows, *further) if row.name == baseline), None)
    if against is None:
        return None
    compared = compare_with_baseline(rows, against)
    shown = [column for column in COMPARED if any(column.key in found.differences for found in compared)]
    columns = [Column("Pretraining")]
    for column in shown:
        group = f"{column.heading} ({column.unit})"
        columns += [
            replace(change_column(column, "difference"), group=group, unit=""),
            Column("Holm p", group, digits=3, smallest=0.001),
        ]
    found = []
    for comparison in compared:
        cells: list[Cell] = [comparison.row]
        for column in shown:
            difference = comparison.differences.get(column.key)
            p_value = comparison.holm.get(column.key)
            cells += [
                difference_cell(difference),
                None if p_value is None else Number(p_value, bold=p_value < SIGNIFICANT),
            ]
        found.append(tuple(cells))
    notes = (
        f"Difference: the row minus {baseline}, mean over the same cases at the last epoch, each case averaged over "
        f"the {'folds and ' if external else ''}seeds. {INTERVAL_NOTE}",
        f"Holm p: Wilcoxon signed-rank test over patients, corrected by Holm's method for the {len(compared)} rows of "
        f"a measure; bold below {SIGNIFICANT}.",
    )
    where, title = where_measured(external)
    title = f"Differences to {baseline}{title} ({protocol}, last epoch)"
    return Table(f"{where}differences-{protocol}", title, tuple(columns), tuple(found), notes)


def order_tables(rows: Sequence[RowResult], protocol: str) -> list[Table | None]:
    """The order of the rows here and in the paper, and the pairs that stand the other way round."""
    epoch = PROTOCOLS[protocol].epoch
    order = order_of(rows, {name: row["dsc"].mean for name, row in TABLE_2.items()}, epoch)
    if len(order.dsc) < 2:
        return []
    columns = (
        Column("Pretraining"),
        *(Column(who, "DSC (%)") for who in (OURS, PAPER)),
        *(Column(who, "rank", digits=0) for who in (OURS, PAPER)),
    )
    found = tuple(
        (name, Number(dsc), Number(order.published[name]), _rank(order.ranks[name]), _rank(order.published_ranks[name]))
        for name, dsc in order.dsc.items()
    )
    ranks = Table(f"order-{protocol}", f"Order by DSC ({_label(protocol)})", columns, found, (_tau(order),))
    deviations = tuple(
        (
            f"{deviation.first} over {deviation.second}",
            Number(deviation.published),
            difference_cell(deviation.difference),
            "yes" if deviation.difference.significant else "no",
        )
        for deviation in order.deviations
    )
    heads = (
        Column("Here, unlike in the paper"),
        Column(PAPER, "difference in DSC", signed=True),
        Column(OURS, "difference in DSC", signed=True),
        Column("Beyond noise"),
    )
    notes = (
        "Pairs whose order by DSC differs from the paper's. Differences: first minus second; ours over the same cases "
        f"at the last epoch. {INTERVAL_NOTE}",
        "Beyond noise: the interval of ours leaves out zero. The paper gives no paired test of its own.",
    )
    title = f"Pairs in another order than published ({_label(protocol)})"
    return [ranks, Table(f"deviations-{protocol}", title, heads, deviations, notes)]


def _misprints(what: str) -> str:
    found = [text for text in misprints() if what in text]
    return f"As printed in the paper; {'; '.join(found)}." if found else ""


def _rank(rank: float) -> Cell:
    return Number(rank) if rank == int(rank) else f"{rank:g}"


def _tau(order: Order) -> str:
    if order.tau is None or order.p_value is None:
        return "Kendall's tau between the two orders is not defined."
    p_value = "< 0.001" if order.p_value < 0.001 else f"= {order.p_value:.3f}"
    return f"Kendall's tau between the two orders: {order.tau:.2f} (p {p_value}); 1: the same order, -1: the reverse."


def _label(protocol: str) -> str:
    return f"{protocol}, {PROTOCOLS[protocol].epoch} epoch"
