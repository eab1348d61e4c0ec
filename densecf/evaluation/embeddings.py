"""How well pixel embeddings separate the classes: k-means purity, class separation, linear pixel probe (paper 4.1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from densecf.errors import DataError
from densecf.evaluation.clusters import cluster_purity, kmeans_purity, separation
from densecf.evaluation.pixel_probe import PixelProbe, class_dsc, probe_summary
from densecf.evaluation.pixels import as_numpy, checked_pixels
from densecf.markdown import plain
from densecf.views.geometry import IGNORE

__all__ = [
    "cluster_purity",
    "embeddings_table",
    "evaluate_embeddings",
    "kmeans_purity",
    "separation",
]


def evaluate_embeddings(
    features_per_image: Sequence[Any],
    masks: Sequence[Any],
    *,
    groups: Sequence[Any],
    class_names: Sequence[str] = ("background", "left_lung", "right_lung"),
    probe_features_per_image: Sequence[Any] | None = None,
    pixels_per_image: int = 1000,
    max_cluster_pixels: int = 20_000,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> dict[str, Any]:
    """All three measures; the probe is trained and tested on different patients.

    Purity and separation use pixels drawn evenly from all images. The probe is trained on `pixels_per_image` pixels
    of each training image and tested on every pixel of the test images.

    Args:
        features_per_image: for each image (D, h, w), the projection head's output in the paper. Any sequence that
            computes its items when asked will do: each is asked for at most twice and none is kept.
        masks: for each image (h, w) class indices.
        groups: for each image its patient.
        class_names: background first; k-means gets one cluster a class.
        probe_features_per_image: for each image (D', h, w), the decoder's output in the paper; None means the same.
        pixels_per_image: drawn from each image.
        max_cluster_pixels: at most so many of them in all for k-means and separation.
        test_fraction: share of the patients whose images test the probe.
        seed: of the pixels, the split and k-means.

    Returns:
        A JSON-able dict: `purity`, `purity_floor` (share of the largest class), `separation`, `probe`,
        `class_names`, `num_images`, `num_pixels`, `num_probe_train`, `num_probe_test` (images), `seed`.

    Raises:
        DataError: fewer than two patients, lists or shapes that do not fit, one class only, or NaN features.
    """
    count = len(features_per_image)
    lengths = {"masks": len(masks), "groups": len(groups)}
    if probe_features_per_image is not None:
        lengths["probe features"] = len(probe_features_per_image)
    wrong = [f"{name}: {length}" for name, length in lengths.items() if length != count]
    if wrong:
        raise DataError(f"{count} images have features, but other numbers are given of {', '.join(wrong)}")
    if len(set(groups)) < 2:
        raise DataError(f"the pixel probe needs images of at least 2 patients to train and test on, got {count} of one")
    split = GroupShuffleSplit(1, test_size=test_fraction, random_state=seed)
    train, test = next(split.split(np.zeros(count), groups=np.asarray(groups, dtype=str)))

    share = max(1, min(pixels_per_image, max_cluster_pixels // count))
    sampled, trained = [], []
    probe_source = features_per_image if probe_features_per_image is None else probe_features_per_image
    for index in range(count):
        labels = as_numpy(masks[index]).reshape(-1)
        rows = np.random.default_rng([seed, index]).permutation(np.flatnonzero(labels != IGNORE))[:pixels_per_image]
        features = _flat(features_per_image[index], masks[index], index)
        sampled.append((features[rows[:share]], labels[rows[:share]]))
        if index in train:
            if probe_features_per_image is not None:
                features = _flat(probe_source[index], masks[index], index)
            trained.append((features[rows], labels[rows]))
    pixels, labels = _joined(sampled)
    probe = PixelProbe(*_joined(trained))
    dsc, hits, total = [], 0, 0
    for index in test:
        features, truth = checked_pixels(_flat(probe_source[index], masks[index], index), masks[index], min_classes=0)
        predicted = probe.predict(features)
        dsc.append(class_dsc(predicted, truth, len(class_names)))
        hits, total = hits + int((predicted == truth).sum()), total + len(truth)
    return {
        "purity": kmeans_purity(pixels, labels, num_clusters=len(class_names), seed=seed),
        "purity_floor": float(np.bincount(labels).max() / len(labels)),
        "separation": separation(pixels, labels),
        "probe": probe_summary(np.stack(dsc), hits / max(total, 1)),
        "class_names": list(class_names),
        "num_images": count,
        "num_pixels": len(labels),
        "num_probe_train": len(train),
        "num_probe_test": len(test),
        "seed": seed,
    }


def embeddings_table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown table of what `evaluate_embeddings` returned, one row a name.

    Args:
        results: name (of a run) -> result.
    """
    lines = [
        "| run | k-means purity | purity floor (largest class) | d/sigma (paper) | d/sigma^2 (authors' code) "
        "| linear probe DSC [%] | linear probe accuracy [%] |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        lines.append(
            f"| {plain(name)} | {result['purity']:.4f} | {result['purity_floor']:.4f} "
            f"| {result['separation']['d_over_std']:.2f} | {result['separation']['d_over_variance']:.2f} "
            f"| {_number(result['probe']['dsc'])} | {_number(result['probe']['accuracy'])} |"
        )
    return "\n".join(lines) + "\n"


def _flat(features: Any, mask: Any, index: int) -> np.ndarray:
    """Features (D, h, w) of image `index` as pixels (h * w, D); they must lie on the mask's grid."""
    features, shape = as_numpy(features), np.shape(mask)
    if features.ndim != 3 or features.shape[1:] != shape:
        raise DataError(
            f"image {index}: features have the shape {features.shape}, the mask {tuple(shape)}; resize first"
        )
    return features.reshape(len(features), -1).T


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return checked_pixels(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
