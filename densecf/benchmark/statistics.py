"""What a comparison shows, and how sure that is: paired by case, with intervals over patients. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pandas as pd

from densecf.benchmark.protocols import TITLES
from densecf.benchmark.results import RowResult
from densecf.benchmark.views_code import COUNTERFACTUALS, LETTERS, without_counterfactuals
from densecf.errors import DataError
from densecf.evaluation.comparison import PairedDifference, compare_cases, paired_differences
from densecf.evaluation.segmentation import CASE_METRICS

EVERY_METHOD = "all methods"
MEASURES = ("dsc", "dsc_nf", "dsc_pe", "hd95", "asd")
"""Keys of `densecf.evaluation.tables.COLUMNS` that are compared."""
Differences = Mapping[str, PairedDifference]
"""By measure; measures without a case are absent."""


@dataclass(frozen=True)
class Comparison:
    """One row against the baseline.

    Attributes:
        row: its name.
        differences: row - baseline.
        holm: by measure, the Wilcoxon p corrected for the number of rows.
    """

    row: str
    differences: Differences
    holm: Mapping[str, float]


@dataclass(frozen=True)
class Effect:
    """What letters of the view code bring, other things equal.

    Attributes:
        letters: "S", "D", "SD", ...
        method: the row's name, or `EVERY_METHOD`.
        pairs: view codes with and without the letters; each case's difference is averaged over them.
        differences: with - without.
        num_pairs: of runs: those of all methods count. Each is compared on the seeds that both have.
    """

    letters: str
    method: str
    pairs: tuple[tuple[str, str], ...]
    differences: Differences
    num_pairs: int


@dataclass(frozen=True)
class ProtocolDifference:
    """One row under both protocols, with the seeds that both have.

    Attributes:
        row: its name.
        seeds: what is compared.
        fair, authors: summaries at the last epoch.
        authors_best: each measure of each fold at the best of its looks at the held-out fold; the same runs.
        optimism: by measure, authors_best - authors: what choosing the epoch adds.
        differences: authors - fair, at the last epoch.
    """

    row: str
    seeds: tuple[int, ...]
    fair: Mapping[str, Any]
    authors: Mapping[str, Any]
    authors_best: Mapping[str, Any]
    optimism: Mapping[str, float]
    differences: Differences


@dataclass(frozen=True)
class Deviation:
    """Two rows that stand the other way round than published.

    Attributes:
        first, second: names; here the first has the higher DSC.
        published: DSC of first - second as published: negative, or 0.
        difference: ours, at the last epoch.
    """

    first: str
    second: str
    published: float
    difference: PairedDifference


@dataclass(frozen=True)
class Order:
    """The order of the rows by DSC, here and as published.

    Attributes:
        dsc, published: by name, in the order of the rows.
        ranks, published_ranks: 1 for the highest; ties share the mean of their ranks.
        tau: Kendall's tau-b; None where it is not defined (one row; all alike).
        p_value: of tau.
        deviations: the pairs whose order differs.
    """

    dsc: Mapping[str, float]
    published: Mapping[str, float]
    ranks: Mapping[str, float]
    published_ranks: Mapping[str, float]
    tau: float | None
    p_value: float | None
    deviations: tuple[Deviation, ...]


def compare_with_baseline(rows: Sequence[RowResult], baseline: RowResult) -> list[Comparison]:
    """Every row against the baseline on the same cases; a row of the baseline's name is left out.

    For each measure the p-values of all rows are one family: Holm's step-down correction keeps the chance of any
    false finding among them under the level.

    Raises:
        DataError: a row was tested on other cases.
    """
    found = {row.name: _compare(*cases_of_pair(row, baseline)) for row in rows if row.name != baseline.name}
    corrected: dict[str, dict[str, float]] = {name: {} for name in found}
    for measure in MEASURES:
        family = {name: mine[measure].p_value for name, mine in found.items() if measure in mine}
        for name, p_value in holm(family).items():
            corrected[name][measure] = p_value
    return [Comparison(name, differences, corrected[name]) for name, differences in found.items()]


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction of a family of p-values (Scandinavian Journal of Statistics 6, 1979)."""
    if not p_values:
        return {}
    from statsmodels.stats.multitest import multipletests

    corrected = multipletests(list(p_values.values()), method="holm")[1]
    return {name: float(value) for name, value in zip(p_values, corrected, strict=True)}


def ingredient_effects(rows: Sequence[RowResult]) -> list[Effect]:
    """What each single letter brings: all pairs of one method whose codes differ in that letter only.

    Args:
        rows: of the ablation grid, each method and code once.

    Returns:
        For each letter that has a pair, one effect a method and, where there are several methods, one over all.
    """
    grid = _grid(rows)
    effects = []
    for letter in LETTERS:
        pairs = {
            method: [(code, code.replace(letter, "")) for code in cases if letter in code]
            for method, cases in grid.items()
        }
        effects += _effects(letter, grid, pairs)
    return effects


def matched_counterfactuals(rows: Sequence[RowResult]) -> list[Effect]:
    """What counterfactuals bring at the same augmentations: each code with S or D against the same without both.

    Args and what is returned as `ingredient_effects`, one pair of codes each.
    """
    grid = _grid(rows)
    codes = dict.fromkeys(code for cases in grid.values() for code in cases)
    effects = []
    for code in codes:
        letters = "".join(letter for letter in COUNTERFACTUALS if letter in code)
        if letters:
            effects += _effects(letters, grid, {method: [(code, without_counterfactuals(code))] for method in grid})
    return effects


