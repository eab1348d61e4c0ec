"""Pretraining: a whole U-Net learns pixel embeddings that agree across views.

    densecf pretrain --method s-mvd-cl                       # the embedded phantom
    densecf pretrain --data data/lungs --method dvd-cl       # your own images
    torchrun --nproc-per-node 8 -m densecf pretrain ...      # eight GPUs

The step: views -> dense features -> embeddings at the sampled points -> one contrastive loss.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from densecf.config import PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError
from densecf.files import atomic_path
from densecf.losses.pairing import contrast, contrast_chance_level
from densecf.methods import METHODS
from densecf.models.heads import projection_head
from densecf.models.unet import build_unet, dense_features, normalise
from densecf.models.weights import HEAD, WEIGHTS, load_into, network_facts, save_head, save_weights
from densecf.runs import process_rank
from densecf.training.datasets import ContrastDataset, ViewDataset, choose_counterfactuals
from densecf.training.logs import report
from densecf.training.loop import LOG_EVERY, check_finite, fit, world_size
from densecf.training.monitors import effective_rank, feature_spread, positive_negative_gap
from densecf.training.optim import TrainingModule
from densecf.training.probe import EmbeddingMonitor
from densecf.training.sampler import StepPlan
from densecf.views.geometry import IGNORE
from densecf.views.sampling import sample_at

PATIENTS = "records.csv"
"""The records a run was pretrained on: what fine-tuning checks itself against."""


def pretrain(
    config: PretrainConfig,
    data: PreparedDataset,
    rows: list[int],
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Pretrains on ``rows`` of ``data`` and writes the weights into the run folder ``out``.

    Args:
        config: with ``init_from`` a weights file, or "". Its projection head starts anew all the same.
        data: prepared dataset.
        rows: rows of it to learn from.
        out: run folder.
        resume: continue from the checkpoint in ``out``.

    Returns:
        What the run used: records, views, steps, seconds.

    Raises:
        DataError: when the records do not serve the method.
    """
    started, method = time.monotonic(), METHODS[config.method]
    counterfactuals = choose_counterfactuals(data, config.counterfactuals, method)
    views = ViewDataset(
        data,
        config.views,
        counterfactuals=counterfactuals,
        augmentations=1 if counterfactuals[1] or method.objective == "segment" else 2,
        seed=config.seed,
    )
    dataset = views if method.objective == "segment" else ContrastDataset(views, method, config.points)
    plan = StepPlan(
        tuple(rows), config.batch_size, config.epochs, config.accumulate, config.seed, world_size(config.hardware)
    )
    if plan.records_per_step * views.num_views < 2:
        raise DataError(f"{data.path}: {len(rows)} record(s) give a step of one view; batch normalisation needs two")
    init_from = Path(config.init_from) if config.init_from else None
    module = _make_module(config, len(data.class_names), plan.updates, init_from)
    if process_rank() == 0:
        write_records(data, rows, out, init_from)
    fit(
        module,
        dataset,
        plan,
        out,
        hardware=config.hardware,
        title=config.method,
        pixels_per_record=views.num_views * (data.size**2 if method.objective == "segment" else config.points),
        checkpoint_minutes=config.checkpoint_minutes,
        callbacks=_monitors(config, data, rows, plan),
        resume=resume,
        progress=progress,
    )
    if module.trainer.is_global_zero:
        if config.method != "segmentation":
            head_facts = {"hidden": config.model.projection_hidden, "dim": config.model.projection_dim}
            save_head(module.get_submodule("head"), out / HEAD, head_facts)
        save_weights(module.unet, out / WEIGHTS, network_facts(config.method, config.model, data))
    return {
        "records": len(rows),
        "counterfactuals": counterfactuals[0] or "none",
        "views": views.num_views,
        "steps": plan.steps,
        "seconds": round(time.monotonic() - started),
    }


def write_records(data: PreparedDataset, rows: list[int], out: Path, init_from: Path | None = None) -> None:
    """Notes which images of which patients a run learns from, those of the run it starts from included."""
    records = data.records.iloc[rows][["image", "patient_id"]]
    if init_from is not None and (earlier := init_from.with_name(PATIENTS)).is_file():
        records = pd.concat([pd.read_csv(earlier, dtype=str, keep_default_na=False), records]).drop_duplicates()
    with atomic_path(out / PATIENTS) as temporary:
        records.to_csv(temporary, index=False)


