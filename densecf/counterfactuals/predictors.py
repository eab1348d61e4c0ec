"""What an image says of its parents: the independent judge of counterfactuals.

One ResNet-18 with a head a parent, trained on real images only (reference: Ribeiro et al. 2023, "High Fidelity Image
Counterfactuals with Probabilistic Causal Models", section 3.1: effectiveness is measured by predictors q(parent | x)).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecf.counterfactuals.judges import load_judge, save_judge
from densecf.counterfactuals.parents import Parents, value_text
from densecf.counterfactuals.short_training import autocast, settings_for, train_shortly
from densecf.data.prepared import PreparedDataset
from densecf.data.records import is_missing
from densecf.errors import DataError
from densecf.models.unet import normalise

NOT_KNOWN = -1
"""The target of a discrete parent whose value is not known, or not among its values."""
MOST_WEIGHT = 20.0
"""A rare value weighs at most so many times an average one: a handful of images would rule the training."""
_FORMAT = "densecf-predictor-1"


class ParentPredictor(nn.Module):
    """A ResNet-18 of timm for grey images, with one linear head a parent.

    Args:
        parents: what to predict.
    """

    def __init__(self, parents: Parents):
        super().__init__()
        self.parents = parents
        self.backbone = timm.create_model("resnet18", in_chans=1, num_classes=0)
        width: int = self.backbone.num_features  # type: ignore[assignment]
        self.heads = nn.ModuleList(nn.Linear(width, max(1, len(parent.values))) for parent in parents.entries)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 1, S, S) in [0, 1] -> by parent: logits (B, values) of a discrete one, the normalised value (B,)
        of a continuous one."""
        features = self.backbone(normalise(images))
        found = {}
        for parent, head in zip(self.parents.entries, self.heads, strict=True):
            out = head(features).float()
            found[parent.name] = out if parent.values else out[:, 0]
        return found


def targets_of(records: pd.DataFrame, parents: Parents) -> dict[str, np.ndarray]:
    """What a predictor should find on these records.

    Returns:
        By parent: (n,) int64 place among its values, `NOT_KNOWN` where the record does not say; or (n,) float32
        normalised value of a continuous parent, NaN where it does not say.
    """
    found: dict[str, np.ndarray] = {}
    for parent in parents.entries:
        values = records[parent.name]
        if parent.values:
            place = {value: i for i, value in enumerate(parent.values)}
            texts = [NOT_KNOWN if is_missing(v) else place.get(value_text(v), NOT_KNOWN) for v in values]
            found[parent.name] = np.array(texts, np.int64)
        else:
            numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float32)
            found[parent.name] = (numbers - np.float32(parent.mean)) / np.float32(parent.std)
    return found


def predictor_loss(found: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, Tensor]) -> Tensor:
    """Sum over the parents of cross-entropy (classes weighted) or squared error; what is not known does not count.

    Args:
        found: what the predictor returned.
        targets: by parent (B,), see `targets_of`.
        weights: by discrete parent (values,).
    """
    total = torch.zeros((), device=next(iter(found.values())).device)
    for name, out in found.items():
        target = targets[name]
        if out.ndim == 2:
            # Divided by the batch, not by its weights: a batch that happens to lack a value must not count more.
            each = F.cross_entropy(out, target, weights[name].to(out.device), ignore_index=NOT_KNOWN, reduction="none")
            total = total + each.mean()
        else:
            known = torch.isfinite(target)
            total = total + (out - torch.where(known, target, out.detach())).square().mean()
    return total


def class_weights(target: np.ndarray, num_values: int) -> np.ndarray:
    """Weights (values,) float32 under which every value that occurs has the same total weight, up to `MOST_WEIGHT`.

    Args:
        target: (n,) places among the values, or `NOT_KNOWN`.
        num_values: how many values there are.
    """
    counts = np.bincount(target[target != NOT_KNOWN], minlength=num_values)
    occurring = max(1, int((counts > 0).sum()))
    weights = counts.sum() / (occurring * np.maximum(counts, 1))
    return np.minimum(np.where(counts > 0, weights, 0), MOST_WEIGHT).astype(np.float32)


def train_predictor(
    data: PreparedDataset,
    rows: Sequence[int] | np.ndarray,
    parents: Parents,
    *,
    seed: int,
    epochs: int | None = None,
    device: torch.device | None = None,
    progress: bool = True,
) -> ParentPredictor:
    """Train a predictor on real images.

    Args:
        data: the prepared dataset.
        rows: the training rows; no held-out patient may be among them.
        parents: what to predict; records that do not know one teach the others.
        seed: of weights, order and jitter.
        epochs: passes over the rows; without it as `ShortTraining` says: 14 of them, and 200 steps at least.
        device: where to train; without one, the GPU if there is one.
        progress: show a bar.

    Returns:
        The predictor in eval mode, on the CPU, without gradients.

    Raises:
        DataError: no row is given.
    """
    rows = np.asarray(rows)
    if not len(rows):
        raise DataError(f"{data.path}: there is no image to train a predictor of {', '.join(parents.names)} on")
    targets = targets_of(data.records.iloc[rows], parents)
    weights = {
        parent.name: torch.from_numpy(class_weights(targets[parent.name], len(parent.values)))
        for parent in parents.entries
        if parent.values
    }

    def load(chosen: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        images = np.stack([data.image(row) for row in rows[chosen]])
        return images, {name: target[chosen] for name, target in targets.items()}

    def loss(network: nn.Module, images: Tensor, wanted: dict[str, Tensor]) -> Tensor:
        return predictor_loss(network(images), wanted, weights)

    trained = train_shortly(
        partial(ParentPredictor, parents),
        load,
        loss,
        len(rows),
        settings_for(epochs),
        seed=seed,
        title="predictor",
        device=device,
        progress=progress,
    )
    assert isinstance(trained, ParentPredictor)
    return trained


@torch.no_grad()
def predict(predictor: ParentPredictor, images: np.ndarray, *, batch_size: int = 64) -> dict[str, np.ndarray]:
    """What the predictor finds: by parent the most probable place among its values (n,) int64, or the normalised
    value (n,) float32.

    Args:
        predictor: in eval mode, on any device.
        images: (n, S, S) in [0, 1].
    """
    device = next(predictor.parameters()).device
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, len(images), batch_size):
        pixels = torch.as_tensor(np.ascontiguousarray(images[start : start + batch_size]), dtype=torch.float32)
        with autocast(device):
            found = predictor(pixels[:, None].to(device))
        parts.append({name: _decided(out).cpu().numpy() for name, out in found.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in predictor.parents.names}


def _decided(out: Tensor) -> Tensor:
    return out.argmax(1) if out.ndim == 2 else out


def save_predictor(predictor: ParentPredictor, path: str | Path, facts: dict[str, Any] | None = None) -> None:
    """Write the predictor as safetensors, atomically; ``facts`` (JSON values) are kept beside it."""
    save_judge(predictor, path, _FORMAT, {"parents": predictor.parents.to_dict(), "facts": facts or {}})


def load_predictor(path: str | Path) -> ParentPredictor:
    """Read what `save_predictor` wrote; in eval mode, on the CPU, without gradients.

    Raises:
        CheckpointError: the file is missing, damaged, or no predictor.
    """
    predictor, _ = load_judge(path, _FORMAT, lambda meta: ParentPredictor(Parents.from_dict(meta["parents"])))
    assert isinstance(predictor, ParentPredictor)
    return predictor
