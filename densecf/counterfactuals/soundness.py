"""How sound counterfactuals are: pure measures over arrays, one entry an image.

Effectiveness, composition and reversibility are the axioms of Monteiro et al. 2023, "Measuring axiomatic soundness of
counterfactual image models" (https://arxiv.org/abs/2303.01274); identity (attribute amplification) follows Xia et al.
2024 (https://arxiv.org/abs/2403.09422).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mean_or_none(values: np.ndarray) -> float | None:
    """The mean of what is defined; None where nothing is."""
    defined = np.asarray(values, float)
    defined = defined[np.isfinite(defined)]
    return float(defined.mean()) if len(defined) else None


def balanced_share(right: np.ndarray, groups: Sequence[np.ndarray]) -> float | None:
    """Mean over the groups of the share that is right.

    With one array of targets this is the balanced accuracy; with several, every combination that occurs is a group.

    Args:
        right: (n,) bool.
        groups: arrays (n,) whose combinations are the groups.
    """
    if not len(right):
        return None
    _, group = np.unique(np.stack([np.asarray(g) for g in groups], 1), axis=0, return_inverse=True)
    group = group.ravel()
    counts = np.bincount(group)
    return float((np.bincount(group, weights=right) / counts).mean())


def explained_share(predicted: np.ndarray, wanted: np.ndarray) -> float | None:
    """1 - mean squared error, for values in units of the population's standard deviation.

    This is R2 with the population's variance in place of the sample's, so that it is defined when all are set to one
    value; 0 is the mean's score, and it can be negative.
    """
    known = np.isfinite(wanted)
    return float(1 - np.square(predicted[known] - wanted[known]).mean()) if known.any() else None


def absolute_error(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each pair, (n, S, S) and (n, S, S) in [0, 1] -> (n,) float64."""
    return np.abs(np.asarray(images, float) - np.asarray(others, float)).mean(axis=(1, 2))


def mask_agreement(masks: np.ndarray, others: np.ndarray, num_classes: int) -> np.ndarray:
    """Dice of each pair of masks: mean over the structures that either of the two holds; NaN where neither holds any.

    Args:
        masks, others: (n, S, S) class indices, 0 the background.
        num_classes: background included.

    Returns:
        (n,) in [0, 1].
    """
    scores = np.full((len(masks), num_classes - 1), np.nan)
    for index in range(1, num_classes):
        one, two = masks == index, others == index
        total = one.sum((1, 2)) + two.sum((1, 2))
        there = total > 0
        scores[there, index - 1] = 2 * (one & two).sum((1, 2))[there] / total[there]
    held = np.isfinite(scores)
    sums = np.where(held, scores, 0).sum(1)
    return np.where(held.any(1), sums / np.maximum(held.sum(1), 1), np.nan)
