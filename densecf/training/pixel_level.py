"""Pixel-level pretraining of a whole U-Net: contrastive, or supervised on the masks.

The step: views -> dense features -> embeddings at the sampled points -> one contrastive loss.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from densecf.config import PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.losses.gather import joint_mean
from densecf.losses.nearby import nearby_chance_level, nearby_contrast
from densecf.losses.pairing import contrast, contrast_chance_level
from densecf.models.heads import projection_head
from densecf.models.unet import build_unet, normalise
from densecf.models.weights import HEAD, WEIGHTS, load_into, network_facts, save_head, save_weights
from densecf.training.loop import LOG_EVERY
from densecf.training.module import PretrainingModule
from densecf.training.monitors import effective_rank, feature_spread, nearby_gap, positive_negative_gap
from densecf.views.geometry import IGNORE
from densecf.views.sampling import sample_at

GLOBAL_HIDDEN, GLOBAL_DIM = 1024, 128
"""Widths of the image-level head, as published for SimCLR."""


class _PixelLevel(PretrainingModule):
    def __init__(self, config: PretrainConfig, data: PreparedDataset, updates: int, encoder_weights: str | None):
        super().__init__(config, updates)
        self.unet = build_unet(
            config.model.encoder,
            config.model.decoder_channels,
            classes=len(data.class_names),
            encoder_weights=encoder_weights,
        )

    def start_from(self, weights: Path) -> str:
        return load_into(self.unet, weights)

    def save(self, out: Path, data: PreparedDataset) -> None:
        save_weights(self.unet, out / WEIGHTS, network_facts(self.config.method, self.config.model, data))


class Contrast(_PixelLevel):
    """Every contrastive pixel-level method of `densecf.methods.METHODS`, with or without an image-level term."""

    def __init__(self, config: PretrainConfig, data: PreparedDataset, updates: int, encoder_weights: str | None):
        super().__init__(config, data, updates, encoder_weights)
        self.unet.segmentation_head.requires_grad_(False)  # takes no part, and DDP wants to know
        self.head = projection_head(
            config.model.decoder_channels[-1], config.model.projection_hidden, config.model.projection_dim
        )
        if config.global_weight:
            self.global_head = projection_head(self.unet.encoder.out_channels[-1], GLOBAL_HIDDEN, GLOBAL_DIM)

    def save(self, out: Path, data: PreparedDataset) -> None:
        model = self.config.model
        save_head(self.head, out / HEAD, {"hidden": model.projection_hidden, "dim": model.projection_dim})
        super().save(out, data)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        images = batch["images"]
        pyramid = encode_views(self.unet, images)
        features = self.unet.decoder(pyramid)
        embeddings = self.head(features_at_points(features, batch["points"], views=images.shape[1]))
        loss = self._pixel_loss(embeddings, batch)
        terms = {}
        if self.config.global_weight:
            terms = {"pixel_loss": loss.detach(), "global_loss": self._global_loss(pyramid[-1], batch["row"])}
            loss = loss + self.config.global_weight * terms["global_loss"]
        if batch_idx % LOG_EVERY == 0:
            with torch.no_grad():
                rows = embeddings.detach().flatten(0, -2).float()
                self.report(
                    batch_idx,
                    loss.detach(),
                    {
                        **{name: term.detach() for name, term in terms.items()},
                        "chance": self._chance_level(batch),
                        "spread": feature_spread(rows),
                        "effective_rank": effective_rank(rows),
                        "gap": self._gap(embeddings, batch),
                        "valid_points": (batch["ids"] >= 0).float().mean(),
                    },
                )
        return loss

    def _pixel_loss(self, embeddings: Tensor, batch: dict[str, Tensor]) -> Tensor:
        if radius := self.config.match_radius:
            part, temperature = batch["ids"] >= 0, self.config.temperature
            return nearby_contrast(embeddings, batch["positions"], part, radius=radius, temperature=temperature)
        return contrast(
            embeddings,
            batch["ids"],
            pairing=self.method.pairing,
            temperature=self.config.temperature,
            query_mask=batch["query"],
            direction_reduction=self.config.direction_reduction,
        )

    def _chance_level(self, batch: dict[str, Tensor]) -> Tensor:
        if radius := self.config.match_radius:
            return nearby_chance_level(batch["positions"], batch["ids"] >= 0, radius=radius)
        return contrast_chance_level(
            batch["ids"],
            pairing=self.method.pairing,
            query_mask=batch["query"],
            direction_reduction=self.config.direction_reduction,
        )

    def _gap(self, embeddings: Tensor, batch: dict[str, Tensor]) -> Tensor:
        if radius := self.config.match_radius:
            return nearby_gap(embeddings, batch["positions"], batch["ids"] >= 0, radius)
        return positive_negative_gap(embeddings.flatten(0, -2), batch["ids"].flatten())

    def _global_loss(self, coarsest: Tensor, rows: Tensor) -> Tensor:
        """All views of a record against those of the others: coarsest maps (B * V, C, h, w), row numbers (B,)."""
        embeddings = self.global_head(coarsest.mean(dim=(2, 3))).unflatten(0, (len(rows), -1))[:, :, None]
        ids = rows[:, None, None].expand(embeddings.shape[:-1])
        return contrast(embeddings, ids, pairing="multi", temperature=self.config.global_temperature)


class Segmentation(_PixelLevel):
    """Supervised on the masks: the papers' "CheXmask" row."""

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        logits = self.unet(normalise(batch["images"].flatten(0, 1).to(memory_format=torch.channels_last)))
        masks = batch["masks"].flatten(0, 1).long()
        full = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # Not each process's own mean: some have more pixels that show something than others.
        total = F.cross_entropy(full, masks, ignore_index=IGNORE, reduction="sum")
        loss = joint_mean(total, (masks != IGNORE).sum())
        if batch_idx % LOG_EVERY == 0:
            self.report(batch_idx, loss.detach(), {})
        return loss


def encode_views(unet: Any, images: Tensor) -> list[Tensor]:
    """The encoder's maps of every view, fine to coarse: ``(B, V, 1, H, W)`` -> a list of ``(B * V, C, h, w)``."""
    return unet.encoder(normalise(images.flatten(0, 1).to(memory_format=torch.channels_last)))


def features_at_points(features: Tensor, points: Tensor, *, views: int) -> Tensor:
    """Dense features at the sampled points of every view.

    Args:
        features: ``(B * V, C, H, W)``.
        points: ``(B, V, N, 2)``, or ``(B, P, 2, N, 2)`` for P pairs of the anchor (view 0) and view p + 1.
        views: V.

    Returns:
        ``(B, V, N, C)`` or ``(B, P, 2, N, C)``.
    """
    batch = len(features) // views
    if points.ndim == 4:
        return sample_at(features, points.flatten(0, 1)).view(*points.shape[:-1], -1)
    features = features.unflatten(0, (batch, views))
    pairs, count = points.shape[1], points.shape[3]
    anchors = sample_at(features[:, 0], points[:, :, 0].reshape(batch, pairs * count, 2))
    targets = sample_at(features[:, 1:].flatten(0, 1), points[:, :, 1].flatten(0, 1))
    return torch.stack([anchors.view(batch, pairs, count, -1), targets.view(batch, pairs, count, -1)], dim=2)
