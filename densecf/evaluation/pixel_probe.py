"""The linear pixel probe: what a single 1x1 convolution could segment from frozen features."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


class PixelProbe:
    """Standardisation and multinomial logistic regression, fitted on training pixels.

    Deterministic: the problem is convex, and solved by L-BFGS.

    Args:
        features: (N, D) float32.
        labels: (N,) class indices, of at least two classes.
        max_iterations: of L-BFGS.
        regularisation: inverse strength, scikit-learn's ``C``.
    """

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, max_iterations: int = 300, regularisation: float = 1.0
    ):
        self.scaler = StandardScaler().fit(features)
        self.model = LogisticRegression(C=regularisation, max_iter=max_iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # separable classes: the weights may grow for ever
            self.model.fit(self.scaler.transform(features), labels)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Class indices (N,) of features (N, D)."""
        return self.model.predict(self.scaler.transform(features)) if len(features) else np.zeros(0, np.int64)


def class_dsc(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """DSC (num_classes,) in [0, 1] of one image; NaN for a class that neither holds."""
    size = max(num_classes, *(int(part.max(initial=0)) + 1 for part in (predicted, truth)))
    both = np.bincount(truth[predicted == truth], minlength=size)
    total = np.bincount(truth, minlength=size) + np.bincount(predicted, minlength=size)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), np.nan)[:num_classes]


def probe_summary(dsc: np.ndarray, accuracy: float) -> dict[str, Any]:
    """Means over the images that hold a class, then over the foreground.

    Args:
        dsc: (images, classes) in [0, 1], from `class_dsc`.
        accuracy: share of the pixels.

    Returns:
        All in percent: `dsc` over the foreground classes, `dsc_per_class` (None for a class that neither prediction
        nor truth holds in any image), `accuracy`.
    """
    present = np.isfinite(dsc).any(axis=0)
    per_class = [100 * float(np.nanmean(column)) if held else None for column, held in zip(dsc.T, present, strict=True)]
    foreground = [value for value in per_class[1:] if value is not None]
    return {
        "dsc": float(np.mean(foreground)) if foreground else None,
        "dsc_per_class": per_class,
        "accuracy": 100 * accuracy,
    }
