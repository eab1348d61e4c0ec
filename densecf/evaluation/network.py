"""The embedding measures applied to a network and the records of a prepared dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
from torch import nn

from densecf.data.prepared import PreparedDataset
from densecf.evaluation.embeddings import evaluate_embeddings
from densecf.models.embed import embed_images


class LazyFeatures(Sequence):
    """Pixel features of a dataset's rows, computed when asked for: whole sets of maps would not fit into memory."""

    def __init__(self, model: smp.Unet, head: nn.Module | None, data: PreparedDataset, rows: Sequence[int]):
        self.model, self.head, self.data, self.rows = model, head, data, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):
        return next(embed_images(self.model, self.head, [self.data.image(self.rows[index])])).numpy()


def evaluate_network(
    model: smp.Unet, head: nn.Module | None, data: PreparedDataset, rows: Sequence[int], *, seed: int = 0, **limits: Any
) -> dict[str, Any]:
    """K-means purity and separation of the embeddings, linear pixel probe of the dense features (paper, 4.1).

    Args:
        model, head: in eval mode; without a head the dense features serve for all.
        data: prepared dataset.
        rows: records with masks.
        seed: of the pixels drawn, the split and k-means.
        limits: numbers of pixels, as `densecf.evaluation.embeddings.evaluate_embeddings` takes them.

    Returns:
        What `evaluate_embeddings` returns.
    """
    return evaluate_embeddings(
        LazyFeatures(model, head, data, rows),
        [np.asarray(data.mask(row)) for row in rows],
        groups=data.records.iloc[list(rows)]["patient_id"].tolist(),
        class_names=data.class_names,
        probe_features_per_image=None if head is None else LazyFeatures(model, None, data, rows),
        seed=seed,
        **limits,
    )
