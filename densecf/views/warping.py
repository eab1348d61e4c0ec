"""Images and masks resampled once through a view's matrix."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from densecf.views.filtering import antialias
from densecf.views.geometry import EDGE_TOLERANCE, IGNORE, Size


def warp(image: Tensor, affine: ArrayLike, size: Size, mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
    """Resamples an image or a mask once.

    Where the view is smaller than its source ("bilinear" only), the source is smoothed first so that fine detail
    does not alias; a view at least as large as its crop is a plain bilinear sample. Magnified images are not
    smoothed. Masks are never interpolated.

    Args:
        image: (C, H, W), or (V, C, H, W) for V views at once; V = 1 serves all affines.
        affine: (3, 3), or (V, 3, 3): view pixel to input pixel.
        size: rows and columns of the view.
        mode: "bilinear" gives float32, and 0 where the source lies outside the image; "nearest" keeps the type,
            and gives IGNORE (255) outside.

    Returns:
        (C, h, w), or (V, C, h, w).
    """
    affines = np.asarray(affine, dtype=np.float64).reshape(-1, 3, 3)
    images = image if image.ndim == 4 else image[None]
    rows, columns = source_grid(affines, size, image.device)
    valid = inside_grid(rows, columns, (images.shape[-2], images.shape[-1]))
    warped = sample_images(images, affines, valid) if mode == "bilinear" else sample_masks(images, rows, columns, valid)
    return warped if image.ndim == 4 else warped[0]


def source_grid(affines: np.ndarray, size: Size, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Row and column in the input of every view pixel: two (V, h, w) float64 tensors from affines (V, 3, 3)."""
    matrix = torch.from_numpy(np.ascontiguousarray(affines)).to(device)
    i = torch.arange(size[0], dtype=torch.float64, device=device)[:, None]
    j = torch.arange(size[1], dtype=torch.float64, device=device)
    rows, columns = (
        (matrix[:, axis, 0, None, None] * i + matrix[:, axis, 2, None, None]) + matrix[:, axis, 1, None, None] * j
        for axis in (0, 1)
    )
    return rows, columns


def inside_grid(rows: Tensor, columns: Tensor, input_size: Size) -> Tensor:
    """Which sources lie between the input's first and last pixel centre, (V, h, w) bool.

    From the matrix alone: never by warping an image of ones, whose rim is a matter of interpolation.
    """
    half_height, half_width = ((length - 1) / 2 for length in input_size)
    return ((rows - half_height).abs_() <= half_height + EDGE_TOLERANCE).logical_and_(
        (columns - half_width).abs_() <= half_width + EDGE_TOLERANCE
    )


def sample_images(images: Tensor, affines: np.ndarray, valid: Tensor) -> Tensor:
    """Bilinear samples of images (V or 1, C, H, W) through `affines`, smoothed where minified; 0 where not `valid`.

    Returns:
        (V, C, h, w) float32.
    """
    images = images.float()
    height, width = images.shape[-2:]
    # How many input rows (columns) one step in the view crosses.
    strides = np.linalg.norm(affines[:, :2, :2], axis=2)
    if np.any(strides > 1 + 1e-6):
        images = torch.stack(
            [
                antialias(image, (float(by_row), float(by_column)))
                for image, (by_row, by_column) in zip(images.expand(len(affines), -1, -1, -1), strides, strict=True)
            ]
        )
    grid = _normalised_grid(affines, (valid.shape[1], valid.shape[2]), (height, width), images.device)
    sampled = F.grid_sample(
        images.expand(len(affines), -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled.masked_fill_(~valid[:, None], 0)


def sample_masks(masks: Tensor, rows: Tensor, columns: Tensor, valid: Tensor) -> Tensor:
    """Nearest samples of masks (V or 1, C, H, W) at `rows`, `columns` (V, h, w); IGNORE outside.

    Returns:
        (V, C, h, w) of the masks' type.
    """
    channels, height, width = masks.shape[-3:]
    index = rows.round().clamp_(0, height - 1).mul_(width).add_(columns.round().clamp_(0, width - 1)).long()
    flat = masks.reshape(len(masks), channels, height * width).expand(len(rows), -1, -1)
    sampled = flat.gather(2, index.flatten(1)[:, None].expand(-1, channels, -1)).view(
        len(rows), channels, *rows.shape[1:]
    )
    return sampled.masked_fill_(~valid[:, None], IGNORE)


def swap_classes(mask: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    """Exchanges each pair of classes, as a mirrored patient demands."""
    swapped = mask.clone()
    for left, right in pairs:
        swapped[mask == left] = right
        swapped[mask == right] = left
    return swapped


def _normalised_grid(affines: np.ndarray, size: Size, input_size: Size, device: torch.device) -> Tensor:
    """Sources (V, h, w, 2) as grid_sample wants them: (column, row), -1 and 1 at the image's outer edges.

    Each is the sum of what the view's row and its column contribute, both exact to float32: an error of about
    1e-7 of the image's size, hence 3e-5 pixels at 224.
    """
    grid = torch.empty((len(affines), *size, 2), dtype=torch.float32, device=device)
    i, j = np.arange(size[0]), np.arange(size[1])
    for last, axis in ((0, 1), (1, 0)):
        scaled = affines[:, axis, :, None] * (2 / input_size[axis])
        by_row = scaled[:, 0] * i + scaled[:, 2] + (1 / input_size[axis] - 1)
        by_column = scaled[:, 1] * j
        torch.add(
            torch.from_numpy(by_row).to(device, torch.float32)[:, :, None],
            torch.from_numpy(by_column).to(device, torch.float32)[:, None],
            out=grid[..., last],
        )
    return grid
