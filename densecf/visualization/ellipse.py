"""The minimum-volume enclosing ellipse of a set of points in the plane, and its affine map to the unit disc.

Khachiyan's ascent over the weights of the points (L. G. Khachiyan, "Rounding of polytopes in the real number model
of computation", 1996) with the away steps of Todd and Yildirim ("On Khachiyan's algorithm for the computation of
minimum-volume enclosing ellipsoids", 2007), which make it converge linearly. Only the vertices of the convex hull can
touch the ellipse, so nothing else enters the iteration.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from densecf.errors import DataError

FLAT = 1e-6  # points thinner than this (width over length) lie on a line
THIN = 1e-3  # axis ratio of the ellipse drawn around points on a line


@dataclass(frozen=True)
class Ellipse:
    """The points x with (x - centre)^T shape (x - centre) <= 1.

    Attributes:
        centre: (2,) float64.
        shape: (2, 2) float64, symmetric, positive definite.
    """

    centre: np.ndarray
    shape: np.ndarray

    def to_disc(self, points: np.ndarray) -> np.ndarray:
        """Map points (N, 2) so that the ellipse becomes the unit disc, by the symmetric root of the shape matrix."""
        values, vectors = np.linalg.eigh(self.shape)
        return (np.asarray(points, np.float64) - self.centre) @ (vectors * np.sqrt(values)) @ vectors.T


def enclosing_ellipse(points: np.ndarray, *, tolerance: float = 1e-7, max_iterations: int = 10_000) -> Ellipse:
    """The smallest ellipse that contains every point.

    Points that define no ellipse get the nearest sensible one: a line segment a thin ellipse whose minor axis is a
    thousandth of the major one, coinciding points a unit circle around them.

    Args:
        points: (N, 2), N >= 1, finite.
        tolerance: stop when no point is further out, and no point of positive weight further in, than this
            (relative, in the lifted distance).
        max_iterations: stop at the latest after this many steps; the result encloses all points all the same.

    Raises:
        DataError: no point, not two columns, or NaN or infinite values.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise DataError(f"an enclosing ellipse needs points of shape (N, 2) with N >= 1, got {points.shape}")
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        raise DataError(f"an enclosing ellipse needs finite points: {bad} of {len(points)} are NaN or infinite")

    mean = points.mean(axis=0)
    _, spread, axes = np.linalg.svd(points - mean, full_matrices=False)
    axes = axes if len(points) > 1 else np.eye(2)
    spread = np.pad(spread, (0, 2 - len(spread))) / np.sqrt(len(points))
    if spread[0] <= 1e-12 * np.abs(points).max():
        return Ellipse(mean, np.eye(2))
    # In principal axes at unit variance hull and iteration are well conditioned; the result is affine equivariant.
    if spread[1] > FLAT * spread[0]:
        transform = axes.T / spread
        white = (points - mean) @ transform
        try:
            hull = white[ConvexHull(white).vertices]
        except QhullError:  # precision: every point is as good a candidate
            hull = np.unique(white, axis=0)
        centre, shape = _khachiyan(hull, tolerance, max_iterations)
    else:
        transform = axes.T / spread[0]
        white = (points - mean) @ transform
        low, high = white[:, 0].min(), white[:, 0].max()
        centre = np.array([(low + high) / 2, white[:, 1].mean()])
        shape = np.diag(np.array([1.0, 1.0 / THIN]) / ((high - low) / 2)) ** 2
    offsets = white - centre
    shape = shape / np.einsum("ni,ij,nj->n", offsets, shape, offsets).max()
    shape = transform @ shape @ transform.T
    return Ellipse(mean + np.linalg.solve(transform.T, centre), (shape + shape.T) / 2)


def _khachiyan(points: np.ndarray, tolerance: float, max_iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre (2,) and shape (2, 2) of the minimum-volume ellipse of points (M, 2), up to a scale near one."""
    lifted = np.column_stack([points, np.ones(len(points))])
    size = lifted.shape[1]
    weights = np.full(len(points), 1.0 / len(points))
    for _ in range(max_iterations):
        scatter = lifted.T @ (weights[:, None] * lifted)
        distance = np.einsum("ni,ij,nj->n", lifted, np.linalg.inv(scatter), lifted)
        far = int(distance.argmax())
        near = int(np.where(weights > 0, distance, np.inf).argmin())
        outside, inside = distance[far] / size - 1, 1 - distance[near] / size
        if max(outside, inside) < tolerance:
            break
        chosen = far if outside >= inside else near
        kappa = distance[chosen]
        if chosen == far:
            step = (kappa - size) / (size * (kappa - 1))
        else:  # move weight away from a point inside, at most all of it
            drop = -weights[near] / (1 - weights[near])
            step = max(drop, (kappa - size) / (size * (kappa - 1))) if kappa > 1 else drop
        weights *= 1 - step
        weights[chosen] += step
        weights = np.maximum(weights, 0.0)
    centre = weights @ points
    offsets = points - centre
    return centre, np.linalg.inv(offsets.T @ (weights[:, None] * offsets)) / 2
