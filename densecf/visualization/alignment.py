"""One disc turned onto another: what makes the colours of different networks comparable.

UMAP and the enclosing ellipse leave a CHRO-map's disc free up to a rotation or reflection. The turn that brings the
same pixels of two networks as close together as it can is the solution of the orthogonal Procrustes problem
(P. Schoenemann, "A generalized solution of the orthogonal Procrustes problem", 1966).
"""

import numpy as np
from scipy.linalg import orthogonal_procrustes


def closest_turn(discs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The rotation or reflection of the plane that brings discs nearest to the reference, in squared distance.

    Args:
        discs: (n, 2) disc coordinates of n pixels under one network.
        reference: (n, 2) those of the same pixels under another.

    Returns:
        (2, 2) float64, orthogonal; ``discs @ turn`` is the answer.

    Raises:
        ValueError: not as many pixels in both, or NaN or infinite places.
    """
    return orthogonal_procrustes(np.asarray(discs, np.float64), np.asarray(reference, np.float64))[0]


def mean_distance(discs: np.ndarray, reference: np.ndarray) -> float:
    """How far the same pixels lie apart on average; 2 is the disc's diameter."""
    return float(np.linalg.norm(np.asarray(discs, np.float64) - reference, axis=1).mean())


def chance_distance(discs: np.ndarray, reference: np.ndarray, seed: int = 0) -> float:
    """What `mean_distance` is after the best turn when pixels are paired at random: the two share nothing then."""
    shuffled = np.asarray(discs, np.float64)[np.random.default_rng(seed).permutation(len(discs))]
    return mean_distance(shuffled @ closest_turn(shuffled, reference), reference)
