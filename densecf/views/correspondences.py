"""Points that all views of a record see, exactly and without leaving the device.

The common field of view of some views is a convex polygon in the input image: the image's own rectangle cut by
each view's. Its corners are found among all crossings of the rectangles' sides, which needs no loop over
records, no step after step of clipping, and no number of corners known to the host.
"""

import torch
from torch import Tensor

from densecf.errors import DataError
from densecf.views.geometry import as_size

_ON_LINE = 1e-9
"""Pixels: a corner this close to a side lies on it."""

_PARALLEL = 1e-12
"""Sine of the angle below which two sides do not cross."""


def sample_correspondences(
    affines: Tensor,
    size: int | tuple[int, int],
    num_points: int,
    generator: torch.Generator | None = None,
    *,
    input_size: int | tuple[int, int] | None = None,
    min_area: float = 16.0,
) -> tuple[Tensor, Tensor]:
    """Draws points uniformly from the part of the input image that all views of a record see.

    Rotated-in corners and everything else outside the image are never drawn. Points are sub-pixel positions: the
    V positions of one point differ by rounding only, ``A_u @ p_u == A_v @ p_v`` (paper, section 3). The
    authors' code rounds to whole pixels, and for the multi-view methods does not keep to the common field of view.

    Args:
        affines: (B, V, 3, 3) view pixel to input pixel.
        size: rows and columns of the views, or one number for both.
        num_points: N.
        generator: makes the draw repeatable; on any device.
        input_size: rows and columns of the input image; None if equal to `size`.
        min_area: common fields of view smaller than this many input pixels are not sampled. The default, a
            patch of 4 x 4, holds nothing to tell its points apart by: its positives would be nearer to their
            negatives than one pixel of the network's coarser feature maps.

    Returns:
        points (B, V, N, 2) float64, (row, column) in pixels of each view, always finite and within
        [0, rows - 1] x [0, columns - 1]; and valid (B, N) bool, False throughout a record whose views share
        too little.

    Raises:
        DataError: affines of another shape, or num_points below 1.
    """
    if affines.ndim != 4 or affines.shape[-2:] != (3, 3):
        raise DataError(f"affines have shape {tuple(affines.shape)}: expected (records, views, 3, 3)")
    if num_points < 1:
        raise DataError(f"num_points = {num_points}: expected at least 1")
    rows, columns = as_size(size)
    vertices, centre, area = common_field_of_view(affines, (rows, columns), as_size(input_size or (rows, columns)))

    device = affines.device
    source = generator.device if generator is not None else device
    uniform = torch.rand((len(affines), num_points, 3), generator=generator, device=source, dtype=torch.float64).to(
        device
    )
    shared = _points_in_fan(vertices, centre, uniform)
    linear, shift = _invert(affines)
    points = shared[:, None] @ linear.mT + shift[..., None, :]

    valid = area >= min_area
    last = _pair(rows - 1, columns - 1, points)
    # The clamp moves valid points by rounding errors only; the others it keeps where they can be sampled.
    points = torch.where(valid[:, None, None, None], points, last / 2)
    points = torch.minimum(points.clamp(min=0), last)
    return points, valid[:, None].expand(-1, num_points)


