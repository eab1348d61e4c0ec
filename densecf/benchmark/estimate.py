"""How long cells will take: a few steps of each network timed here, corrected by what finished cells took."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from densecf import runs
from densecf.benchmark.cells import Cell
from densecf.benchmark.stages import Stage
from densecf.benchmark.worker import is_done
from densecf.config import ModelConfig, PretrainConfig
from densecf.methods import METHODS

START_SECONDS = 10.0
"""A process of PyTorch and Lightning until its first step."""
EVALUATION_SHARE = 1 / 3
"""A forward pass, as a share of a training step."""
_BATCH, _REPEATS = 8, 3

Clock = Callable[[ModelConfig, bool, int], float]
"""(network, image-level?, size) -> seconds that one image takes in training."""


def stage_seconds(cell: Cell, stage: Stage, *, images: int, masks: int, size: int, clock: Clock) -> float:
    """Expected seconds of a stage on one device.

    Args:
        cell: whose stage it is.
        stage: of `densecf.benchmark.stages.stages_of`.
        images: records to pretrain on.
        masks: records to fine-tune on, all folds together.
        size: side of the images.
        clock: see `Clock`.
    """
    pretrain, finetune = cell.pretrain, cell.finetune
    if stage.command == "pretrain" and pretrain is not None:
        whole = METHODS[pretrain.method].image_level
        seen = images * pretrain.epochs * views_of(pretrain)
        return START_SECONDS + seen * clock(pretrain.model, whole, size)
    network = finetune.model
    if pretrain is not None and not METHODS[pretrain.method].image_level:
        network = pretrain.model
    per_image = clock(network, False, size)
    if stage.command == "evaluate":
        return START_SECONDS + 2 * masks * per_image * EVALUATION_SHARE
    held_in = finetune.train_cases or masks * (finetune.folds - 1) / finetune.folds
    return START_SECONDS + finetune.folds * finetune.epochs * held_in * per_image


def views_of(config: PretrainConfig) -> int:
    """Images that a record gives to one step."""
    method = METHODS[config.method]
    if method.objective == "distil":
        return 2 + config.distillation.local_crops
    if method.image_level or config.counterfactuals == "none":
        return 1 if method.objective == "segment" else 2
    return 2 ** len(config.intervene)  # the real image; each parent alone, and together


def time_training(model: ModelConfig, image_level: bool, size: int, threads: int) -> float:
    """Seconds an image of a forward and backward pass of the network on this machine, with so many CPU threads."""
    import torch

    from densecf.config import HardwareConfig
    from densecf.models.backbone import build_image_encoder
    from densecf.models.device import best_device
    from densecf.models.unet import build_unet
    from densecf.training.loop import resolve_precision

    device = best_device()
    network: torch.nn.Module = (
        build_image_encoder(model.encoder, size)
        if image_level
        else build_unet(model.encoder, model.decoder_channels, classes=3, encoder_weights=None)
    )
    network.to(device)
    images = torch.rand(_BATCH, 1, size, size, device=device)
    half = resolve_precision(HardwareConfig()) != "32"
    times, before = [], torch.get_num_threads()
    torch.set_num_threads(threads)
    for _ in range(_REPEATS):
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = network(images).float().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    torch.set_num_threads(before)
    return min(times) / _BATCH


def remembered(clock: Clock) -> Clock:
    """The same clock, asked once for each network."""
    known: dict[tuple, float] = {}

    def ask(model: ModelConfig, image_level: bool, size: int) -> float:
        key = (model, image_level, size)
        if key not in known:
            known[key] = clock(model, image_level, size)
        return known[key]

    return ask


def correction(expected: Sequence[tuple[Stage, float]]) -> float:
    """What finished stages took over what was expected of them, in the median; 1 while none is finished."""
    ratios = []
    for stage, seconds in expected:
        if is_done(stage):
            took = runs.read_provenance(stage.folder).get("seconds")
            if took:
                ratios.append(float(took) / seconds)
    return statistics.median(ratios) if ratios else 1.0


def clock_text(seconds: float) -> str:
    """95 -> "2 min", 5400 -> "1 h 30 min"."""
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
