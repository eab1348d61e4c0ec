"""How the classes lie in the embedding space: k-means purity, and distance between classes over spread within.

Paper section 4.1. Features are (N, D) pixels, labels (N,) class indices; NumPy arrays or torch tensors. Pixels
labelled `IGNORE` never count.
"""

import warnings
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from densecf.errors import DataError
from densecf.evaluation.pixels import checked_pixels, unit_length


def kmeans_purity(
    features: Any, labels: Any, *, num_clusters: int = 3, n_init: int = 20, seed: int = 0, normalise: bool = True
) -> float:
    """Share of pixels, in [0, 1], that carry the majority label of their k-means cluster.

    The floor is the share of the largest class: one cluster alone reaches it.

    Args:
        features: (N, D).
        labels: (N,).
        num_clusters: three in the paper, one a class.
        n_init: restarts of k-means; the one with the least inertia is taken.
        seed: of the restarts.
        normalise: scale each pixel's features to length one first, as the authors' code does.

    Raises:
        DataError: fewer pixels than clusters, one class only, NaN features, or shapes that do not fit.
    """
    features, labels = checked_pixels(features, labels)
    if len(features) < num_clusters:
        raise DataError(f"k-means needs at least {num_clusters} labelled pixels, got {len(features)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # collapsed features: fewer distinct points than clusters
        clusters = KMeans(num_clusters, n_init=n_init, random_state=seed).fit_predict(
            unit_length(features) if normalise else features
        )
    return cluster_purity(clusters, labels)


def cluster_purity(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Sum over clusters of the count of their majority label, over all pixels; both (N,) non-negative integers."""
    table = np.zeros((int(clusters.max()) + 1, int(labels.max()) + 1), np.int64)
    np.add.at(table, (clusters, labels), 1)
    return float(table.max(axis=1).sum() / len(labels))


def separation(features: Any, labels: Any, *, normalise: bool = True) -> dict[str, float]:
    """Distance between classes over spread within them, by both published definitions.

    With the variance of a class the mean squared Euclidean distance of its pixels to their centroid (summed over the
    features, not averaged), and means taken over the classes present:

    - `d_over_std` (the paper, section 4.1): mean pairwise centroid distance / mean root of the class variances.
      Dimensionless: it does not change when all features are scaled.
    - `d_over_variance` (the authors' code): the same distance / (mean class variance + 1e-6). Its unit is one over
      the features', so it can be compared between networks only with normalised features.

    Args:
        features: (N, D).
        labels: (N,).
        normalise: scale each pixel's features to length one first, as the authors' code does.

    Returns:
        `d_over_std`, `d_over_variance`, and their parts `class_distance`, `class_std`, `class_variance`.
        `d_over_std` is infinite when the classes are points, and 0 when everything is one point.

    Raises:
        DataError: one class only, NaN features, or shapes that do not fit.
    """
    features, labels = checked_pixels(features, labels)
    features = (unit_length(features) if normalise else features).astype(np.float64)
    members = [features[labels == label] for label in np.unique(labels)]
    centroids = np.stack([pixels.mean(axis=0) for pixels in members])
    variances = np.array(
        [((pixels - mean) ** 2).sum(axis=1).mean() for pixels, mean in zip(members, centroids, strict=True)]
    )
    first, second = np.triu_indices(len(centroids), k=1)
    distance = float(np.linalg.norm(centroids[first] - centroids[second], axis=1).mean())
    std, variance = float(np.sqrt(variances).mean()), float(variances.mean())
    return {
        "d_over_std": distance / std if std > 0 else (np.inf if distance > 0 else 0.0),
        "d_over_variance": distance / (variance + 1e-6),
        "class_distance": distance,
        "class_std": std,
        "class_variance": variance,
    }
