"""The training loop that every command shares: Lightning, one pass over all steps, resumable anywhere.

The whole training is one Lightning epoch of ``StepPlan.steps`` batches. What a step sees depends on its number
alone, so a training resumed from any checkpoint equals one that was never interrupted.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZipFile

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader, Dataset

from densecf.config import HardwareConfig
from densecf.errors import CheckpointError, ConfigError, DensecfError
from densecf.models.device import best_device
from densecf.models.weights import describe_mismatch
from densecf.processes import process_rank, started_processes
from densecf.runs import METRICS
from densecf.training.batch_norm import JointBatchNorm
from densecf.training.logs import JsonlLogger, ProgressBar, forget_after
from densecf.training.sampler import StepPlan, StepSampler

CHECKPOINT = "checkpoint.ckpt"
_PARTS = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step", "epoch"}
LOG_EVERY = 10
"""Steps between two lines of metrics; the first step is always logged."""


def fit(
    module: LightningModule,
    dataset: Dataset,
    plan: StepPlan,
    out: Path,
    *,
    hardware: HardwareConfig,
    title: str,
    work_per_record: int,
    unit: str = "pixels",
    checkpoint_minutes: float,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    progress: bool = True,
    channels_last: bool = True,
) -> None:
    """Trains ``module`` on the steps of ``plan``; with ``resume``, from the checkpoint in ``out`` if there is one.

    Args:
        module: gives ``training_step`` and ``configure_optimizers``.
        dataset: maps (epoch, row) to one record's tensors.
        plan: what each step sees.
        out: folder for the checkpoint, ``metrics.jsonl`` and TensorBoard files.
        hardware: devices, precision, loader processes.
        title: name in front of the progress bar.
        work_per_record: what a record brings to the loss, for the bar's rate.
        unit: of which.
        checkpoint_minutes: time between checkpoints.
        callbacks: more Lightning callbacks.
        resume: continue an interrupted training.
        progress: show the bar.
        channels_last: memory format of the weights; right for networks of convolutions and batch norm.

    Raises:
        CheckpointError: when the checkpoint cannot be read.
        DensecfError: when the loss is no longer finite, or the disk is full.
    """
    checkpoint = out / CHECKPOINT
    resuming = resume and checkpoint.is_file()
    start = _steps_done(checkpoint, module) * plan.accumulate if resuming else 0
    _quiet_lightning()
    bar = [ProgressBar(title, work_per_record * plan.records_per_step, unit)] if progress else []
    trainer = _make_trainer(
        hardware,
        accumulate_grad_batches=plan.accumulate,
        logger=[JsonlLogger(out / METRICS), TensorBoardLogger(out, name="", version="tensorboard")],
        # The checkpoint is the last word on a step: what a kill cuts off before it is measured and written again.
        callbacks=[*callbacks, Checkpoints(checkpoint, checkpoint_minutes), *bar],
        enable_progress_bar=progress,
    )
    if process_rank() == 0:
        forget_after(out / METRICS, start)
    workers = loader_workers(hardware)
    loader = DataLoader(
        dataset,
        batch_sampler=StepSampler(plan, start, trainer.global_rank),
        num_workers=workers,
        pin_memory=trainer.accelerator.__class__.__name__ == "CUDAAccelerator",
        persistent_workers=workers > 0,
    )
    if channels_last:
        module.to(memory_format=torch.channels_last)
    try:
        trainer.fit(module, loader, ckpt_path=checkpoint if resuming else None, weights_only=True)
    except OSError as error:
        raise DensecfError(
            f"{out}: cannot be written ({error.strerror}); free some space and continue with --resume"
        ) from error
    except SystemExit:  # Lightning's answer to Ctrl-C and to SIGTERM; its exit codes would pass for success
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if "killed by signal: Terminated" in str(error):  # a loader process heard SIGTERM first
            raise KeyboardInterrupt from None
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt
    check_weights(module, title)


def _make_trainer(hardware: HardwareConfig, **options: Any) -> Trainer:
    """Lightning's trainer on the hardware asked for.

    Raises:
        ConfigError: when the machine does not have it.
    """
    devices, nodes = placement(hardware)
    try:
        return Trainer(
            accelerator=hardware.accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=resolve_precision(hardware),
            max_epochs=1,
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            plugins=[JointBatchNorm(on_gpu=_on_gpu(hardware))] if devices * nodes > 1 else None,
            **options,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"--hardware does not fit this machine: {error}") from None


def resolve_precision(hardware: HardwareConfig) -> Any:
    """ "auto" becomes bf16-mixed where bfloat16 is multiplied natively (Ampere and later, AMX), else 32."""
    if hardware.precision != "auto":
        return hardware.precision
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    native = torch.cuda.is_bf16_supported() if _on_gpu(hardware) else amx()
    return "bf16-mixed" if native else "32"


def loader_workers(hardware: HardwareConfig) -> int:
    """Loader processes: as asked, or what is left beside the training processes."""
    if hardware.workers >= 0:
        return hardware.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores // 2) if torch.cuda.is_available() else min(4, cores // 2)


def placement(hardware: HardwareConfig) -> tuple[int, int]:
    """(Devices a node, nodes) to train on: what torchrun or srun started, else what Lightning is to start.

    Raises:
        ConfigError: the options ask for another number than was started; those left over would train on their own.
    """
    started = started_processes()
    if started is None:
        found = torch.cuda.device_count() if _on_gpu(hardware) else 1
        return found if hardware.devices == "auto" else hardware.devices, hardware.num_nodes
    if hardware.devices not in ("auto", started[0]) or hardware.num_nodes not in (1, started[1]):
        raise ConfigError(
            f"--hardware.devices {hardware.devices} --hardware.num-nodes {hardware.num_nodes}: {started[0]} processes "
            f"on each of {started[1]} node(s) were started; ask for as many, or leave both options out"
        )
    return started


def world_size(hardware: HardwareConfig) -> int:
    """Processes that will train together."""
    devices, nodes = placement(hardware)
    return devices * nodes


def _on_gpu(hardware: HardwareConfig) -> bool:
    return best_device(hardware.accelerator).type == "cuda"


def check_finite(loss: torch.Tensor, step: int) -> None:
    """Raises when the loss is not a number: going on would only spoil the weights. A host sync: for logged steps."""
    if not torch.isfinite(loss):
        raise DensecfError(
            f"the loss is {loss.item()} at step {step}: lower --optim.lr, or use --hardware.precision 32; "
            "the last checkpoint is kept"
        )


def check_weights(module: LightningModule, title: str) -> None:
    """Raises DensecfError when a training ended with weights that are no numbers: its last steps went unlogged."""
    if not all(torch.isfinite(values).all() for values in module.state_dict().values() if values.is_floating_point()):
        raise DensecfError(
            f"{title}: ended with weights that are not finite numbers: start again with a lower --optim.lr, with "
            "gradient clipping, or with --hardware.precision 32"
        )


class Checkpoints(Callback):
    """Saves everything needed to go on, every few minutes, replacing the file only once it is whole."""

    def __init__(self, path: Path, minutes: float):
        self.path, self.seconds = path, 60 * minutes
        self.last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if not stepped or batch_idx + 1 == trainer.num_training_batches:
            return
        due = time.monotonic() - self.last >= self.seconds
        if trainer.world_size > 1 and self.seconds:  # the clocks differ: the first rank decides
            # Not after every step: all would wait for all, and for the accelerator.
            updates = (batch_idx + 1) // trainer.accumulate_grad_batches
            due = updates % LOG_EVERY == 0 and trainer.strategy.broadcast(due)
        if due:
            temporary = self.path.with_suffix(".tmp")
            trainer.save_checkpoint(temporary, weights_only=False)
            if trainer.is_global_zero:
                os.replace(temporary, self.path)
            self.last = time.monotonic()


def _steps_done(checkpoint: Path, module: LightningModule) -> int:
    """The steps behind a checkpoint, once it is sure that the rest of it can be taken up.

    Raises:
        CheckpointError: damaged, or of another training.
    """
    try:
        with ZipFile(checkpoint) as archive:  # PyTorch does not compare the checksums
            if damaged := archive.testzip():
                raise CheckpointError(f"the checksum of {damaged} does not fit")
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        if missing := sorted(_PARTS - content.keys()):
            raise CheckpointError(f"lacks {', '.join(missing)}")
        if lines := describe_mismatch(module, content["state_dict"]):
            raise CheckpointError("; ".join(lines[:3]))
        return int(content["global_step"])
    except Exception as error:  # torch raises many kinds for a damaged file
        if isinstance(error, UnpicklingError):
            reason = "it holds more than tensors, or is damaged; densecf loads plain tensors only"
        else:
            reason = str(error).split(" Please file an issue")[0][:500]
        raise CheckpointError(f"{checkpoint}: cannot be read ({reason}); start again with --overwrite") from None


def _quiet_lightning() -> None:
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")
    warnings.filterwarnings("ignore", message=".*treespec.*")