def _make_module(config: PretrainConfig, classes: int, updates: int, init_from: Path | None) -> _Pretraining:
    torch.manual_seed(config.seed)  # the initial weights; nothing later draws from torch's global generator
    kind = Segmentation if METHODS[config.method].objective == "segment" else Contrast
    # Weights that are about to be replaced need no download.
    weights = "none" if init_from else config.model.encoder_weights
    module = kind(config, classes, updates, None if weights == "none" else weights)
    if init_from is not None:
        load_into(module.unet, init_from)
    return module


def _monitors(config: PretrainConfig, data: PreparedDataset, rows: list[int], plan: StepPlan) -> list[EmbeddingMonitor]:
    every = max(1, round(config.monitor_every * plan.steps_per_epoch))
    labelled = [row for row in rows if data.mask(row) is not None]
    if not config.monitor_every or not labelled or config.method == "segmentation":
        return []
    return [EmbeddingMonitor(data, labelled, every, config.seed)]


class _Pretraining(TrainingModule):
    """What both kinds of pretraining share: the network and the logs."""

    def __init__(self, config: PretrainConfig, classes: int, updates: int, encoder_weights: str | None):
        super().__init__(config.optim, updates)
        self.config, self.method = config, METHODS[config.method]
        self.unet = build_unet(
            config.model.encoder, config.model.decoder_channels, classes=classes, encoder_weights=encoder_weights
        )

    def report(self, step: int, loss: Tensor, facts: dict[str, Tensor]) -> None:
        check_finite(loss, step)
        report(self, step, {"loss": loss, **facts, "lr": self.trainer.optimizers[0].param_groups[0]["lr"]})


class Contrast(_Pretraining):
    """Every contrastive method of `densecf.methods.METHODS`."""

    def __init__(self, config: PretrainConfig, classes: int, updates: int, encoder_weights: str | None):
        super().__init__(config, classes, updates, encoder_weights)
        self.unet.segmentation_head.requires_grad_(False)  # takes no part, and DDP wants to know
        self.head = projection_head(
            config.model.decoder_channels[-1], config.model.projection_hidden, config.model.projection_dim
        )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        embeddings = self.head(features_at_points(self.unet, batch["images"], batch["points"]))
        loss = contrast(
            embeddings,
            batch["ids"],
            pairing=self.method.pairing,
            temperature=self.config.temperature,
            query_mask=batch["query"],
            direction_reduction=self.config.direction_reduction,
        )
        if batch_idx % LOG_EVERY == 0:
            with torch.no_grad():
                rows, ids = embeddings.detach().flatten(0, -2).float(), batch["ids"].flatten()
                self.report(
                    batch_idx,
                    loss.detach(),
                    {
                        "chance": contrast_chance_level(
                            batch["ids"],
                            pairing=self.method.pairing,
                            query_mask=batch["query"],
                            direction_reduction=self.config.direction_reduction,
                        ),
                        "spread": feature_spread(rows),
                        "effective_rank": effective_rank(rows),
                        "gap": positive_negative_gap(rows, ids),
                        "valid_points": (ids >= 0).float().mean(),
                    },
                )
        return loss


class Segmentation(_Pretraining):
    """Supervised on the masks: the papers' "CheXmask" row."""

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        logits = self.unet(normalise(batch["images"].flatten(0, 1).to(memory_format=torch.channels_last)))
        loss = F.cross_entropy(logits.float(), batch["masks"].flatten(0, 1).long(), ignore_index=IGNORE)
        if batch_idx % LOG_EVERY == 0:
            self.report(batch_idx, loss.detach(), {})
        return loss


def features_at_points(unet: Any, images: Tensor, points: Tensor) -> Tensor:
    """Dense features at the sampled points of every view.

    Args:
        images: ``(B, V, 1, H, W)``.
        points: ``(B, V, N, 2)``, or ``(B, P, 2, N, 2)`` for P pairs of the anchor (view 0) and view p + 1.

    Returns:
        ``(B, V, N, C)`` or ``(B, P, 2, N, C)``.
    """
    batch, views = images.shape[:2]
    features = dense_features(unet, images.flatten(0, 1).to(memory_format=torch.channels_last))
    if points.ndim == 4:
        return sample_at(features, points.flatten(0, 1)).view(*points.shape[:-1], -1)
    features = features.unflatten(0, (batch, views))
    pairs, count = points.shape[1], points.shape[3]
    anchors = sample_at(features[:, 0], points[:, :, 0].reshape(batch, pairs * count, 2))
    targets = sample_at(features[:, 1:].flatten(0, 1), points[:, :, 1].flatten(0, 1))
    return torch.stack([anchors.view(batch, pairs, count, -1), targets.view(batch, pairs, count, -1)], dim=2)
