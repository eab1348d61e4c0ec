"""Changes of intensity, with torchvision's definitions, on images (C, H, W) with values in [0, 1].

MONAI's own transforms differ where it matters: ``RandScaleIntensity`` and ``RandScaleIntensityFixedMean`` do not
clip to [0, 1], ``RandGaussianSmooth`` pads with zeros and so darkens the border, and none solarises.
"""

import torch
from torch import Tensor

from densecf.views.draws import Photometry
from densecf.views.filtering import gaussian_blur


def adjust_brightness(image: Tensor, factor: float) -> Tensor:
    """Multiplies by `factor` and clips to [0, 1]."""
    return (image * factor).clamp_(0, 1)


def adjust_contrast(image: Tensor, factor: float) -> Tensor:
    """Scales the difference to the image's mean by `factor` and clips to [0, 1]."""
    return (image * factor).add_((1 - factor) * image.mean(dim=(-3, -2, -1), keepdim=True)).clamp_(0, 1)


def solarize(image: Tensor, threshold: float) -> Tensor:
    """Inverts every value from `threshold` upwards."""
    return torch.where(image >= threshold, 1 - image, image)


def apply_photometry(image: Tensor, photometry: Photometry) -> Tensor:
    """Brightness and contrast in the drawn order, then blur, then solarising (as in the public code of the paper)."""
    steps = [(adjust_brightness, photometry.brightness), (adjust_contrast, photometry.contrast)]
    for adjust, factor in reversed(steps) if photometry.contrast_first else steps:
        if factor != 1:
            image = adjust(image, factor)
    if photometry.sigma is not None:
        image = gaussian_blur(image, photometry.sigma)
    if photometry.threshold is not None:
        image = solarize(image, photometry.threshold)
    return image
