"""The segmentation network: a U-Net of segmentation_models_pytorch, and its dense features."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import segmentation_models_pytorch as smp
from torch import Tensor

from densecf.errors import ConfigError

MEAN, STD = 0.485, 0.229
"""Grey-level normalisation of the papers' code; part of what the weights expect."""


def build_unet(
    encoder: str = "resnet50",
    decoder_channels: Sequence[int] = (1024, 512, 256, 128, 32),
    *,
    classes: int = 3,
    encoder_weights: str | None = None,
) -> smp.Unet:
    """A U-Net for one-channel images.

    Args:
        encoder: encoder name in segmentation_models_pytorch.
        decoder_channels: five widths, coarse to fine.
        classes: output channels, background included.
        encoder_weights: "imagenet" (downloaded), or None for random weights.

    Raises:
        ConfigError: for an unknown encoder, or weights that cannot be had.
    """
    known = smp.encoders.get_encoder_names()
    if encoder not in known and not encoder.startswith("tu-"):
        near = ", ".join(get_close_matches(encoder, known, n=3, cutoff=0.4)) or "resnet18, resnet50"
        raise ConfigError(
            f"model.encoder: {encoder!r} is not known; did you mean {near}? "
            "(all names of segmentation_models_pytorch, and any encoder of timm as 'tu-NAME')"
        )
    try:
        return smp.Unet(
            encoder,
            encoder_weights=encoder_weights,
            in_channels=1,
            classes=classes,
            decoder_channels=tuple(decoder_channels),
        )
    except Exception as error:  # timm, the hub client and smp each raise their own
        if encoder_weights is None:
            raise ConfigError(f"model: U-Net with encoder {encoder!r} cannot be built ({error})") from error
        raise ConfigError(
            f"model.encoder_weights: the {encoder_weights} weights of {encoder!r} could not be had ({error}). "
            "They are downloaded once: run where there is a network, or use --model.encoder-weights none"
        ) from error


def normalise(images: Tensor) -> Tensor:
    """Images in [0, 1] -> what the network expects; any shape."""
    return (images - MEAN) / STD


def dense_features(model: smp.Unet, images: Tensor) -> Tensor:
    """Decoder output at full resolution.

    Args:
        images: ``(B, 1, H, W)`` in [0, 1], H and W divisible by 32.

    Returns:
        ``(B, C, H, W)``, C the last of the decoder's channels.
    """
    return model.decoder(model.encoder(normalise(images)))
