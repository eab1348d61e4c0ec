"""Self-distillation of a backbone, DINO-v2: a student learns to agree with the running mean of itself.

Schedules are those of the public configuration of DINO-v2, as shares of the training.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import timm.optim
import torch
from lightly.models.modules import DINOv2ProjectionHead, MaskedVisionTransformerTIMM
from lightly.models.utils import update_momentum
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn
from torch.special import entr

from densecf.config import PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.losses.distillation import DistillationLoss
from densecf.models.backbone import ImageEncoder, build_image_encoder, patch_of
from densecf.models.unet import normalise
from densecf.training.image_level import load_backbone, save_backbone
from densecf.training.loop import LOG_EVERY
from densecf.training.module import PretrainingModule
from densecf.training.monitors import effective_rank, feature_spread
from densecf.views.draws import view_seed


class Branch(nn.Module):
    """Backbone and head of the student, or of the teacher.

    Args:
        encoder: the backbone; a ViT of timm can be shown masked patches.
        head: from its features to the prototypes.
    """

    def __init__(self, encoder: ImageEncoder, head: nn.Module):
        super().__init__()
        self.encoder, self.head = encoder, head
        self.masked = None
        if patch_of(encoder.body):
            self.masked = MaskedVisionTransformerTIMM(
                encoder.body, weight_initialization="skip", pos_embed_initialization="skip"
            )

    def features(self, images: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Pooled features (B, D) of images (B, 1, H, W), and those of every patch (B, h, w, D), None without patches.

        Args:
            mask: (B, h, w) bool, patches that the network does not see.
        """
        if self.masked is None:
            return self.encoder(images), None
        vit = self.masked.vit
        hidden = None
        if mask is not None:
            seen = mask.new_zeros(len(mask), vit.num_prefix_tokens)
            hidden = torch.cat([seen, mask.flatten(1)], dim=1)
        tokens = self.masked.encode(normalise(images), mask=hidden)
        grid = images.shape[-1] // patch_of(vit)
        patches = tokens[:, vit.num_prefix_tokens :].unflatten(1, (grid, grid))
        return vit.forward_head(tokens, pre_logits=True), patches


