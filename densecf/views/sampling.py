"""Feature maps and masks read at points."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecf.errors import DataError


def sample_at(features: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of feature maps at sub-pixel points; differentiable in `features` and in `points`.

    Args:
        features: (B, C, H, W). Half precision is read in float32: in bfloat16 positions would be off by half a pixel.
        points: (B, N, 2), (row, column) in pixels of the feature map, pixel centres at integers. Positions beyond
            the first or last pixel centre take the border's value.

    Returns:
        (B, N, C) float32, or float64 from float64 features.

    Raises:
        DataError: shapes that do not fit.
    """
    _check(points, features, 4)
    if features.dtype != torch.float64:
        features = features.float()
    height, width = features.shape[-2:]
    rows, columns = points.double().unbind(-1)
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1).to(features.dtype)
    sampled = F.grid_sample(features, grid[:, None], mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[:, :, 0].mT


def labels_at(masks: Tensor, points: Tensor) -> Tensor:
    """Classes of masks at the pixels nearest to points.

    Args:
        masks: (B, H, W) class indices, IGNORE (255) where there is none.
        points: (B, N, 2), (row, column) in pixels of the mask.

    Returns:
        (B, N) int64.

    Raises:
        DataError: shapes that do not fit.
    """
    _check(points, masks, 3)
    height, width = masks.shape[-2:]
    rows = points[..., 0].round().long().clamp(0, height - 1)
    columns = points[..., 1].round().long().clamp(0, width - 1)
    return masks.flatten(1).gather(1, rows * width + columns).long()


def _check(points: Tensor, maps: Tensor, dims: int) -> None:
    if maps.ndim != dims or points.ndim != 3 or points.shape[-1] != 2 or len(points) != len(maps):
        raise DataError(
            f"points {tuple(points.shape)} do not fit maps {tuple(maps.shape)}: expected (B, N, 2) and "
            + ("(B, C, H, W)" if dims == 4 else "(B, H, W)")
        )
