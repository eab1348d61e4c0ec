"""Coordinate ramps: images whose two channels are their own row and column, the yardstick of all geometry."""

import numpy as np
import torch
from torch import Tensor


def ramp(size: tuple[int, int]) -> Tensor:
    """(2, H, W) float32: channel 0 holds row indices, channel 1 column indices."""
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return torch.stack([rows, columns]).float()


def sources(affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 2): where the matrix says each view pixel comes from; written out, not by the code under test."""
    result = np.empty((*size, 2))
    for row in range(size[0]):
        for column in range(size[1]):
            result[row, column] = (np.asarray(affine) @ [row, column, 1])[:2]
    return result


def visible(points: np.ndarray, input_size: tuple[int, int], margin: float = 0.0) -> np.ndarray:
    last = np.asarray(input_size) - 1
    return np.all((points >= margin) & (points <= last - margin), axis=-1)


def ramp_error(view: Tensor, affine: np.ndarray, input_size: tuple[int, int]) -> float:
    """Largest distance in pixels between a warped ramp and what the matrix says, over all visible pixels."""
    size = (view.shape[-2], view.shape[-1])
    expected = sources(affine, size)
    seen = visible(expected, input_size)
    assert seen.sum() > 10, "the view sees too little of the image for the test to mean anything"
    return float(np.abs(view.numpy().transpose(1, 2, 0) - expected)[seen].max())
