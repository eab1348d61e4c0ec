"""The lung segmenter that judges whether a counterfactual keeps the anatomy: a small U-Net, trained on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecf.counterfactuals.judges import load_judge, save_judge
from densecf.counterfactuals.short_training import ShortTraining, autocast, train_shortly
from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError
from densecf.models.unet import build_unet, normalise
from densecf.views.geometry import IGNORE

ENCODER, DECODER = "resnet18", (128, 64, 32, 32, 16)
_FORMAT = "densecf-segmenter-1"


def train_segmenter(
    data: PreparedDataset,
    rows: Sequence[int] | np.ndarray,
    mask_of: Callable[[int], np.ndarray],
    *,
    seed: int,
    settings: ShortTraining,
    progress: bool = True,
) -> smp.Unet:
    """Train a U-Net on real images with cross-entropy and soft Dice.

    Args:
        data: the prepared dataset.
        rows: training rows, all with a mask.
        mask_of: row -> (S, S) class indices, 255 where not known.
        seed: of weights, order and jitter.
        settings: length and rates.
        progress: show a bar.

    Returns:
        The network in eval mode, on the CPU, without gradients.

    Raises:
        DataError: no row is given.
    """
    rows = np.asarray(rows)
    if not len(rows):
        raise DataError(f"{data.path}: there is no mask to train a segmenter on")
    dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORE)

    def load(chosen: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        images = np.stack([data.image(row) for row in rows[chosen]])
        return images, {"mask": np.stack([mask_of(int(row)) for row in rows[chosen]]).astype(np.int64)}

    def loss(network: nn.Module, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        logits = network(normalise(images)).float()
        return F.cross_entropy(logits, targets["mask"], ignore_index=IGNORE) + dice(logits, targets["mask"])

    build = partial(build_unet, ENCODER, DECODER, classes=len(data.class_names))
    return train_shortly(build, load, loss, len(rows), settings, seed=seed, title="segmenter", progress=progress)


@torch.no_grad()
def segment(network: smp.Unet, images: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
    """Most probable class of every pixel: (n, S, S) in [0, 1] -> (n, S, S) uint8."""
    device = next(network.parameters()).device
    masks = []
    for start in range(0, len(images), batch_size):
        pixels = torch.as_tensor(np.ascontiguousarray(images[start : start + batch_size]), dtype=torch.float32)
        with autocast(device):
            logits = network(normalise(pixels[:, None].to(device)))
        masks.append(logits.argmax(1).to(torch.uint8).cpu().numpy())
    return np.concatenate(masks)


def save_segmenter(network: smp.Unet, path: str | Path, class_names: Sequence[str]) -> None:
    """Write the segmenter as safetensors, atomically."""
    save_judge(network, path, _FORMAT, {"class_names": list(class_names)})


def load_segmenter(path: str | Path) -> smp.Unet:
    """Read what `save_segmenter` wrote; errors as `densecf.counterfactuals.judges.load_judge` raises them."""
    network, _ = load_judge(path, _FORMAT, lambda meta: build_unet(ENCODER, DECODER, classes=len(meta["class_names"])))
    return network
