"""Whole images through the network: dense features, pixel embeddings, predicted masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from densecf.models.unet import dense_features, normalise


@torch.no_grad()
def embed_images(
    model: smp.Unet, head: nn.Module | None, images: Sequence[np.ndarray] | np.ndarray
) -> Iterator[Tensor]:
    """Pixel embeddings of one image after the other.

    Args:
        model: in eval mode.
        head: the projection head, or None for the decoder's features.
        images: grey images ``(H, W)`` in [0, 1], H and W divisible by 32.

    Yields:
        ``(D, H, W)`` float32 on the CPU.
    """
    device = next(model.parameters()).device
    for image in images:
        pixels = torch.as_tensor(np.ascontiguousarray(image), dtype=torch.float32, device=device)
        features = dense_features(model, pixels[None, None]).float()
        if head is not None:
            features = head(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        yield features[0].cpu()


@torch.no_grad()
def predict_masks(model: smp.Unet, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Most probable class of every pixel: images ``(N, H, W)`` in [0, 1] -> ``(N, H, W)`` uint8."""
    device = next(model.parameters()).device
    masks = []
    for image in images:
        pixels = torch.as_tensor(np.ascontiguousarray(image), dtype=torch.float32, device=device)
        masks.append(model(normalise(pixels[None, None])).argmax(1)[0].to(torch.uint8).cpu().numpy())
    return np.stack(masks)
