"""The tables of a comparison: Table 1, Table 2, differences, order, ablation, protocols, variants, costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from densecf.benchmark.matrix import Matrix
from densecf.benchmark.protocols import PROTOCOLS
from densecf.benchmark.published import ABLATION, LINEAR_PROBE, TABLE_1, TABLE_2, Published, misprints
from densecf.benchmark.report.rendering import to_csv, to_html, to_latex, write_tables
from densecf.benchmark.results import CellResult, RowResult, on_external, rows_of
from densecf.benchmark.statistics import (
    MEASURES,
    Differences,
    Effect,
    Order,
    compare_with_baseline,
    in_table_order,
    ingredient_effects,
    matched_counterfactuals,
    optimism,
    order_of,
    protocol_differences,
)
from densecf.benchmark.views_code import LETTERS
from densecf.evaluation.comparison import PairedDifference, paired_differences
from densecf.evaluation.segmentation import CASE_METRICS
from densecf.evaluation.tables import COLUMNS, LEGEND, head, missed_cell, shown_columns, summary_cell
from densecf.evaluation.tabular import Cell, Column, Number, Table, number, to_markdown, with_best_in_bold

__all__ = ["Table", "make_tables", "to_csv", "to_html", "to_latex", "to_markdown", "write_tables"]

OURS, PAPER = "ours", "paper"
SIGNIFICANT = 0.05
_COMPARED = tuple(column for column in COLUMNS if column.key in MEASURES)
_OVERALL = tuple(column for column in _COMPARED if column.key in CASE_METRICS)
"""Of all cases."""
_PAPER_NOTE = (
    "Paper: on PadChest at 224 px, 70 manual masks, each measure at its best epoch on the held-out fold; its SimCLR "
    "contrasts with effusion counterfactuals, its VADeR does not rotate, its SSDCL neither rotates nor crops. Its "
    "masks are private: orders and differences can be compared with ours, levels cannot."
)
_EXTERNAL_NOTE = (
    "External records: from elsewhere, never trained on; the network of every fold is tested on all of them."
)
_VIEWS_NOTE = "Views: " + "; ".join(f"{letter}: {what}" for letter, what in LETTERS.items()) + "."
_INTERVAL_NOTE = (
    "In brackets: 95 % interval, bootstrap over patients, bold where it leaves out zero. It covers the choice of "
    "patients, not that of seeds. DSC in percentage points."
)


def make_tables(matrix: Matrix, results: Sequence[CellResult]) -> list[Table]:
    """All tables that have rows, in the order of a report.

    Args:
        matrix: the comparison.
        results: its finished cells.
    """
    main = {protocol: rows_of(results, "main", protocol) for protocol in matrix.protocols}
    ablation, variants = rows_of(results, "ablation"), rows_of(results, "variant")
    fair = main.get("fair", [])
    tables: list[Table | None] = []
    for protocol, rows in main.items():
        tables += [embeddings_table(rows, protocol), segmentation_table(rows, protocol)]
        tables += [differences_table(rows, matrix.baseline, protocol, variants if protocol == "fair" else ())]
        tables += order_tables(rows, protocol)
    external = on_external(fair)
    tables += [
        segmentation_table(external, "fair", external=True),
        differences_table(external, matrix.baseline, "fair", on_external(variants), external=True),
    ]
    tables += [
        ablation_table(ablation),
        ingredients_table(ingredient_effects(ablation)),
        matched_table(matched_counterfactuals(ablation)),
        protocols_table(fair, main.get("authors", [])),
        optimism_table([row for rows in main.values() for row in rows]),
        variants_table(variants, fair, {variant.name: variant.about for variant in matrix.variants}),
        costs_table(results),
    ]
    return [table for table in tables if table is not None and table.rows]


def embeddings_table(rows: Sequence[RowResult], protocol: str) -> Table:
    """The paper's Table 1, ours beside it."""
    held = [row for row in rows if _embeddings(row)]
    measures = _embedding_columns()
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
        purity, floor, paper_ratio, code_ratio, probe = (_embedding_cell(row, of) for _, of in measures)
        known = TABLE_1.get(row.name, {})
        found.append(
            (
                row.name,
                purity,
                _published(known.get("purity")),
                floor,
                paper_ratio,
                code_ratio,
                _published(known.get("separation")),
                probe,
                _published(LINEAR_PROBE.get(row.name)),
            )
        )
    notes = (
        f"Before fine-tuning{_over_seeds(held)}; ± population standard deviation over seeds. Purity: of k-means with "
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
        columns.append(_in_group(column, OURS, group) if group else head(column))
        if group:
            columns.append(_in_group(column, PAPER, group))
    counted = epoch == "last"
    found = []
    for row in rows:
        cells: list[Cell] = [row.name, row.views or "-"]
        for column in shown:
            cells.append(summary_cell(summaries[row.name], column.key))
            if column.key in published:
                cells.append(_published(TABLE_2.get(row.name, {}).get(column.key)))
        found.append((*cells, missed_cell(summaries[row.name])) if counted else tuple(cells))
    if counted:
        columns.append(Column("Missed", digits=0))
    notes = (
        f"Ours: {PROTOCOLS[protocol].summary}{_over_seeds(rows)}; the folds of each seed count as folds of their own.",
        _EXTERNAL_NOTE if external else "",
        LEGEND,
        _PAPER_NOTE if published else "",
        _VIEWS_NOTE,
        _misprints("DSC_PE") if "dsc_pe" in published else "",
    )
    where, title = _where(external)
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
    shown = [column for column in _COMPARED if any(column.key in found.differences for found in compared)]
    columns = [Column("Pretraining")]
    for column in shown:
        group = f"{column.heading} ({column.unit})"
        columns += [
            replace(_change_column(column, "difference"), group=group, unit=""),
            Column("Holm p", group, digits=3, smallest=0.001),
        ]
    found = []
    for comparison in compared:
        cells: list[Cell] = [comparison.row]
        for column in shown:
            difference = comparison.differences.get(column.key)
            p_value = comparison.holm.get(column.key)
            cells += [
                _difference(difference),
                None if p_value is None else Number(p_value, bold=p_value < SIGNIFICANT),
            ]
        found.append(tuple(cells))
    notes = (
        f"Difference: the row minus {baseline}, mean over the same cases at the last epoch, each case averaged over "
        f"the {'folds and ' if external else ''}seeds. {_INTERVAL_NOTE}",
        f"Holm p: Wilcoxon signed-rank test over patients, corrected by Holm's method for the {len(compared)} rows of "
        f"a measure; bold below {SIGNIFICANT}.",
    )
    where, title = _where(external)
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
            _difference(deviation.difference),
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
        f"at the last epoch. {_INTERVAL_NOTE}",
        "Beyond noise: the interval of ours leaves out zero. The paper gives no paired test of its own.",
    )
    title = f"Pairs in another order than published ({_label(protocol)})"
    return [ranks, Table(f"deviations-{protocol}", title, heads, deviations, notes)]


