"""Area under the ROC curve, for all test images and for each stratum of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

ALL = "all"


@dataclass(frozen=True)
class GroupAuc:
    """The AUC of one stratum.

    Attributes:
        group: "all", "scanner=A", "sex=F", or "sex gap": largest minus smallest AUC over the sexes.
        auc: in [0, 1]; NaN where the stratum holds one class only.
        n: its images.
        positives: those of the positive class; None for several classes and for gaps.
    """

    group: str
    auc: float
    n: int
    positives: int | None


def roc_auc(scores: np.ndarray, codes: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN for one class only.

    For several classes the mean of one class against the rest, over the classes present.

    Args:
        scores: (n,) of the positive class, or (n, K).
        codes: (n,) class indices.
    """
    if scores.ndim == 2:
        each = [roc_auc(scores[:, code], codes == code) for code in np.unique(codes)]
        return float(np.mean(each)) if each else math.nan
    truth = codes > 0
    if truth.all() or not truth.any():
        return math.nan
    return float(roc_auc_score(truth, scores))


def group_aucs(
    scores: np.ndarray,
    codes: np.ndarray,
    strata: Mapping[str, np.ndarray],
    gaps: tuple[str, ...] = (),
) -> list[GroupAuc]:
    """The AUC of all images and of every stratum.

    Args:
        scores: (n,) or (n, K), see `roc_auc`.
        codes: (n,) class indices.
        strata: column -> (n,) text; images with "" are in none.
        gaps: columns of which the gap between strata is wanted too.
    """
    binary = scores.ndim == 1

    def measured(group: str, members: np.ndarray) -> GroupAuc:
        positives = int((codes[members] > 0).sum()) if binary else None
        return GroupAuc(group, roc_auc(scores[members], codes[members]), int(members.sum()), positives)

    found = [measured(ALL, np.ones(len(codes), dtype=bool))]
    for column, values in strata.items():
        each = [measured(f"{column}={value}", values == value) for value in sorted(set(values) - {""})]
        found += each
        if column in gaps and len(each) > 1:
            aucs = [stratum.auc for stratum in each]
            found.append(GroupAuc(f"{column} gap", max(aucs) - min(aucs) if not np.isnan(aucs).any() else math.nan,
                                  sum(stratum.n for stratum in each), None))  # fmt: skip
    return found


def mean_and_se(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error (sample standard deviation over root n); the error of one value is NaN."""
    values = np.asarray(values, dtype=np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), float(error)