def common_field_of_view(
    affines: Tensor, size: tuple[int, int], input_size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The polygon that all views see, in input pixels.

    Args:
        affines: (B, V, 3, 3) view pixel to input pixel.
        size: rows and columns of the views.
        input_size: rows and columns of the input image.

    Returns:
        vertices (B, P, 2) in angular order about the centre, filled up with the first where there are fewer than
        P; a centre (B, 2) within the polygon; the area (B,) in square pixels, 0 where the views share nothing.
    """
    normals, offsets = _sides(affines, size, input_size)
    first, second = torch.triu_indices(normals.shape[1], normals.shape[1], 1, device=normals.device)
    n, m, p, q = normals[:, first], normals[:, second], offsets[:, first], offsets[:, second]
    sine = n[..., 0] * m[..., 1] - n[..., 1] * m[..., 0]
    crossing = sine.abs() > _PARALLEL
    safe = torch.where(crossing, sine, 1.0)
    points = torch.stack([(p * m[..., 1] - q * n[..., 1]) / safe, (q * n[..., 0] - p * m[..., 0]) / safe], dim=-1)
    beyond = (points @ normals.mT - offsets[:, None]).amax(dim=-1)
    corner = crossing & (beyond <= _ON_LINE)

    count = corner.sum(dim=1, keepdim=True)
    centre = torch.where(corner[..., None], points, 0.0).sum(dim=1) / count.clamp(min=1)
    spokes = points - centre[:, None]
    angles = torch.where(corner, torch.atan2(spokes[..., 1], spokes[..., 0]), torch.inf)
    order = angles.argsort(dim=1)
    ordered = points.gather(1, order[..., None].expand(-1, -1, 2))
    filled = torch.arange(points.shape[1], device=points.device) < count
    vertices = torch.where(filled[..., None], ordered, ordered[:, :1])
    area = torch.where(count[:, 0] >= 3, _fan_areas(vertices, centre).sum(dim=1), 0.0)
    return vertices, centre, area


def _sides(affines: Tensor, size: tuple[int, int], input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The half-planes ``normal @ x <= offset`` of all views and the image: (B, M, 2) unit normals, (B, M) offsets."""
    linear, shift = _invert(affines)
    identity = torch.eye(2, dtype=linear.dtype, device=linear.device).expand(len(linear), 1, 2, 2)
    # The input image is one more view, seen through the identity.
    linear = torch.cat([linear, identity], dim=1)
    shift = torch.cat([shift, torch.zeros_like(shift[:, :1])], dim=1)
    last = _pair(size[0] - 1, size[1] - 1, shift).expand(len(shift), affines.shape[1], 2)
    last = torch.cat([last, _pair(input_size[0] - 1, input_size[1] - 1, shift).expand(len(shift), 1, 2)], dim=1)
    normals = torch.cat([-linear, linear], dim=2).flatten(1, 2)
    offsets = torch.cat([shift, last - shift], dim=2).flatten(1, 2)
    length = normals.norm(dim=-1)
    return normals / length[..., None], offsets / length


def _points_in_fan(vertices: Tensor, centre: Tensor, uniform: Tensor) -> Tensor:
    """Maps uniform numbers (B, N, 3) to points (B, N, 2) uniform in the polygon: a triangle, then a point in it."""
    cumulated = _fan_areas(vertices, centre).cumsum(dim=1)
    chosen = torch.searchsorted(cumulated, uniform[..., 0] * cumulated[:, -1:], right=True)
    chosen = chosen.clamp(max=vertices.shape[1] - 1)[..., None].expand(-1, -1, 2)
    one = vertices.gather(1, chosen) - centre[:, None]
    other = vertices.roll(-1, dims=1).gather(1, chosen) - centre[:, None]
    outward, along = uniform[..., 1:2].sqrt(), uniform[..., 2:3]
    return centre[:, None] + outward * (one * (1 - along) + other * along)


def _fan_areas(vertices: Tensor, centre: Tensor) -> Tensor:
    """Areas (B, P) of the triangles (centre, vertex, next vertex)."""
    spokes = vertices - centre[:, None]
    following = spokes.roll(-1, dims=1)
    return ((spokes[..., 0] * following[..., 1] - spokes[..., 1] * following[..., 0]) / 2).clamp(min=0)


def _invert(affines: Tensor) -> tuple[Tensor, Tensor]:
    """Input pixel to view pixel: linear parts (B, V, 2, 2) and shifts (B, V, 2), in float64.

    In closed form, because torch.linalg.inv makes the host wait for the device.
    """
    affines = affines.double()
    (a, b), (c, d) = (row.unbind(-1) for row in affines[..., :2, :2].unbind(-2))
    adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    linear = adjugate / (a * d - b * c)[..., None, None]
    return linear, -(linear @ affines[..., :2, 2:])[..., 0]


def _pair(first: float, second: float, like: Tensor) -> Tensor:
    """A tensor of two numbers, written on the device (a copy from the host would make it wait)."""
    return torch.stack(
        [torch.full((), float(value), dtype=like.dtype, device=like.device) for value in (first, second)]
    )
