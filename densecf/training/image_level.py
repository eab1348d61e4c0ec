"""Image-level contrastive pretraining of a backbone: the one loss, with images for rows (SimCLR and its variants)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from densecf.config import PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.losses.pairing import contrast, contrast_chance_level
from densecf.models.backbone import ImageEncoder, build_image_encoder, load_image_encoder, patch_of
from densecf.models.heads import projection_head
from densecf.models.weights import BACKBONE, WEIGHTS, image_facts, load_exactly, save_tensors
from densecf.training.loop import LOG_EVERY
from densecf.training.module import PretrainingModule
from densecf.training.monitors import effective_rank, feature_spread, positive_negative_gap


class ImageContrast(PretrainingModule):
    """simclr, simclr-plus and cf-simclr."""

    def __init__(self, config: PretrainConfig, data: PreparedDataset, updates: int, encoder_weights: str | None):
        super().__init__(config, updates)
        self.encoder = build_image_encoder(
            config.model.encoder, data.size, patch_size=config.patch_size, pretrained=encoder_weights is not None
        )
        self.head = projection_head(self.encoder.width, config.model.projection_hidden, config.model.projection_dim)

    def start_from(self, weights: Path) -> str:
        return load_backbone(self.encoder.body, weights)

    def save(self, out: Path, data: PreparedDataset) -> None:
        save_backbone(self.encoder, out, self.config, data)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        images, ids = batch["images"], batch["ids"]
        features = self.encoder(images.flatten(0, 1).to(memory_format=torch.channels_last))
        embeddings = self.head(features).view(*ids.shape, 1, -1)
        loss = contrast(embeddings, ids[..., None], pairing="multi", temperature=self.config.temperature)
        if batch_idx % LOG_EVERY == 0:
            rows = embeddings.detach().flatten(0, 2).float()
            self.report(
                batch_idx,
                loss.detach(),
                {
                    "chance": contrast_chance_level(ids[..., None], pairing="multi"),
                    "spread": feature_spread(rows),
                    "effective_rank": effective_rank(rows),
                    "gap": positive_negative_gap(rows, ids.flatten()),
                },
            )
        return loss


def load_backbone(body: nn.Module, weights: Path) -> str:
    """Loads the backbone of an image-level run, or the encoder of a pixel-level one; returns what was loaded.

    Raises:
        CheckpointError: naming the file and what does not fit.
    """
    found, facts = load_image_encoder(weights)
    load_exactly(body, dict(found.body.state_dict()), weights)
    part = "backbone" if facts.get("kind") == BACKBONE else "encoder"
    return f"{weights}: {part} loaded (of {facts.get('method')}); heads start anew"


def save_backbone(encoder: ImageEncoder, out: Path, config: PretrainConfig, data: PreparedDataset) -> None:
    """Writes a backbone under timm's names."""
    facts = image_facts(config.method, config.model.encoder, patch_of(encoder.body), data)
    save_tensors(encoder.body.state_dict(), out / WEIGHTS, facts)
