"""Full fine-tuning of an image encoder on a label: class-weighted, real images only, the best weights on val.

densecf probe --label pneumonia --run cf-simclr --finetune
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from densecf.config import ClassifierConfig
from densecf.data.prepared import PreparedDataset
from densecf.evaluation.image_features import BATCH
from densecf.evaluation.label_efficiency import Fit, Task
from densecf.evaluation.roc import roc_auc
from densecf.models.backbone import ImageEncoder
from densecf.models.device import best_device
from densecf.models.weights import load_exactly, read_facts, read_weights, save_tensors
from densecf.training.logs import report
from densecf.training.loop import CHECKPOINT, LOG_EVERY, check_finite, fit
from densecf.training.optim import TrainingModule
from densecf.training.sampler import StepPlan
from densecf.views.multiview import MultiView, view_seed
from densecf.views.parameters import ViewParameters

BEST, SCORES = "best.safetensors", "scores.safetensors"
VALIDATIONS = 20
"""Times that val is looked at, evenly; less often where looking would cost more than a third of the training."""


def finetune_classifier(
    encoder: ImageEncoder,
    task: Task,
    train: np.ndarray,
    datasets: Sequence[PreparedDataset],
    config: ClassifierConfig,
    out: Path,
    *,
    seed: int,
    title: str,
    resume: bool = False,
    progress: bool = True,
) -> Fit:
    """Trains encoder and a new linear head, and scores every test set with the weights that did best on val.

    Args:
        encoder: the network to start from.
        task: labels, val and test sets.
        train: rows of the first dataset, (n,).
        datasets: that of the labels, then those of the further test sets.
        config: schedule, views, optimiser, hardware.
        out: folder of this fit; once it holds ``scores.safetensors`` the fit is done.
        seed: of the head, the order and the views.
        title: name in front of the progress bar.
        resume: go on from what is in ``out``.
    """
    if resume and (out / SCORES).is_file():
        found, facts = read_weights(out / SCORES)
        return Fit([found[f"{place}"].numpy() for place in range(len(task.tests))], facts["facts"])
    out.mkdir(parents=True, exist_ok=True)
    data, codes, classes = datasets[0], task.labels.codes, len(task.labels.classes)
    plan = plan_of(config, train, seed)
    torch.manual_seed(seed)  # the head
    module = Classifier(encoder, class_weights(codes[train], classes), config, plan.updates)
    fit(
        module,
        LabelledViews(data, codes, config.views, seed),
        plan,
        out,
        hardware=config.hardware,
        title=title,
        work_per_record=1,
        unit="images",
        checkpoint_minutes=config.checkpoint_minutes,
        callbacks=[BestOnVal(data, task.split.val, codes, out / BEST, plan, resume=resume)],
        resume=resume,
        progress=progress,
    )
    tensors, best = read_weights(out / BEST)
    load_exactly(module, tensors, out / BEST)
    module.to(best_device(config.hardware.accelerator)).eval()  # Lightning leaves it on the CPU
    scores = [class_scores(module, each, test.rows) for each, test in zip(datasets, task.tests, strict=True)]
    facts = {"val_auc": best["val_auc"], "best_step": best["step"], "steps": plan.steps}
    save_tensors(
        {f"{place}": torch.from_numpy(each) for place, each in enumerate(scores)}, out / SCORES, {"facts": facts}
    )
    for name in (CHECKPOINT, BEST):
        (out / name).unlink(missing_ok=True)
    return Fit(scores, facts)


def plan_of(config: ClassifierConfig, train: np.ndarray, seed: int) -> StepPlan:
    """As many whole passes over the training rows as come nearest to the steps asked for."""
    one = StepPlan(tuple(train.tolist()), config.batch_size, 1, seed=seed)
    epochs = max(1, round(config.steps / one.steps_per_epoch))
    return StepPlan(one.rows, config.batch_size, epochs, seed=seed)


def class_weights(codes: np.ndarray, classes: int) -> Tensor:
    """(K,) float32 that give every class the same say: n / (K n_k)."""
    counts = np.bincount(codes, minlength=classes)
    return torch.from_numpy((len(codes) / (classes * np.maximum(counts, 1))).astype(np.float32))


class LabelledViews(Dataset):
    """(epoch, row) -> ``images`` (1, H, W), an augmented view of the real image, and ``label``."""

    def __init__(self, data: PreparedDataset, codes: np.ndarray, parameters: ViewParameters, seed: int):
        self.data, self.codes, self.seed = data, codes, seed
        self.make_views = MultiView(data.size, parameters)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, row = key
        views = self.make_views([self.data.image(row)], None, [view_seed(self.seed, epoch, row, 0)])
        return {"images": views["images"][0], "label": int(self.codes[row])}


class Classifier(TrainingModule):
    """An image encoder with a linear head, trained with class-weighted cross-entropy."""

    def __init__(self, encoder: ImageEncoder, weights: Tensor, config: ClassifierConfig, updates: int):
        super().__init__(config.optim, updates)
        self.encoder, self.head = encoder.train(), nn.Linear(encoder.width, len(weights))
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images.to(memory_format=torch.channels_last)))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch["images"]).float(), batch["label"], weight=self.get_buffer("weights"))
        if batch_idx % LOG_EVERY == 0:
            check_finite(loss.detach(), batch_idx)
            report(self, batch_idx, {"loss": loss.detach()})
        return loss


@torch.no_grad()
def class_scores(module: nn.Module, data: PreparedDataset, rows: np.ndarray) -> np.ndarray:
    """Scores of records by a classifier in eval mode: (n,) logit of the second of two classes, or (n, K)
    probabilities."""
    device = next(module.parameters()).device
    logits = []
    for start in range(0, len(rows), BATCH):
        images = np.stack([data.image(int(row)) for row in rows[start : start + BATCH]])
        logits.append(module(torch.from_numpy(images)[:, None].to(device)).float().cpu().numpy())
    found = np.concatenate(logits)
    return found[:, 1] - found[:, 0] if found.shape[1] == 2 else softmax(found, axis=1)


class BestOnVal(Callback):
    """Keeps the weights of the best AUC on val; of equal ones the earliest.

    It looks before a step, not after one: a training resumed from any checkpoint then misses no look.

    Args:
        data, rows, codes: the val images.
        path: where the best weights go.
        plan: the steps of the training.
        resume: what is in ``path`` already counts.
    """

    def __init__(
        self, data: PreparedDataset, rows: np.ndarray, codes: np.ndarray, path: Path, plan: StepPlan, *, resume: bool
    ):
        self.data, self.rows, self.codes, self.path = data, rows, codes[rows], path
        self.every = max(1, plan.steps // VALIDATIONS, math.ceil(len(rows) / plan.batch_size))
        self.best = float(read_facts(path)["val_auc"]) if resume and path.is_file() else -1.0

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx and batch_idx % self.every == 0:
            self.look(module, batch_idx)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.interrupted:
            self.look(module, trainer.global_step)

    def look(self, module: LightningModule, step: int) -> None:
        module.eval()
        auc = roc_auc(class_scores(module, self.data, self.rows), self.codes)
        module.train()
        for logger in module.loggers:
            logger.log_metrics({"val_auc": auc}, step)
        if auc > self.best:
            self.best = auc
            save_tensors(module.state_dict(), self.path, {"val_auc": auc, "step": step})
