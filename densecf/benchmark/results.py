"""What the cells of a comparison brought: read from their run folders into tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from densecf import runs
from densecf.benchmark.cells import Cell
from densecf.benchmark.stages import Stage
from densecf.benchmark.worker import is_done
from densecf.evaluation.result_files import read_cases, read_curves
from densecf.evaluation.segmentation import summarise
from densecf.evaluation.selection import best_epoch_summary
from densecf.files import read_json
from densecf.training.finetune import CASES, EXTERNAL
from densecf.training.logs import read_metrics
from densecf.training.watching import CURVES


@dataclass(frozen=True)
class CellResult:
    """One finished cell.

    Attributes:
        cell: what was run.
        folders: its run folders by command: "pretrain", "finetune", "evaluate".
        cases: one row a test case, as ``cases.csv``.
        curves: the looks at the held-out folds, as ``curves.csv``.
        training: the lines of the pretraining's ``metrics.jsonl``; empty without pretraining.
        embeddings: what ``densecf evaluate`` measured; None where there is nothing to measure.
        seconds: what each stage took, the last stretch of it when it was interrupted.
        versions: of densecf, that its stages were run by.
        external: as ``cases``, of the ``--external`` records, each once a fold; empty without any.
    """

    cell: Cell
    folders: dict[str, Path]
    cases: pd.DataFrame
    curves: pd.DataFrame
    training: pd.DataFrame
    embeddings: dict[str, Any] | None
    seconds: dict[str, float]
    versions: tuple[str, ...] = ()
    external: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class RowResult:
    """A line of a table: the cells that differ in their seed only.

    Attributes:
        name: such as "S-MVD-CL".
        method, views, protocol, parts: as in `densecf.benchmark.cells.Cell`.
        cells: one a seed.
    """

    name: str
    method: str
    views: str
    protocol: str
    parts: tuple[str, ...]
    cells: tuple[CellResult, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(result.cell.seed for result in self.cells)

    @property
    def cases(self) -> pd.DataFrame:
        """The cases of all seeds; each seed's folds count as folds of their own."""
        return pd.concat([_of_seed(result.cases, result) for result in self.cells], ignore_index=True)

    @property
    def curves(self) -> pd.DataFrame:
        """The looks of all seeds; each seed's folds count as folds of their own."""
        return pd.concat([_of_seed(result.curves, result) for result in self.cells], ignore_index=True)

    @property
    def mean_cases(self) -> pd.DataFrame:
        """One row a case: numbers averaged over the seeds, for paired comparisons; NaN where one of them is."""
        cases = self.cases
        numbers = [name for name in cases.select_dtypes("number") if name != "pleural_effusion"]
        first = cases.groupby("case", sort=True)[["patient_id", "pleural_effusion"]].first()
        values = cases.groupby("case")[numbers]
        everywhere = values.count().eq(cases.groupby("case").size(), axis=0)
        return first.join(values.mean().where(everywhere)).reset_index()

    def summary(self, epoch: str) -> dict[str, dict[str, Any]]:
        """Mean and std over all folds of all seeds, as `densecf.evaluation.segmentation.summarise`.

        Args:
            epoch: "last", or "best": each metric and fold at its best look at the held-out fold.
        """
        return summarise(self.cases) if epoch == "last" else best_epoch_summary(self.curves)


def on_external(rows: Sequence[RowResult]) -> list[RowResult]:
    """The same lines measured on their external cases, for the same tables; those without any are left out."""
    return [
        replace(row, cells=tuple(replace(result, cases=result.external) for result in row.cells))
        for row in rows
        if not any(result.external.empty for result in row.cells)
    ]


def read_results(cells: Sequence[Cell], stages: Sequence[Sequence[Stage]]) -> list[CellResult]:
    """The cells that are done, in order; the others are left out."""
    found = []
    for cell, mine in zip(cells, stages, strict=True):
        if all(map(is_done, mine)):
            found.append(_read_cell(cell, {stage.command: stage.folder for stage in mine}))
    return found


def rows_of(results: Sequence[CellResult], part: str, protocol: str = "fair") -> list[RowResult]:
    """The lines of one table, in the order of the matrix.

    Args:
        results: finished cells.
        part: "main", "ablation" or "variant".
        protocol: "fair" or "authors".
    """
    groups: dict[tuple, list[CellResult]] = {}
    for result in results:
        cell = result.cell
        if part in cell.parts and cell.protocol == protocol:
            groups.setdefault((cell.row, cell.method, cell.views), []).append(result)
    return [
        RowResult(row, method, views, protocol, found[0].cell.parts, tuple(found))
        for (row, method, views), found in groups.items()
    ]


def _read_cell(cell: Cell, folders: Mapping[str, Path]) -> CellResult:
    provenance = {name: runs.read_provenance(folder) for name, folder in folders.items()}
    fine, pretrained, measured = folders["finetune"], folders.get("pretrain"), folders.get("evaluate")
    return CellResult(
        cell,
        dict(folders),
        read_cases(fine / CASES),
        read_curves(fine / CURVES),
        pd.DataFrame(read_metrics(pretrained / runs.METRICS)) if pretrained else pd.DataFrame(),
        read_json(measured / "embeddings.json", "evaluation") if measured else None,
        {name: float(told.get("seconds", 0)) for name, told in provenance.items()},
        tuple(sorted({version_text(told) for told in provenance.values()})),
        read_cases(fine / EXTERNAL) if (fine / EXTERNAL).is_file() else pd.DataFrame(),
    )


def version_text(provenance: Mapping[str, Any]) -> str:
    """The version of densecf that a provenance names, with its commit where there is one."""
    version, commit = str(provenance.get("densecf", "?")), provenance.get("git_commit")
    return f"{version} ({commit[:12]})" if commit else version


def _of_seed(table: pd.DataFrame, result: CellResult) -> pd.DataFrame:
    return table.assign(fold=[f"{result.cell.seed}.{fold}" for fold in table["fold"]], seed=result.cell.seed)