def ablation_table(rows: Sequence[RowResult]) -> Table:
    """The grid of methods and views, its letters as check marks."""
    rows = in_table_order(rows)
    columns = [Column("Pretraining"), *(Column(letter) for letter in LETTERS)]
    for column in _COMPARED:
        if column.key == "dsc":
            columns += [_in_group(column, who, "DSC (%)") for who in (OURS, PAPER)]
        else:
            columns.append(head(column))
    found = []
    for row in rows:
        summary = row.summary("last")
        cells: list[Cell] = [row.name, *("✓" if letter in row.views else "" for letter in LETTERS)]
        for column in _COMPARED:
            cells.append(summary_cell(summary, column.key))
            if column.key == "dsc":
                cells.append(_published(ABLATION.get((row.name, row.views))))
        found.append(tuple(cells))
    notes = (
        f"{_VIEWS_NOTE} Last epoch{_over_seeds(rows)}.",
        "Paper: from the authors' logs, the best of several runs of each setting, best epoch on the held-out fold.",
    )
    return with_best_in_bold(Table("ablation", "Ablation of the views", tuple(columns), tuple(found), notes))


def ingredients_table(effects: Sequence[Effect]) -> Table:
    """What each letter brings."""
    columns = (
        Column("Ingredient"),
        Column("Pretraining"),
        Column("Pairs", digits=0),
        *map(_change_column, _COMPARED),
    )
    found = tuple(
        (f"{e.letters}: {LETTERS[e.letters]}", e.method, Number(e.num_pairs), *_changes(e.differences)) for e in effects
    )
    notes = (
        "With the ingredient minus without it, averaged over all pairs of the ablation grid that differ in it alone, "
        f"then over cases. {_INTERVAL_NOTE}",
    )
    return Table("ingredients", "Effect of each ingredient", columns, found, notes)


