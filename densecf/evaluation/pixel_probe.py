"""The linear pixel probe: what a single 1x1 convolution could segment from frozen features."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from densecf.errors import DataError
from densecf.evaluation.pixels import as_numpy, checked_pixels
from densecf.views.geometry import IGNORE


def linear_pixel_probe(
    train_features: Any,
    train_labels: Any,
    test_features: Any,
    test_labels: Any,
    *,
    test_images: Any = None,
    num_classes: int | None = None,
    max_iterations: int = 300,
    regularisation: float = 1.0,
) -> dict[str, Any]:
    """Multinomial logistic regression on single pixels: what one 1x1 convolution could segment.

    Deterministic: the problem is convex and solved by L-BFGS on features standardised by the training pixels.

    Args:
        train_features, train_labels: (N, D), (N,).
        test_features, test_labels: (M, D), (M,).
        test_images: (M,) integers, the image of each test pixel; the DSC is computed for each image and then
            averaged. None means that all test pixels are one image.
        num_classes: including the background, class 0; None means the largest label plus one.
        max_iterations: of L-BFGS.
        regularisation: inverse strength, scikit-learn's `C`.

    Returns:
        `dsc` (mean over the foreground classes, percent), `dsc_per_class` (list over all classes, percent, None for
        a class that neither prediction nor truth holds in any image), `accuracy` (percent of pixels).

    Raises:
        DataError: one class only, NaN features, or shapes that do not fit.
    """
    train_features, train_labels = checked_pixels(train_features, train_labels)
    keep = as_numpy(test_labels) != IGNORE
    images = np.zeros(len(keep), np.int64) if test_images is None else as_numpy(test_images)
    if images.shape != keep.shape:
        raise DataError(f"test_images has the shape {images.shape}, test_labels {keep.shape}")
    test_features, test_labels = checked_pixels(test_features, test_labels, min_classes=1)
    if train_features.shape[1] != test_features.shape[1]:
        raise DataError(f"the probe trains on {train_features.shape[1]} features, tests on {test_features.shape[1]}")
    probe = PixelProbe(train_features, train_labels, max_iterations, regularisation)
    predicted = probe.predict(test_features)
    num_classes = num_classes or int(max(train_labels.max(), test_labels.max())) + 1
    images = images[keep]
    dsc = np.stack(
        [
            class_dsc(predicted[images == image], test_labels[images == image], num_classes)
            for image in np.unique(images)
        ]
    )
    return probe_summary(dsc, float((predicted == test_labels).mean()))


class PixelProbe:
    """Standardisation and logistic regression, fitted on training pixels."""

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
    """`dsc` (images, classes) in [0, 1]; means over the images that hold the class, then over the foreground."""
    present = np.isfinite(dsc).any(axis=0)
    per_class = [100 * float(np.nanmean(column)) if held else None for column, held in zip(dsc.T, present, strict=True)]
    foreground = [value for value in per_class[1:] if value is not None]
    return {
        "dsc": float(np.mean(foreground)) if foreground else None,
        "dsc_per_class": per_class,
        "accuracy": 100 * accuracy,
    }
