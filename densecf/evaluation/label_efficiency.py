"""How well a label is predicted from few labels: every fraction, seed and test set, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from densecf.data.label_split import LabelSplit, nested_fractions
from densecf.data.labels import Labels
from densecf.evaluation.linear_probe import fit_linear_probe
from densecf.evaluation.roc import ALL, group_aucs, mean_and_se
from densecf.markdown import markdown_table, plain

COLUMNS = ("run", "fraction", "seed", "dataset", "group", "auc", "n", "positives")
KEYS = ["run", "fraction", "dataset", "group"]


@dataclass(frozen=True)
class TestSet:
    """Images that a probe is tested on.

    Attributes:
        name: of its dataset.
        rows: of the dataset, (n,).
        codes: (n,) class indices.
        strata: column -> (n,) text, "" for unknown.
    """

    __test__ = False  # no test of pytest's

    name: str
    rows: np.ndarray
    codes: np.ndarray
    strata: dict[str, np.ndarray]


@dataclass(frozen=True)
class Fit:
    """One classifier: the scores it gives each test set, in their order, and facts about it."""

    scores: list[np.ndarray]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What every network is asked: the same label, images, fractions and seeds."""

    records: pd.DataFrame
    labels: Labels
    split: LabelSplit
    tests: list[TestSet]
    fractions: tuple[float, ...]
    seeds: tuple[int, ...]
    gaps: tuple[str, ...] = ()

    def subsets(self, seed: int) -> dict[float, np.ndarray]:
        """The training rows of each fraction."""
        return nested_fractions(self.records, self.labels, self.split.train, self.fractions, seed)


def measure(run: str, task: Task, fit: Callable[[np.ndarray, float, int], Fit]) -> tuple[pd.DataFrame, list[dict]]:
    """Fits and tests one network at every fraction and seed.

    Args:
        run: its name.
        task: what it is asked.
        fit: (training rows, fraction, seed) -> `Fit`.

    Returns:
        The long table (COLUMNS), and one dict of facts a fit.
    """
    rows, fits = [], []
    for seed in task.seeds:
        for fraction, train in task.subsets(seed).items():
            found = fit(train, fraction, seed)
            patients = task.records["patient_id"].to_numpy()[train]
            fits.append(
                {
                    "run": run,
                    "fraction": fraction,
                    "seed": seed,
                    "images": len(train),
                    "patients": len(set(patients)),
                    **found.facts,
                }
            )
            for test, scores in zip(task.tests, found.scores, strict=True):
                for group in group_aucs(scores, test.codes, test.strata, task.gaps):
                    rows.append((run, fraction, seed, test.name, group.group, group.auc, group.n, group.positives))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"positives": "Int64"})
    return table, fits


class LinearFits:
    """Linear probes of one network's features; equal training sets are fitted once.

    Args:
        task: what is asked.
        features: (m, D) of the rows that train and val hold; ``at`` finds them.
        rows: (m,) the dataset rows of ``features``, ascending.
        tests: (n, D) features of each test set.
    """

    def __init__(self, task: Task, features: np.ndarray, rows: np.ndarray, tests: Sequence[np.ndarray]):
        self.task, self.features, self.rows, self.tests = task, features, rows, tests
        self._known: dict[bytes, Fit] = {}

    def __call__(self, train: np.ndarray, fraction: float, seed: int) -> Fit:
        key = train.tobytes()
        if key not in self._known:
            codes, val = self.task.labels.codes, self.task.split.val
            probe = fit_linear_probe(
                self.at(train), codes[train], self.at(val), codes[val], len(self.task.labels.classes)
            )
            facts = {"C": probe.strength, "val_auc": probe.val_auc}
            self._known[key] = Fit([probe(features) for features in self.tests], facts)
        return self._known[key]

    def at(self, rows: np.ndarray) -> np.ndarray:
        return self.features[np.searchsorted(self.rows, rows)]


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error over seeds: run, fraction, dataset, group, auc, se, seeds, n, positives."""
    rows = []
    for keys, part in table.groupby(KEYS, sort=False):
        mean, error = mean_and_se(part["auc"].to_numpy())
        rows.append((*keys, mean, error, len(part), part["n"].iloc[0], part["positives"].iloc[0]))
    return pd.DataFrame(rows, columns=[*KEYS, "auc", "se", "seeds", "n", "positives"])


def undefined_groups(summary: pd.DataFrame) -> list[str]:
    """The strata without an AUC: "A: scanner=B (12 images)"."""
    part = summary[summary["auc"].isna()].drop_duplicates(["dataset", "group"])
    return [f"{row.dataset}: {row.group} ({row.n} images)" for row in part.itertuples()]


def probe_markdown(summary: pd.DataFrame, title: str, notes: Sequence[str] = ()) -> str:
    """A table for each dataset: runs and groups down, fractions across, the best run of each cell in bold."""
    lines = [f"# {title}"]
    fractions = sorted(summary["fraction"].unique())
    headings = ["Group", "Pretraining", *(f"{100 * fraction:g} %" for fraction in fractions), "Images"]
    for dataset, part in summary.groupby("dataset", sort=False):
        rows = []
        for group, members in part.groupby("group", sort=False):
            gap = str(group).endswith(" gap")
            best = {f: _best(members[members["fraction"] == f]["auc"], lower=gap) for f in fractions}
            for run, own in members.groupby("run", sort=False):
                cells = own.set_index("fraction")
                shown = [_cell(cells.loc[f, "auc"], cells.loc[f, "se"], best[f]) for f in fractions]
                rows.append([plain(str(group)), plain(str(run)), *shown, _images(own.iloc[0])])
        lines += [f"## {plain(str(dataset))}", markdown_table(headings, rows, range(2, len(headings)))]
    return "\n\n".join([*lines, *(note for note in notes if note)]) + "\n"


def _best(means: pd.Series, *, lower: bool) -> float | None:
    rounded = means.dropna().round(4)
    if len(means) < 2 or rounded.empty:
        return None
    return float(rounded.min() if lower else rounded.max())


def _cell(mean: float, error: float, best: float | None) -> str:
    if np.isnan(mean):
        return "n/a"
    text = f"{100 * mean:.1f}" + ("" if np.isnan(error) else f" ± {100 * error:.1f}")
    return f"**{text}**" if best is not None and round(mean, 4) == best else text


def _images(row: pd.Series) -> str:
    return f"{row['n']:,}" + ("" if pd.isna(row["positives"]) else f" ({row['positives']:,} positive)")


def curves(summary: pd.DataFrame) -> pd.DataFrame:
    """What the picture shows: no gaps, no strata without an AUC; panels in order, all images before their strata.

    Returns:
        The rows of ``summary`` with a column ``panel``.
    """
    shown = summary[~summary["group"].str.endswith(" gap") & summary["auc"].notna()]
    several = shown["dataset"].nunique() > 1
    panels = [
        (dataset if group == ALL else f"{dataset}: {group}") if several else group
        for dataset, group in zip(shown["dataset"], shown["group"], strict=True)
    ]
    return shown.assign(panel=panels)
