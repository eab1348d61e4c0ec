"""Whether what was written gives the same numbers as the run: nothing is exported that does not."""

from __future__ import annotations

import torch
from torch import Tensor

from densecf.errors import DensecfError

TOLERANCE = 1e-4


def sample_images(size: int, count: int = 2) -> Tensor:
    """Grey levels in [0, 1], ``(count, 1, size, size)``, always the same ones: large shapes and fine noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 1, 4, 4, generator=generator)
    shapes = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return (shapes + 0.1 * torch.randn(count, 1, size, size, generator=generator)).clamp(0, 1)


def check_same(found: Tensor, expected: Tensor, what: str) -> float:
    """The largest difference, in units of the largest value where that is above 1.

    Raises:
        DensecfError: it exceeds `TOLERANCE`, is not a number, or the shapes differ.
    """
    if found.shape != expected.shape:
        raise DensecfError(f"{what}: shape {tuple(found.shape)}, and the run gives {tuple(expected.shape)}")
    difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1))
    if not difference <= TOLERANCE:  # NaN too
        raise DensecfError(
            f"{what}: differs from the run by {difference:.1e}, and {TOLERANCE:.0e} is allowed; nothing was exported"
        )
    return difference