def protocol_differences(fair: Sequence[RowResult], authors: Sequence[RowResult]) -> list[ProtocolDifference]:
    """The rows that were run under both protocols, with the seeds that both have."""
    theirs, found = {row.name: row for row in authors}, []
    for row in fair:
        both = set(row.seeds) & set(theirs[row.name].seeds) if row.name in theirs else set()
        if not both:
            continue
        a, b = _with_seeds(row, both), _with_seeds(theirs[row.name], both)
        last, best = b.summary("last"), b.summary("best")
        found.append(
            ProtocolDifference(
                row.name,
                a.seeds,
                a.summary("last"),
                last,
                best,
                _changes(best, last),
                _compare(b.mean_cases, a.mean_cases),
            )
        )
    return found


def cases_of_pair(first: RowResult, second: RowResult) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cases of two rows, averaged over the seeds that both have: a seed's luck is then in both. Where they share
    none, over all seeds of each."""
    both = set(first.seeds) & set(second.seeds)
    if both:
        first, second = _with_seeds(first, both), _with_seeds(second, both)
    return first.mean_cases, second.mean_cases


def optimism(row: RowResult) -> dict[str, float]:
    """By measure, what choosing the epoch on the held-out fold adds: best - last, of the same runs."""
    return _changes(row.summary("best"), row.summary("last"))


def order_of(rows: Sequence[RowResult], published: Mapping[str, float], epoch: str = "last") -> Order:
    """The order of the rows that the paper has too, here and there.

    Args:
        rows: main rows of one protocol.
        published: DSC by name.
        epoch: "last" or "best": by which summary ours are ordered. Differences are those of the last epoch.
    """
    from scipy.stats import kendalltau, rankdata

    shared = [row for row in rows if row.name in published]
    names = [row.name for row in shared]
    ours = {row.name: float(row.summary(epoch)["dsc"]["mean"]) for row in shared}
    theirs = {name: published[name] for name in names}
    ranks, published_ranks = (
        dict(zip(names, map(float, rankdata([-value for value in dsc.values()])), strict=True))
        for dsc in (ours, theirs)
    )
    defined = len(set(ours.values())) > 1 and len(set(theirs.values())) > 1
    tau = kendalltau(list(ours.values()), list(theirs.values())) if defined else None
    by_name = {row.name: row for row in shared}
    deviations = []
    for pair in combinations(names, 2):
        first, second = sorted(pair, key=lambda name: -ours[name])
        if ours[first] > ours[second] and theirs[first] <= theirs[second]:
            difference = paired_differences(*cases_of_pair(by_name[first], by_name[second]))
            deviations.append(Deviation(first, second, theirs[first] - theirs[second], difference))
    return Order(
        ours,
        theirs,
        ranks,
        published_ranks,
        float(tau.statistic) if tau else None,
        float(tau.pvalue) if tau else None,
        tuple(deviations),
    )


def in_table_order(rows: Sequence[RowResult]) -> list[RowResult]:
    """Methods in the order of the paper's Table 2, others after them; rows of one method stay as they came."""
    titles = list(TITLES.values())
    return sorted(rows, key=lambda row: titles.index(row.name) if row.name in titles else len(titles))


def _compare(cases_a: pd.DataFrame, cases_b: pd.DataFrame) -> dict[str, PairedDifference]:
    found = compare_cases(cases_a, cases_b)
    return {
        difference.metric + (f"_{difference.subset}" if difference.subset else ""): difference for difference in found
    }


def _grid(rows: Sequence[RowResult]) -> dict[str, dict[str, RowResult]]:
    """Rows by method (the row's name) and view code."""
    grid: dict[str, dict[str, RowResult]] = {}
    for row in in_table_order(rows):
        mine = grid.setdefault(row.name, {})
        if row.views in mine:
            raise DataError(f"{row.name} with the views {row.views!r} stands twice in the grid; expected each once")
        mine[row.views] = row
    return grid


def _effects(
    letters: str,
    grid: Mapping[str, Mapping[str, RowResult]],
    pairs: Mapping[str, Sequence[tuple[str, str]]],
) -> list[Effect]:
    """The effect for each method that has any of its pairs, and over all methods where several have."""
    held = {
        method: tuple(pair for pair in wanted if set(pair) <= set(grid[method])) for method, wanted in pairs.items()
    }
    held = {method: mine for method, mine in held.items() if mine}
    groups = {method: [method] for method in held} | ({EVERY_METHOD: list(held)} if len(held) > 1 else {})
    effects = []
    for name, methods in groups.items():
        tables = [cases_of_pair(grid[method][a], grid[method][b]) for method in methods for a, b in held[method]]
        differences = _compare(_averaged(a for a, _ in tables), _averaged(b for _, b in tables))
        codes = tuple(dict.fromkeys(pair for method in methods for pair in held[method]))
        effects.append(Effect(letters, name, codes, differences, len(tables)))
    return effects


def _averaged(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Case by case the mean over tables; NaN where any of them is, so that averages stay paired."""
    indexed = [table.set_index("case").sort_index() for table in tables]
    first = indexed[0]
    if any(not table.index.equals(first.index) for table in indexed):
        raise DataError("the runs of an ablation hold different cases; fine-tune all of them with the same folds file")
    metrics = list(CASE_METRICS)
    mean = sum((table[metrics] for table in indexed[1:]), first[metrics]) / len(indexed)
    return first[["patient_id", "pleural_effusion"]].join(mean).reset_index()


def _with_seeds(row: RowResult, seeds: set[int]) -> RowResult:
    return replace(row, cells=tuple(cell for cell in row.cells if cell.cell.seed in seeds))


def _changes(summary: Mapping[str, Any], against: Mapping[str, Any]) -> dict[str, float]:
    """By measure, the change of the mean; measures without a case are absent."""
    changes = {}
    for measure in MEASURES:
        new, old = summary[measure]["mean"], against[measure]["mean"]
        if new is not None and old is not None:
            changes[measure] = new - old
    return changes
