"""Small field arithmetic the phantom is drawn with: soft edges, lattices, blurs, splats. Pure functions, any size.

Every primitive knows the pixel size and widens its edge by the pixel's footprint, so that an image is anti-aliased
without supersampling and the same patient comes out at any size. Lengths are fractions of the field of view.
"""

from functools import lru_cache

import numpy as np

FIELD_MM = 350.0  # side of the square field of view; a 14 x 14 inch detector is 356 mm


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """Smooth step 0 -> 1 of a signed distance; `width` is the standard deviation of the blurred edge it imitates."""
    t = np.clip(distance * (0.2887 / width) + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def edge(px: float, width: float) -> float:
    """Edge width of something `width` sharp seen through square pixels of side `px` (a box has variance px^2 / 12)."""
    return float(np.hypot(width, 0.2887 * px))


def line(distance: np.ndarray, width: float, px: float) -> np.ndarray:
    """Gaussian ridge of standard deviation `width`, averaged over the pixel: it gets wider and lower, never aliases."""
    seen = edge(px, width)
    return np.exp(distance * distance * (-0.5 / seen**2)) * np.float32(width / seen)


def smooth_min(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Minimum of two signed distances with the corner rounded over `radius` (polynomial blend)."""
    h = np.maximum(radius - np.abs(a - b), 0.0)
    return np.minimum(a, b) - h * h * (0.25 / radius)


def ellipse(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0) -> np.ndarray:
    """Approximate signed distance to an ellipse, positive inside (first order: exact value and slope at the border)."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    ex, ey = (dx * c + dy * s) * np.float32(1 / rx), (dy * c - dx * s) * np.float32(1 / ry)
    f = np.sqrt(ex * ex + ey * ey)
    slope = np.sqrt(ex * ex * np.float32(1 / rx**2) + ey * ey * np.float32(1 / ry**2))
    return (1.0 - f) * (f + 1e-4) / (slope + np.float32(1e-4 / max(rx, ry)))


def capsule(x: np.ndarray, y: np.ndarray, a: tuple[float, float], b: tuple[float, float]) -> np.ndarray:
    """Distance to the segment a-b."""
    bx, by = b[0] - a[0], b[1] - a[1]
    dx, dy = x - np.float32(a[0]), y - np.float32(a[1])
    t = np.clip((dx * bx + dy * by) * (1.0 / (bx * bx + by * by)), 0.0, 1.0)
    return np.hypot(dx - t * np.float32(bx), dy - t * np.float32(by))


@lru_cache(maxsize=64)
def _spline(size: int, knots: int) -> np.ndarray:
    # Cubic B-spline weights of `knots` control values spread over [0, 1] and one spacing beyond, at pixel centres.
    at = (np.arange(size) + 0.5) / size * (knots - 3) + 1.0
    d = np.abs(at[:, None] - np.arange(knots)[None, :])
    near = 2 / 3 - d**2 + d**3 / 2
    far = np.clip(2 - d, 0, None) ** 3 / 6
    return np.where(d < 1, near, far).astype(np.float32)


def lattice(values: np.ndarray, size: int) -> np.ndarray:
    """Smooth (size, size) field from a (k, k) lattice of control values, k >= 4."""
    weights = _spline(size, len(values))
    return weights @ values.astype(np.float32) @ weights.T


@lru_cache(maxsize=64)
def _resampler(size: int, source: int) -> np.ndarray:
    # Area average when shrinking, linear interpolation when growing; rows sum to 1.
    centre = (np.arange(size) + 0.5) / size * source - 0.5
    half = max(source / size, 1.0)
    weights = np.clip(1.0 - np.abs(centre[:, None] - np.arange(source)[None, :]) / half, 0.0, None)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def resample(values: np.ndarray, size: int) -> np.ndarray:
    """(n, n) field sampled with anti-aliasing at (size, size)."""
    weights = _resampler(size, len(values))
    return weights @ values @ weights.T


@lru_cache(maxsize=64)
def _blur_matrix(size: int, sigma: float) -> np.ndarray:
    at = (np.arange(size) + 0.5) / size
    weights = np.exp(-0.5 * ((at[:, None] - at[None, :]) / max(sigma, 0.2 / size)) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with `sigma` in fractions of the field; two matrix products, normalised at the border."""
    weights = _blur_matrix(len(image), sigma)
    return weights @ image @ weights.T


def splat(points: np.ndarray, mass: np.ndarray, size: int) -> np.ndarray:
    """Density (size, size) of `mass` (n,) dropped bilinearly at `points` (n, 2), (x, y) in field fractions."""
    x, y = points[:, 0] * size - 0.5, points[:, 1] * size - 0.5
    inside = (x >= 0) & (y >= 0) & (x < size - 1) & (y < size - 1)
    x, y, mass = x[inside], y[inside], mass[inside]
    col, row = x.astype(np.int64), y.astype(np.int64)
    fx, fy = x - col, y - row
    corner = row * size + col
    at = np.concatenate([corner, corner + 1, corner + size, corner + size + 1])
    weights = np.concatenate([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy]) * np.tile(mass, 4)
    density = np.bincount(at, weights, minlength=size * size).reshape(size, size)
    return (density * size**2).astype(np.float32)
