"""Pixels as rows: checked, without the ignored ones, from NumPy arrays or torch tensors alike."""

from typing import Any

import numpy as np

from densecf.errors import DataError
from densecf.views.geometry import IGNORE


def as_numpy(values: Any) -> np.ndarray:
    """An array of a NumPy array, list or torch tensor on any device."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def checked_pixels(features: Any, labels: Any, min_classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) float32 and labels (N,) int64, without the ignored pixels.

    Raises:
        DataError: shapes that do not fit, labels that are no class indices, NaN or infinite features, or pixels of
            fewer than `min_classes` classes.
    """
    features, labels = as_numpy(features), as_numpy(labels).reshape(-1)
    if features.ndim != 2 or len(features) != len(labels):
        raise DataError(f"expected features (N, D) and as many labels, got {features.shape} and {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer) or (labels < 0).any():
        raise DataError("pixel labels must be class indices: integers from 0 on")
    keep = labels != IGNORE
    features, labels = np.asarray(features[keep], np.float32), labels[keep].astype(np.int64)
    if not np.isfinite(features).all():
        raise DataError("the pixel features hold NaN or infinite values: the network is broken")
    if len(np.unique(labels)) < min_classes:
        found = ", ".join(map(str, np.unique(labels))) or "none"
        raise DataError(
            f"pixels of at least {min_classes} classes are needed, found only class {found}; are masks missing?"
        )
    return features, labels


def unit_length(features: np.ndarray) -> np.ndarray:
    """Features (N, D) with each pixel scaled to Euclidean length one; zeros stay zeros."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
