"""How separable domains (scanners) are in an embedding: PCA and logistic regression, by patient; and its plane."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from densecf.errors import DataError
from densecf.evaluation.tabular import Cell, Column, Number, Table, to_markdown

COMPONENTS, FOLDS = 16, 5
PERPLEXITY = 30.0
_PLANE_COMPONENTS = 50
"""t-SNE and UMAP see so many principal components at most, as scikit-learn advises."""

Projection = Literal["tsne", "umap"]


@dataclass(frozen=True)
class Separability:
    """How well the domain of an image of an unseen patient is told from its embedding.

    Attributes:
        balanced_accuracy: mean over domains of the share recognised, over all held-out images together.
        chance: what guessing gives: one over the number of domains.
        by_fold: balanced accuracy of each fold.
        recognised: domain -> share of its images recognised.
        images, patients: how many.
    """

    balanced_accuracy: float
    chance: float
    by_fold: tuple[float, ...]
    recognised: dict[str, float]
    images: int
    patients: int


def separability(
    features: np.ndarray, domains: np.ndarray, patients: np.ndarray, *, folds: int = FOLDS, seed: int = 0
) -> Separability:
    """Logistic regression on 16 whitened principal components, in folds that never divide a patient.

    Components and classifier are fitted on the training folds alone; domains weigh the same, however rare.

    Args:
        features: (n, D).
        domains: (n,) names, at least two of them, each of at least as many patients as there are folds.
        patients: (n,).
        folds: parts; each is held out once.
        seed: of the folds.

    Raises:
        DataError: one domain only, or one of too few patients.
    """
    names, codes = np.unique(domains.astype(str), return_inverse=True)
    groups = patients.astype(str)
    counts = {name: len(set(groups[codes == code])) for code, name in enumerate(names)}
    if len(names) < 2:
        raise DataError(f"separability needs two domains, and all {len(features)} images are of {', '.join(names)}")
    if few := {name: count for name, count in counts.items() if count < folds}:
        raise DataError(f"{folds} folds need {folds} patients of each domain: {few}")
    predicted, fold_scores = np.empty(len(codes), np.int64), []
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(features, codes, groups):
        components = min(COMPONENTS, features.shape[1], len(train))
        model = make_pipeline(
            PCA(components, whiten=True, random_state=seed), LogisticRegression(class_weight="balanced", max_iter=1000)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features[train].astype(np.float64), codes[train])
        predicted[test] = model.predict(features[test].astype(np.float64))
        fold_scores.append(_balanced(codes[test], predicted[test]))
    recognised = {name: float((predicted[codes == code] == code).mean()) for code, name in enumerate(names)}
    return Separability(
        _balanced(codes, predicted), 1 / len(names), tuple(fold_scores), recognised, len(codes), len(set(groups))
    )


def _balanced(truth: np.ndarray, predicted: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a fold without one of the domains
        return float(balanced_accuracy_score(truth, predicted))


def project(features: np.ndarray, method: Projection, *, perplexity: float = PERPLEXITY, seed: int = 0) -> np.ndarray:
    """Embeddings on the plane, (n, D) -> (n, 2), deterministic for a seed.

    Args:
        features: (n, D), n at least 5.
        method: t-SNE (van der Maaten and Hinton) from the principal plane, or UMAP.
        perplexity: of t-SNE; lowered where there are fewer than three times as many images.

    Raises:
        DataError: fewer than 5 images.
    """
    if len(features) < 5:
        raise DataError(f"a projection needs 5 images at least, got {len(features)}")
    components = min(_PLANE_COMPONENTS, *features.shape)
    principal = PCA(components, random_state=seed).fit_transform(features.astype(np.float64))
    if method == "umap":
        from densecf.visualization.projection import umap_plane

        standard = principal / max(float(principal[:, 0].std()), 1e-12)
        return umap_plane(standard, min(15, len(features) - 1), 0.1, 300, seed)
    within = min(perplexity, (len(features) - 1) / 3)
    return TSNE(perplexity=within, init="pca", random_state=seed, n_jobs=1).fit_transform(principal)


def separability_markdown(found: dict[str, Separability], title: str, notes: Sequence[str] = ()) -> str:
    """One run a row: balanced accuracy, its spread over folds, and what share of each domain is recognised."""
    first = next(iter(found.values()))
    names = list(first.recognised)
    columns = (
        Column("Pretraining"),
        Column("Balanced accuracy", unit="%", digits=1, higher_is_better=False),
        Column("Folds, lowest to highest", digits=1),
        *(Column(name, unit="%", digits=1) for name in names),
    )
    rows: list[tuple[Cell, ...]] = []
    for run, value in found.items():
        spread = Number(None, low=100 * min(value.by_fold), high=100 * max(value.by_fold))
        shares = (Number(100 * value.recognised[name]) for name in names)
        rows.append((run, Number(100 * value.balanced_accuracy), spread, *shares))
    rows.append(("chance", Number(100 * first.chance), *[""] * (1 + len(names))))
    return to_markdown(Table("separability", title, columns, tuple(rows), tuple(notes)))
