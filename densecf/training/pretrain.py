"""Pretraining: a U-Net learns pixel embeddings, or a backbone image embeddings, that agree across views.

densecf pretrain --method s-mvd-cl                       # the embedded phantom
densecf pretrain --data data/lungs --method dvd-cl       # your own images
densecf pretrain --method cf-simclr                      # whole images
torchrun --nproc-per-node 8 -m densecf pretrain ...      # eight GPUs
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import Dataset

from densecf.config import PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.data.seen import SEEN, seen_records
from densecf.errors import DataError
from densecf.files import atomic_path
from densecf.methods import METHODS
from densecf.models.backbone import patch_of
from densecf.processes import process_rank
from densecf.training.datasets import ContrastDataset, ViewDataset, choose_counterfactuals
from densecf.training.distillation import Distillation
from densecf.training.domains import DomainImages
from densecf.training.image_datasets import CropDataset, ImagePairDataset
from densecf.training.image_level import ImageContrast
from densecf.training.loop import fit, world_size
from densecf.training.module import PretrainingModule
from densecf.training.pixel_level import Contrast, Segmentation
from densecf.training.probe import EmbeddingMonitor
from densecf.training.sampler import StepPlan


@dataclass(frozen=True)
class Samples:
    """What a training sees: samples by (epoch, row), views of a record, and what each record brings to the loss."""

    dataset: Dataset
    views: int
    work: int
    unit: str


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
    counterfactuals = choose_counterfactuals(data, config.counterfactuals, method, config.intervene)
    plan = StepPlan(
        tuple(rows), config.batch_size, config.epochs, config.accumulate, config.seed, world_size(config.hardware)
    )
    init_from = Path(config.init_from) if config.init_from else None
    module = make_module(config, data, plan.updates, init_from)
    samples = make_samples(config, data, counterfactuals, module)
    _check_step(config, plan, samples, data)
    if process_rank() == 0:
        write_records(data, rows, out, init_from)
    fit(
        module,
        samples.dataset,
        plan,
        out,
        hardware=config.hardware,
        title=config.method,
        work_per_record=samples.work,
        unit=samples.unit,
        checkpoint_minutes=config.checkpoint_minutes,
        callbacks=_monitors(config, data, rows, plan),
        resume=resume,
        progress=progress,
    )
    if module.trainer.is_global_zero:
        module.save(out, data)
    return {
        "records": len(rows),
        "counterfactuals": counterfactuals[0] or "none",
        "views": samples.views,
        "steps": plan.steps,
        "seconds": round(time.monotonic() - started),
    }


def write_records(data: PreparedDataset, rows: list[int], out: Path, init_from: Path | None = None) -> None:
    """Notes which images of which patients a run learns from, those of the run it starts from included."""
    records = data.records.iloc[rows][["image", "patient_id"]]
    if init_from is not None and init_from.with_name(SEEN).is_file():
        records = pd.concat([seen_records(init_from.parent), records]).drop_duplicates()
    with atomic_path(out / SEEN) as temporary:
        records.to_csv(temporary, index=False)


def make_samples(
    config: PretrainConfig,
    data: PreparedDataset,
    counterfactuals: tuple[str, tuple[str, ...]],
    module: PretrainingModule,
) -> Samples:
    """The samples that the method learns from."""
    method = METHODS[config.method]
    if method.image_level:
        images = DomainImages(data, counterfactuals, method.counterfactuals, config.seed)
        if isinstance(module, Distillation):
            patch = patch_of(module.student.encoder.body)
            crops = CropDataset(images, config.views, config.distillation, patch)
            return Samples(crops, crops.num_views, 1, "images")
        return Samples(ImagePairDataset(images, config.views), ImagePairDataset.num_views, 1, "images")
    views = ViewDataset(
        data,
        config.views,
        counterfactuals=counterfactuals,
        augmentations=1 if counterfactuals[1] or method.objective == "segment" else 2,
        seed=config.seed,
    )
    if method.objective == "segment":
        return Samples(views, views.num_views, views.num_views * data.size**2, "pixels")
    pixels = ContrastDataset(
        views,
        method,
        config.points,
        sampling=config.sampling,
        positions=config.match_radius > 0,
        background_queries=config.background_queries,
    )
    return Samples(pixels, views.num_views, views.num_views * config.points, "pixels")


def make_module(
    config: PretrainConfig, data: PreparedDataset, updates: int, init_from: Path | None
) -> PretrainingModule:
    """The module that pretrains with the method, its weights drawn from the seed or loaded.

    Raises:
        ConfigError: a network that cannot be built.
        CheckpointError: weights that do not fit it.
    """
    torch.manual_seed(config.seed)  # the initial weights; only drop-path draws from torch's generator later
    method = METHODS[config.method]
    kinds: dict[str, type[Contrast | ImageContrast | Segmentation | Distillation]] = {
        "contrast": ImageContrast if method.image_level else Contrast,
        "segment": Segmentation,
        "distil": Distillation,
    }
    # Weights that are about to be replaced need no download.
    weights = "none" if init_from else config.model.encoder_weights
    module = kinds[method.objective](config, data, updates, None if weights == "none" else weights)
    if init_from is not None and process_rank() == 0:
        print(module.start_from(init_from))
    elif init_from is not None:
        module.start_from(init_from)
    return module


def _check_step(config: PretrainConfig, plan: StepPlan, samples: Samples, data: PreparedDataset) -> None:
    """Raises DataError when a step would see too little to learn from."""
    if plan.records_per_step * samples.views < 2:
        raise DataError(
            f"{data.path}: {len(plan.rows)} record(s) give a step of one view; batch normalisation needs two"
        )
    if METHODS[config.method].image_level and plan.records_per_step * plan.world < 2:
        raise DataError(
            f"{data.path}: --batch-size {config.batch_size} gives a step of one record, and {config.method} compares "
            "records with each other; it needs two at least"
        )


def _monitors(config: PretrainConfig, data: PreparedDataset, rows: list[int], plan: StepPlan) -> list[EmbeddingMonitor]:
    method = METHODS[config.method]
    if not config.monitor_every or method.image_level or method.objective != "contrast":
        return []
    labelled = [row for row in rows if data.mask(row) is not None]
    every = max(1, round(config.monitor_every * plan.steps_per_epoch))
    return [EmbeddingMonitor(data, labelled, every, config.seed)] if labelled else []
