"""The tables of a comparison, in the order of its report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from densecf.benchmark.estimate import clock_text
from densecf.benchmark.matrix import Matrix
from densecf.benchmark.report.further_tables import (
    ablation_table,
    ingredients_table,
    matched_table,
    optimism_table,
    protocols_table,
    variants_table,
)
from densecf.benchmark.report.main_tables import differences_table, embeddings_table, order_tables, segmentation_table
from densecf.benchmark.report.rendering import DATA, to_csv, to_html, to_latex, write_tables
from densecf.benchmark.results import CellResult, on_external, rows_of
from densecf.benchmark.statistics import ingredient_effects, matched_counterfactuals
from densecf.evaluation.tabular import Column, Number, Table, number, to_markdown

__all__ = ["DATA", "Table", "make_tables", "to_csv", "to_html", "to_latex", "to_markdown", "write_tables"]


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
        ablation_table(on_external(ablation), external=True),
        matched_table(matched_counterfactuals(on_external(ablation)), external=True),
    ]
    tables += [
        ablation_table(ablation),
        ingredients_table(ingredient_effects(ablation)),
        matched_table(matched_counterfactuals(ablation)),
        protocols_table(fair, main.get("authors", [])),
        optimism_table([row for rows in main.values() for row in rows if row.curves["epoch"].nunique() > 1]),
        variants_table(variants, fair, {variant.name: variant.about for variant in matrix.variants}),
        costs_table(results),
    ]
    return [table for table in tables if table is not None and table.rows]


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
        f"{clock_text(sum(folders.values()))} for all of it; stages that several cells share count once there, "
        "and in each of their rows. Of a stage that was interrupted, the last stretch.",
    )
    return Table("costs", "Costs", columns, tuple(found), notes)


def _mean_minutes(results: Sequence[CellResult], stage: str) -> float | None:
    seconds = [result.seconds[stage] for result in results if stage in result.seconds]
    return float(np.mean(seconds)) / 60 if seconds else None