def matched_table(effects: Sequence[Effect]) -> Table:
    """Counterfactuals at the same augmentations, the published differences beside ours."""
    dsc, *others = _COMPARED
    columns = (
        Column("Pretraining"),
        Column("With"),
        Column("Without"),
        *(Column(who, f"{dsc.heading} ({dsc.unit})", digits=dsc.digits, signed=True) for who in (OURS, PAPER)),
        *map(_change_column, others),
    )
    found = []
    for effect in effects:
        ((with_, without),) = effect.pairs
        paper = [ABLATION.get((effect.method, code)) for code in (with_, without)]
        change = Number(paper[0].mean - paper[1].mean) if paper[0] and paper[1] else None
        ours, *rest = _changes(effect.differences)
        found.append((effect.method, with_, without or "-", ours, change, *rest))
    notes = (
        f"The same method and augmentations with and without counterfactuals: with minus without. {_INTERVAL_NOTE}",
        "Paper: from the authors' ablation, best of several runs; its main table compares methods under different "
        "augmentations.",
    )
    return Table("matched", "Counterfactuals at matched augmentation", columns, tuple(found), notes)


def protocols_table(fair: Sequence[RowResult], authors: Sequence[RowResult]) -> Table:
    """Both protocols, and the best epoch of the authors'."""
    compared = protocol_differences(fair, authors)
    kinds = ("fair", "authors", "authors, best epoch", "change")
    columns = [Column("Pretraining"), Column("Seeds")]
    for column in _OVERALL:
        group = f"{column.heading} ({column.unit})"
        columns += [_in_group(column, kind, group, arrow=False) for kind in kinds[:3]]
        columns.append(replace(_change_column(column, kinds[3]), group=group, unit=""))
    found = []
    for row in compared:
        cells: list[Cell] = [row.row, ", ".join(map(str, row.seeds))]
        for column in _OVERALL:
            cells += [summary_cell(s, column.key) for s in (row.fair, row.authors, row.authors_best)]
            cells.append(_difference(row.differences.get(column.key)))
        found.append(tuple(cells))
    notes = (
        f"fair: {PROTOCOLS['fair'].summary}. authors: {PROTOCOLS['authors'].summary}, here at the last epoch as well. "
        f"Change: authors minus fair at the last epoch, over the same cases. {_INTERVAL_NOTE}",
    )
    return Table("protocols", "The two protocols", tuple(columns), tuple(found), notes)


def optimism_table(rows: Sequence[RowResult]) -> Table:
    """What choosing the epoch on the held-out fold adds."""
    columns = (Column("Pretraining"), Column("Protocol"), *map(_change_column, _COMPARED))
    found = []
    for row in rows:
        added = optimism(row)
        found.append((row.name, row.protocol, *(number(added.get(column.key)) for column in _COMPARED)))
    notes = (
        "Each measure of each fold at its best look at the held-out fold minus the same run at its last epoch, mean "
        "over folds: what a result gains when the test cases choose the epoch.",
    )
    return Table("optimism", "Optimism of choosing the epoch", columns, tuple(found), notes)


def variants_table(
    variants: Sequence[RowResult], main: Sequence[RowResult], about: Mapping[str, str] | None = None
) -> Table | None:
    """Rows with options of their own, each after the main rows of the same method."""
    if not variants:
        return None
    measures = [(column, of) for column, of in _embedding_columns() if column.heading != "floor"]
    dsc, *others = _OVERALL
    columns = (
        Column("Pretraining"),
        Column("Views"),
        *(replace(column, heading=column.group, group="") for column, _ in measures),
        head(dsc),
        _change_column(dsc, "DSC, change"),
        *map(head, others),
    )
    found = []
    for method in dict.fromkeys(row.method for row in variants):
        mine = [row for row in main if row.method == method]
        for row in (*mine, *(row for row in variants if row.method == method)):
            summary = row.summary("last")
            change = paired_differences(row.mean_cases, mine[0].mean_cases) if mine and row not in mine else None
            found.append(
                (
                    row.name,
                    row.views or "-",
                    *(_embedding_cell(row, of) for _, of in measures),
                    summary_cell(summary, dsc.key),
                    _difference(change),
                    *(summary_cell(summary, column.key) for column in others),
                )
            )
    notes = (
        f"Last epoch{_over_seeds(variants)}. Change: against the main row of the same method, over the same cases. "
        f"{_INTERVAL_NOTE}",
        *(f"{name}: {text}" for name, text in (about or {}).items() if text),
    )
    return Table("variants", "Variants", columns, tuple(found), notes)