class Distillation(PretrainingModule):
    """dino, dino-plus and cf-dino; without iBOT on networks that have no patches."""

    def __init__(self, config: PretrainConfig, data: PreparedDataset, updates: int, encoder_weights: str | None):
        super().__init__(config, updates)
        settings = config.distillation
        self.student = _branch(config, data.size, settings.drop_path, encoder_weights is not None)
        self.teacher = _branch(config, data.size, 0.0, False)
        self.teacher.requires_grad_(False)
        self.decayed: list[bool] = []
        """Of the optimizer's groups; kept here, as a checkpoint's groups replace those of the optimizer."""
        if self.student.masked is not None and not settings.ibot:
            self.student.masked.mask_token.requires_grad_(False)  # takes no part, and DDP wants to know
        self._teacher_becomes_student()
        self.loss = DistillationLoss(
            settings.prototypes,
            student_temperature=settings.student_temperature,
            ibot=settings.ibot,
            koleo=settings.koleo,
        )

    def _teacher_becomes_student(self) -> None:
        self.teacher.load_state_dict(self.student.state_dict())

    def start_from(self, weights: Path) -> str:
        said = load_backbone(self.student.encoder.body, weights)
        self._teacher_becomes_student()
        return said

    def save(self, out: Path, data: PreparedDataset) -> None:
        save_backbone(self.teacher.encoder, out, self.config, data)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        # Drop-path draws from torch's generator: a resumed training must draw the same.
        torch.manual_seed(view_seed(self.config.seed, 0, batch_idx, self.global_rank))
        # Crop by crop, as the loss wants it: (2, B, ...) and (L, B, ...).
        large, small = batch["large"].transpose(0, 1), batch["small"].transpose(0, 1)
        mask = batch["mask"].transpose(0, 1).flatten(0, 1) if "mask" in batch else None
        count = large.shape[1]
        with torch.no_grad():
            target, target_patches = self.teacher.features(large.flatten(0, 1))
            teacher = self.teacher.head(target)
        seen, patches = self.student.features(large.flatten(0, 1), mask)
        part, _ = self.student.features(small.flatten(0, 1))
        student = self.student.head(torch.cat([seen, part]))
        masked = None
        if mask is not None and patches is not None and target_patches is not None:
            with torch.no_grad():
                of_teacher = self.teacher.head(target_patches[mask])
            masked = (of_teacher, self.student.head(patches[mask]), mask)
        temperature = teacher_temperature(self.global_step, self.updates, self.config)
        loss, terms = self.loss(
            teacher.unflatten(0, (-1, count)),
            student.unflatten(0, (-1, count)),
            teacher_temperature=temperature,
            embeddings=seen.unflatten(0, (-1, count)),
            patches=masked,
        )
        if batch_idx % LOG_EVERY == 0:
            self.report(batch_idx, loss.detach(), terms | self._signs_of_collapse(target, teacher, temperature))
        return loss

    @torch.no_grad()
    def _signs_of_collapse(self, features: Tensor, outputs: Tensor, temperature: float) -> dict[str, Tensor]:
        """A collapsed teacher gives all images one vector, or all prototypes one probability."""
        shares = torch.softmax((outputs.float() - self.loss.dino.center.flatten()) / temperature, dim=-1)
        return {
            "spread": feature_spread(features),
            "effective_rank": effective_rank(features),
            "entropy": entr(shares).sum(-1).mean(),
            "entropy_of_mean": entr(shares.mean(0)).sum(),
        }

    def configure_optimizers(self) -> Any:
        settings, body = self.config.distillation, self.student.encoder.body
        decay = self.optim.weight_decay
        # timm gives biases and norms no decay; asked with 1, as the schedule may start at 0.
        groups = timm.optim.param_groups_layer_decay(body, weight_decay=1.0, layer_decay=settings.layer_decay)
        self.decayed = [bool(group["weight_decay"]) for group in groups] + [True]
        groups = [
            {**group, "lr": self.optim.lr * group["lr_scale"], "weight_decay": decay if decayed else 0.0}
            for group, decayed in zip(groups, self.decayed, strict=False)
        ]
        own = {id(parameter) for group in groups for parameter in group["params"]}
        rest = [p for p in self.student.parameters() if p.requires_grad and id(p) not in own]
        groups.append({"params": rest, "lr": self.optim.lr, "weight_decay": decay})
        return self.with_schedule(groups)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        settings, step = self.config.distillation, self.global_step
        if step < settings.freeze_last * self.updates:
            for parameter in self.student.get_submodule("head.last_layer").parameters():
                parameter.grad = None
        decay = cosine_schedule(step, self.updates, self.optim.weight_decay, settings.weight_decay_end)
        for group, decayed in zip(optimizer.param_groups, self.decayed, strict=True):
            if decayed:
                group["weight_decay"] = decay

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # Here and not at the end of the batch: checkpoints are written before that hook.
        momentum = cosine_schedule(self.global_step, self.updates, self.config.distillation.momentum, 1.0)
        update_momentum(self.student, self.teacher, momentum)


def teacher_temperature(step: int, updates: int, config: PretrainConfig) -> float:
    """Rises linearly over the teacher's warm-up, then stays."""
    low, high = config.distillation.teacher_temperature
    warmup = config.distillation.teacher_warmup * updates
    return high if step >= warmup else low + (high - low) * step / warmup


def _branch(config: PretrainConfig, size: int, drop_path: float, pretrained: bool) -> Branch:
    settings = config.distillation
    encoder = build_image_encoder(
        config.model.encoder, size, patch_size=config.patch_size, drop_path=drop_path, pretrained=pretrained
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)  # lightly's own
        head = DINOv2ProjectionHead(encoder.width, settings.hidden, settings.bottleneck, settings.prototypes)
    return Branch(encoder, head)
