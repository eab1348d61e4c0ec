"""What choosing the best epoch on the test fold adds to a result: curves, their best epochs and their last one.

The authors of dense counterfactual pretraining report, for each metric and fold, the best of the epochs at which they
looked at the held-out fold (their ``transfer/evaluation/segmentation.py`` and ``main.py``). That is optimistic: the
test cases choose the epoch, and each metric may choose another one, so the row of the table belongs to no network.
Here it can be computed, from curves that chose nothing, and set beside the last epoch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from densecf.errors import DataError
from densecf.evaluation.segmentation import CASE_METRICS, SUBSETS, summarise

ALL = "all"
CURVE_COLUMNS = ("fold", "epoch", "subset", *CASE_METRICS)
BEST = {"dsc": "max", "hd95": "min", "asd": "min"}


def curve_rows(cases: pd.DataFrame, epoch: int) -> list[dict[str, Any]]:
    """The rows of ``curves.csv`` for one fold after one epoch: the means of all cases and of each subset that has any.

    Args:
        cases: the cases of one fold, as in ``cases.csv``.
        epoch: passes over the training cases so far.
    """
    subsets = {ALL: cases} | {name: cases[cases["pleural_effusion"] == flag] for name, flag in SUBSETS.items()}
    rows = []
    for subset, part in subsets.items():
        if len(part):
            summary = summarise(part)
            means = {metric: summary[metric]["mean"] for metric in CASE_METRICS}
            rows.append({"fold": int(part["fold"].iloc[0]), "epoch": epoch, "subset": subset, **means})
    return rows


def best_epoch_summary(curves: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Each metric at its best epoch of each fold, chosen on the fold that is tested: optimistic (see above).

    Args:
        curves: ``curves.csv``: ``fold``, ``epoch``, ``subset`` ("all", "nf", "pe"), ``dsc``, ``hd95``, ``asd``.

    Returns:
        As `densecf.evaluation.segmentation.summarise`, without ``n_missed`` and millimetres: the highest DSC and the
        lowest HD95 and ASD of each fold, their mean and population standard deviation over folds.

    Raises:
        DataError: the table lacks a column or rows of all cases.
    """
    _check(curves)
    found = {subset: _over_folds(part.groupby("fold").agg(BEST)) for subset, part in curves.groupby("subset")}
    summary = {"dsc": found[ALL]["dsc"]}
    for subset in SUBSETS:
        summary[f"dsc_{subset}"] = found[subset]["dsc"] if subset in found else {"mean": None, "std": None}
    return summary | {metric: found[ALL][metric] for metric in ("hd95", "asd")}


def _over_folds(values: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The summary of one value a fold: that of one case a fold."""
    return summarise(values.reset_index().assign(pleural_effusion=np.nan, n_missed=0))


def _check(curves: pd.DataFrame) -> None:
    missing = [name for name in CURVE_COLUMNS if name not in curves]
    if missing:
        raise DataError(f"the table of curves lacks the columns {missing}; it has {list(curves.columns)}")
    if not (curves["subset"] == ALL).any():
        raise DataError(f"the table of curves has no row of the subset {ALL!r}; there is nothing to summarise")