def costs_table(results: Sequence[CellResult]) -> Table:
    """Minutes a cell and stage, mean over seeds."""
    groups: dict[tuple[str, str, str], list[CellResult]] = {}
    for result in results:
        groups.setdefault((result.cell.row, result.cell.views, result.cell.protocol), []).append(result)
    stages = ("pretrain", "finetune", "evaluate")
    columns = (
        *(Column(name) for name in ("Pretraining", "Views", "Protocol")),
        Column("Cells", digits=0),
        *(Column(stage, "minutes a cell", digits=1) for stage in (*stages, "together")),
    )
    found = []
    for (row, views, protocol), mine in groups.items():
        minutes = [_mean_minutes(mine, stage) for stage in stages]
        together = sum(value for value in minutes if value is not None)
        found.append((row, views or "-", protocol, Number(len(mine)), *map(number, minutes), Number(together)))
    folders = {folder: result.seconds.get(stage, 0.0) for result in results for stage, folder in result.folders.items()}
    notes = (
        f"{sum(folders.values()) / 3600:.1f} hours for all of it; stages that several cells share count once there, "
        "and in each of their rows. Of a stage that was interrupted, the last stretch.",
    )
    return Table("costs", "Costs", columns, tuple(found), notes)


def _embeddings(row: RowResult) -> list[dict[str, Any]]:
    return [cell.embeddings for cell in row.cells if cell.embeddings is not None]


def _embedding_columns() -> list[tuple[Column, Callable[[dict[str, Any]], float | None]]]:
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


def _embedding_cell(row: RowResult, of: Callable[[dict[str, Any]], float | None]) -> Number | None:
    """Mean and, of several seeds, population std; None where nothing is measured."""
    values = [value for found in _embeddings(row) if (value := of(found)) is not None]
    if not values:
        return None
    return number(float(np.mean(values)), float(np.std(values)) if len(values) > 1 else None)


def _mean_minutes(results: Sequence[CellResult], stage: str) -> float | None:
    seconds = [result.seconds[stage] for result in results if stage in result.seconds]
    return float(np.mean(seconds)) / 60 if seconds else None


def _in_group(column: Any, heading: str, group: str, arrow: bool = True) -> Column:
    """A measure in a group that states its unit."""
    return Column(heading, group, "", column.digits, column.higher_is_better if arrow else None)


def _change_column(column: Any, heading: str = "") -> Column:
    return Column(heading or column.heading, "", column.unit, max(column.digits, 2), signed=True)


def _changes(differences: Differences) -> list[Number | None]:
    return [_difference(differences.get(column.key)) for column in _COMPARED]


def _difference(found: PairedDifference | None) -> Number | None:
    return None if found is None else Number(found.mean, low=found.low, high=found.high, bold=found.significant)


def _published(figure: Published | None) -> Number | None:
    return None if figure is None else Number(figure.mean, figure.std)


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


def _where(external: bool) -> tuple[str, str]:
    """The beginning of a name and the ending of a title."""
    return ("external-", " on external records") if external else ("", "")


def _label(protocol: str) -> str:
    return f"{protocol}, {PROTOCOLS[protocol].epoch} epoch"


def _over_seeds(rows: Sequence[RowResult]) -> str:
    seeds = sorted({seed for row in rows for seed in row.seeds})
    uneven = " (some rows lack some)" if any(len(row.seeds) < len(seeds) for row in rows) else ""
    return f", seeds {', '.join(map(str, seeds))}{uneven}" if len(seeds) > 1 else ""
