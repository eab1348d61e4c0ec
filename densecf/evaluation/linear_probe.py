"""The linear probe of image features: logistic regression, its regularisation chosen on val."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from densecf.evaluation.roc import roc_auc

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the L2 penalty (scikit-learn's C) that are tried."""
MAX_ITERATIONS = 300


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe.

    Attributes:
        mean, scale: (D,) standardisation by the training features.
        weights: (D,) or (K, D); ``bias`` a number or (K,).
        strength: the C chosen.
        val_auc: the AUC on val that chose it.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    strength: float
    val_auc: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features (n, D) -> scores: (n,) logits of the second of two classes, or (n, K) probabilities."""
        logits = ((features - self.mean) / self.scale) @ self.weights.T + self.bias
        return logits if logits.ndim == 1 else softmax(logits, axis=1)


def fit_linear_probe(
    train: np.ndarray, train_codes: np.ndarray, val: np.ndarray, val_codes: np.ndarray, num_classes: int = 2
) -> LinearProbe:
    """Class-balanced logistic regression on standardised features; of equal AUCs on val the strongest penalty wins.

    Deterministic: the problems are convex, and solved from the strongest penalty to the weakest, each starting where
    the last one ended.

    Args:
        train: (n, D) features; ``train_codes`` (n,) class indices that hold each of the K classes.
        val: (m, D); ``val_codes`` (m,), at least two classes.
        num_classes: K.
    """
    scaler = StandardScaler().fit(train.astype(np.float64))
    standard = scaler.transform(train.astype(np.float64))
    model = LogisticRegression(class_weight="balanced", max_iter=MAX_ITERATIONS, warm_start=True)
    best: LinearProbe | None = None
    for strength in STRENGTHS:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # separable classes: the weights may grow for ever
            model.fit(standard, train_codes)
        weights, bias = model.coef_.copy(), model.intercept_.copy()
        if num_classes == 2:
            weights, bias = weights[0], bias[0]
        probe = LinearProbe(scaler.mean_, scaler.scale_, weights, bias, strength, math.nan)
        auc = roc_auc(probe(val), val_codes)
        if best is None or auc > best.val_auc:
            best = replace(probe, val_auc=auc)
    assert best is not None  # STRENGTHS is not empty
    return best
