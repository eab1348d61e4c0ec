"""What is behind the main rows: ablation, effects of ingredients, protocols, variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from densecf.benchmark.protocols import PROTOCOLS
from densecf.benchmark.published import ABLATION
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
    in_group,
    over_seeds,
    published_cell,
    where_measured,
)
from densecf.benchmark.results import RowResult
from densecf.benchmark.statistics import (
    Differences,
    Effect,
    cases_of_pair,
    in_table_order,
    optimism,
    protocol_differences,
)
from densecf.benchmark.views_code import LETTERS
from densecf.evaluation.comparison import paired_differences
from densecf.evaluation.segmentation import CASE_METRICS
from densecf.evaluation.tables import head, summary_cell
from densecf.evaluation.tabular import Cell, Column, Number, Table, number, with_best_in_bold

_OVERALL = tuple(column for column in COMPARED if column.key in CASE_METRICS)
"""Of all cases."""


def ablation_table(rows: Sequence[RowResult], *, external: bool = False) -> Table:
    """The grid of methods and views, its letters as check marks.

    Args:
        rows: of the ablation.
        external: they hold external cases, of which nothing is published.
    """
    rows = in_table_order(rows)
    columns = [Column("Pretraining"), *(Column(letter) for letter in LETTERS)]
    for column in COMPARED:
        if column.key == "dsc" and not external:
            columns += [in_group(column, who, "DSC (%)") for who in (OURS, PAPER)]
        else:
            columns.append(head(column))
    found = []
    for row in rows:
        summary = row.summary("last")
        cells: list[Cell] = [row.name, *("✓" if letter in row.views else "" for letter in LETTERS)]
        for column in COMPARED:
            cells.append(summary_cell(summary, column.key))
            if column.key == "dsc" and not external:
                cells.append(published_cell(ABLATION.get((row.name, row.views))))
        found.append(tuple(cells))
    notes = (
        f"{VIEWS_NOTE} Last epoch{over_seeds(rows)}.",
        EXTERNAL_NOTE
        if external
        else "Paper: from the authors' logs, the best of several runs of each setting, best epoch on held-out folds.",
    )
    where, title = where_measured(external)
    return with_best_in_bold(
        Table(f"{where}ablation", f"Ablation of the views{title}", tuple(columns), tuple(found), notes)
    )


def ingredients_table(effects: Sequence[Effect]) -> Table:
    """What each letter brings."""
    columns = (
        Column("Ingredient"),
        Column("Pretraining"),
        Column("Pairs", digits=0),
        *map(change_column, COMPARED),
    )
    found = tuple(
        (f"{e.letters}: {LETTERS[e.letters]}", e.method, Number(e.num_pairs), *_changes(e.differences)) for e in effects
    )
    notes = (
        "With the ingredient minus without it, averaged over all pairs of the ablation grid that differ in it alone, "
        f"then over cases. {INTERVAL_NOTE}",
    )
    return Table("ingredients", "Effect of each ingredient", columns, found, notes)


def matched_table(effects: Sequence[Effect], *, external: bool = False) -> Table:
    """Counterfactuals at the same augmentations, the published differences beside ours.

    Args:
        effects: of `densecf.benchmark.statistics.matched_counterfactuals`.
        external: on external cases, of which nothing is published.
    """
    dsc, *others = COMPARED
    shown = (OURS,) if external else (OURS, PAPER)
    columns = (
        Column("Pretraining"),
        Column("With"),
        Column("Without"),
        *(Column(who, f"{dsc.heading} ({dsc.unit})", digits=dsc.digits, signed=True) for who in shown),
        *map(change_column, others),
    )
    found = []
    for effect in effects:
        ((with_, without),) = effect.pairs
        paper = [ABLATION.get((effect.method, code)) for code in (with_, without)]
        change = Number(paper[0].mean - paper[1].mean) if paper[0] and paper[1] else None
        ours, *rest = _changes(effect.differences)
        found.append((effect.method, with_, without or "-", ours, *(() if external else (change,)), *rest))
    notes = (
        f"The same method and augmentations with and without counterfactuals: with minus without. {INTERVAL_NOTE}",
        EXTERNAL_NOTE
        if external
        else "Paper: from the authors' ablation, best of several runs; its main table compares methods under different "
        "augmentations.",
    )
    where, title = where_measured(external)
    return Table(f"{where}matched", f"Counterfactuals at matched augmentation{title}", columns, tuple(found), notes)


def protocols_table(fair: Sequence[RowResult], authors: Sequence[RowResult]) -> Table:
    """Both protocols, and the best epoch of the authors'."""
    compared = protocol_differences(fair, authors)
    kinds = ("fair", "authors", "authors, best epoch", "change")
    columns = [Column("Pretraining"), Column("Seeds")]
    for column in _OVERALL:
        group = f"{column.heading} ({column.unit})"
        columns += [in_group(column, kind, group, arrow=False) for kind in kinds[:3]]
        columns.append(replace(change_column(column, kinds[3]), group=group, unit=""))
    found = []
    for row in compared:
        cells: list[Cell] = [row.row, ", ".join(map(str, row.seeds))]
        for column in _OVERALL:
            cells += [summary_cell(s, column.key) for s in (row.fair, row.authors, row.authors_best)]
            cells.append(difference_cell(row.differences.get(column.key)))
        found.append(tuple(cells))
    notes = (
        f"fair: {PROTOCOLS['fair'].summary}. authors: {PROTOCOLS['authors'].summary}, here at the last epoch as well. "
        f"Change: authors minus fair at the last epoch, over the same cases. {INTERVAL_NOTE}",
    )
    return Table("protocols", "The two protocols", tuple(columns), tuple(found), notes)


def optimism_table(rows: Sequence[RowResult]) -> Table:
    """What choosing the epoch on the held-out fold adds."""
    columns = (Column("Pretraining"), Column("Protocol"), *map(change_column, COMPARED))
    found = []
    for row in rows:
        added = optimism(row)
        found.append((row.name, row.protocol, *(number(added.get(column.key)) for column in COMPARED)))
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
    measures = [(column, of) for column, of in embedding_columns() if column.heading != "floor"]
    dsc, *others = _OVERALL
    columns = (
        Column("Pretraining"),
        Column("Views"),
        *(replace(column, heading=column.group, group="") for column, _ in measures),
        head(dsc),
        change_column(dsc, "DSC, change"),
        *map(head, others),
    )
    found = []
    for method in dict.fromkeys(row.method for row in variants):
        mine = [row for row in main if row.method == method]
        for row in (*mine, *(row for row in variants if row.method == method)):
            summary = row.summary("last")
            change = paired_differences(*cases_of_pair(row, mine[0])) if mine and row not in mine else None
            found.append(
                (
                    row.name,
                    row.views or "-",
                    *(embedding_cell(row, of) for _, of in measures),
                    summary_cell(summary, dsc.key),
                    difference_cell(change),
                    *(summary_cell(summary, column.key) for column in others),
                )
            )
    notes = (
        f"Last epoch{over_seeds(variants)}. Change: against the main row of the same method, over the same cases "
        f"and the seeds that both have. {INTERVAL_NOTE}",
        *(f"{name}: {text}" for name, text in (about or {}).items() if text),
    )
    return Table("variants", "Variants", columns, tuple(found), notes)


def _changes(differences: Differences) -> list[Number | None]:
    return [difference_cell(differences.get(column.key)) for column in COMPARED]
