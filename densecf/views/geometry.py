"""The algebra of views: 3x3 float64 matrices on (row, column) pixel indices.

Every matrix maps an *output* pixel index to an *input* pixel index, ``[r_in, c_in, 1] = A @ [r_out, c_out, 1]``,
with pixel centres at integers: the first pixel's centre is 0, the image spans [-0.5, size - 0.5]. This is
MONAI's ``MetaTensor.affine`` convention and torch's ``align_corners=False``. Nothing here is random and nothing
touches an image.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from densecf.errors import DataError

IGNORE = 255
"""Mask value of view pixels whose source lies outside the image: no class, and not background."""

EDGE_TOLERANCE = 1e-6
"""Pixels by which a source may miss the image through rounding alone and still count as inside."""

Affine = NDArray[np.float64]
Size = tuple[int, int]


def as_size(size: int | tuple[int, int]) -> Size:
    """(rows, columns) from one number or two. Raises DataError unless both are whole and at least 1."""
    pair = tuple(np.broadcast_to(np.asarray(size), (2,)).tolist())
    if any(length != int(length) or length < 1 for length in pair):
        raise DataError(f"size {size!r}: expected a whole number of pixels, or (rows, columns), each at least 1")
    return int(pair[0]), int(pair[1])


def rotation(degrees: float, size: Size) -> Affine:
    """Rotates the content counter-clockwise, as displayed, about the image centre; the canvas stays as it is.

    Distances are kept in pixels whatever the image's shape. (In coordinates scaled to [0, 1], as in the
    authors' code, it would be a shear unless the image is square.)
    """
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    linear = np.array([[cosine, sine], [-sine, cosine]])
    centre = (np.asarray(size, dtype=np.float64) - 1) / 2
    return _affine(linear, centre - linear @ centre)


def resized_crop(top: float, left: float, height: float, width: float, size: Size) -> Affine:
    """Stretches the crop of `height` x `width` pixels whose first pixel is (`top`, `left`) over `size` pixels.

    The crop's outer pixel *edges* fall on the output's outer edges (the half-pixel convention).
    """
    scale = np.array([height / size[0], width / size[1]])
    return _affine(np.diag(scale), np.array([top, left]) - 0.5 + 0.5 * scale)


def flip(size: Size) -> Affine:
    """Mirrors left and right."""
    return _affine(np.diag([1.0, -1.0]), np.array([0.0, size[1] - 1.0]))


def compose(*affines: ArrayLike) -> Affine:
    """One matrix from many, the step nearest the input first: ``compose(input<-a, a<-b) = input<-b``."""
    product = np.eye(3)
    for affine in affines:
        product = product @ np.asarray(affine, dtype=np.float64)
    return product


def apply(affine: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Maps points (..., 2), (row, column) in output pixels, to input pixels."""
    affine = np.asarray(affine, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ affine[:2, :2].T + affine[:2, 2]


def inside(points: ArrayLike, size: Size, tolerance: float = EDGE_TOLERANCE) -> NDArray[np.bool_]:
    """Which points (..., 2) lie between the first and the last pixel centre of an image of `size`."""
    points = np.asarray(points, dtype=np.float64)
    return np.all((points >= -tolerance) & (points <= np.asarray(size) - 1 + tolerance), axis=-1)


def corners(affine: ArrayLike, size: Size) -> NDArray[np.float64]:
    """The view's outer pixel centres in input pixels, (4, 2): top left, top right, bottom right, bottom left."""
    bottom, right = size[0] - 1, size[1] - 1
    return apply(affine, [[0, 0], [0, right], [bottom, right], [bottom, 0]])


def _affine(linear: NDArray[np.float64], offset: NDArray[np.float64]) -> Affine:
    affine = np.eye(3)
    affine[:2, :2] = linear
    affine[:2, 2] = offset
    return affine
