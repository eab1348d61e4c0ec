"""The densities of the model: diagonal Gaussian latents and a discretised Gaussian over pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

HALF_BIN = 1 / 255
"""Half the width of one of 256 grey levels of an image in [-1, 1]."""
_RARE = 1e-5


def positive_scale(raw: Tensor) -> Tensor:
    """log2(1 + 2^raw): positive, and 1 at 0, so that a layer starting at zero starts with unit scale."""
    return F.softplus(raw.float(), beta=math.log(2))


def gaussian_kl(mean: Tensor, scale: Tensor, prior_mean: Tensor, prior_scale: Tensor) -> Tensor:
    """KL(q || p) of two diagonal Gaussians in nats, elementwise."""
    variance_ratio = (scale / prior_scale) ** 2
    shift = ((mean - prior_mean) / prior_scale) ** 2
    return 0.5 * (variance_ratio + shift - 1) - torch.log(scale / prior_scale)


def discretised_gaussian_nll(image: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Minus the log-probability of each pixel's grey level, in nats, elementwise.

    A grey level is a bin of width 2 / 255; the darkest and the brightest bins reach to infinity. Bins too improbable
    for the difference of two float32 distribution functions take density times width, whose gradient never vanishes.

    Args:
        image, mean: (B, 1, H, W) in [-1, 1].
        scale: standard deviation in the same units, broadcast to the image.
    """
    image, mean, scale = image.float(), mean.float(), scale.float()
    z = (image - mean) / scale
    half = HALF_BIN / scale
    above = torch.where(image > 1 - HALF_BIN, torch.ones_like(z), torch.special.ndtr(z + half))
    below = torch.where(image < -1 + HALF_BIN, torch.zeros_like(z), torch.special.ndtr(z - half))
    probability = above - below
    density = -0.5 * z**2 - torch.log(scale) - 0.5 * math.log(2 * math.pi) + math.log(2 * HALF_BIN)
    exact = torch.log(probability.clamp_min(_RARE))
    return -torch.where(probability > _RARE, exact, density)
