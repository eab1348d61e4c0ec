"""How time and memory of a pretraining step grow, and what a large run needs: ``python -m benchmarks.scaling`` (Linux).

Measured: an ``s-mvd-cl`` step of `densecf pretrain` as Lightning runs it, with a small network on one thread a process,
over images in the batch, points a view, views an image, and processes. Times are processor seconds of the
fastest of several steps, so that other work on the machine counts little; memory is the highest resident set of a
process above what it had before the network was made.

Computed: products of the network counted by torch on tensors without content, bytes kept for the backward pass, and
from these what 60,000 images need under the assumptions in the constants below.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.loss import resident_mb
from densecf.config import HardwareConfig, ModelConfig, PretrainConfig
from densecf.data.prepare import prepare
from densecf.data.prepared import PreparedDataset
from densecf.data.readers.phantom import PhantomSource
from densecf.methods import METHODS
from densecf.models.unet import build_unet, dense_features
from densecf.training.datasets import ContrastDataset, ViewDataset
from densecf.training.loop import fit
from densecf.training.pretrain import make_module
from densecf.training.sampler import StepPlan

METHOD, SIZE, RECORDS, STEPS = "s-mvd-cl", 64, 16, 4
SMALL = ModelConfig(encoder="resnet18", decoder_channels=(128, 64, 64, 32, 32))

# Assumptions about the run that is computed.
IMAGES, PIXELS, VIEWS, EPOCHS, BATCH, POINTS, DIM = 60_000, 224, 4, 20, 8, 1000, 128
NETWORK_RATE, LOSS_RATE = 0.2 * 312e12, 0.7 * 19.5e12
"""Operations a second: shares of what an A100's maker gives, in bfloat16 for the network, in float32 for the loss."""


@dataclass(frozen=True)
class Setting:
    """What a step sees: images a process, points a view, views an image, processes."""

    images: int = 2
    points: int = 1000
    views: int = 4
    processes: int = 1


SETTINGS = (
    *(Setting(images=images) for images in (2, 4, 8)),
    *(Setting(points=points) for points in (250, 4000)),
    Setting(views=2),
    Setting(images=1, processes=2),
    Setting(processes=2),
)


class Fastest(Callback):
    """Processor seconds of this process in its fastest step, after one that warms up."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        self.ends.append(time.process_time())

    @property
    def seconds(self) -> float:
        return min(b - a for a, b in zip(self.ends, self.ends[1:], strict=False))


def step(setting: Setting, rank: int, port: int, folder: str, answers: Any) -> None:
    """Trains for some steps in this process, and answers with its rank, seconds a step and megabytes."""
    torch.set_num_threads(1)
    if setting.processes > 1:
        told = {"LOCAL_RANK": rank, "WORLD_SIZE": setting.processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in told.items()}
    data = PreparedDataset.open(Path(folder) / "data")
    hardware = HardwareConfig(accelerator="cpu", devices=setting.processes, precision="32", workers=0)
    config = PretrainConfig(
        method=METHOD, points=setting.points, batch_size=setting.images, model=SMALL, hardware=hardware
    )
    before = resident_mb("VmRSS")
    stored = ("truth", data.counterfactuals["truth"][: setting.views - 1])
    dataset = ContrastDataset(ViewDataset(data, config.views, counterfactuals=stored), METHODS[METHOD], setting.points)
    together = setting.images * setting.processes
    plan = StepPlan(tuple(range(together * STEPS)), setting.images, 1, world=setting.processes)
    plan = replace(plan, rows=tuple(row % RECORDS for row in plan.rows))
    fastest = Fastest()
    out = Path(folder) / f"run-{time.monotonic_ns()}"
    fit(
        make_module(config, data, plan.updates, None), dataset, plan, out, hardware=hardware, title="",
        work_per_record=1, checkpoint_minutes=60, callbacks=[fastest], progress=False,
    )  # fmt: skip
    answers.put((rank, fastest.seconds, resident_mb("VmHWM") - before))


def measure(setting: Setting, folder: str) -> tuple[float, float]:
    """Seconds and megabytes of the first process of a setting, each process forked anew."""
    from lightning_fabric.plugins.environments.lightning import find_free_network_port

    context, port = multiprocessing.get_context("fork"), find_free_network_port()
    answers = context.SimpleQueue()
    workers = [
        context.Process(target=step, args=(setting, rank, port, folder, answers)) for rank in range(setting.processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a process of the benchmark failed; what it said stands above")
    found = sorted(answers.get() for _ in workers)
    return found[0][1], found[0][2]


def network_costs() -> tuple[float, float, int]:
    """(Operations of a forward pass, bytes kept for the backward pass in bfloat16, weights) of one view.

    For the papers' network at 224 px, on the meta device: shapes only. An addition and a product are two operations.
    """
    with torch.device("meta"):
        unet = build_unet().train()
        image = torch.empty(1, 1, PIXELS, PIXELS)
    kept: dict[Any, int] = {parameter.untyped_storage(): 0 for parameter in unet.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage(), 2 * tensor.numel())
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        dense_features(unet, image)
    return counter.get_total_flops(), sum(kept.values()), sum(p.numel() for p in unet.parameters())


def loss_costs(processes: int) -> tuple[float, float]:
    """(Operations, bytes) of the streamed loss in each of some processes: docs/scaling.md has the formulae."""
    rows = BATCH * VIEWS * POINTS
    keys = rows * processes
    return 6 * rows * keys * DIM, 4 * DIM * (2 * rows + (5 if processes > 1 else 3) * keys) + 2**28


def seconds_of(work: Callable[[], Any], repeats: int = 5) -> float:
    """Of the fastest of some repeats."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def print_needs(record_seconds: float) -> None:
    """What the large run needs on one and on eight devices."""
    forward, kept, weights = network_costs()
    print(f"\nResNet-50 U-Net, {PIXELS} px, one view: {forward / 1e9:.1f} GFLOP forward, {kept / 1e6:.0f} MB kept")
    print(f"{weights / 1e6:.1f} M weights; a record's {VIEWS} views: {record_seconds * 1e3:.0f} ms of a core")
    images, masks = 2 * PIXELS**2 * IMAGES, PIXELS**2 * IMAGES
    print(f"disk: {images / 1e9:.1f} GB of images, as much a counterfactual, {masks / 1e9:.1f} GB of masks:", end=" ")
    print(f"{(VIEWS * images + masks) / 1e9:.1f} GB")
    for devices in (1, 8):
        loss_work, loss_bytes = loss_costs(devices)
        network_work = 3 * forward * BATCH * VIEWS
        parts = network_work / NETWORK_RATE, loss_work / LOSS_RATE
        step_seconds = sum(parts)
        steps = IMAGES // (BATCH * devices) * EPOCHS
        memory = 16 * weights + kept * BATCH * VIEWS + loss_bytes
        cores = record_seconds * BATCH / step_seconds
        print(
            f"{devices} device(s): {steps:,} steps; network {network_work / 1e12:.2f} TFLOP {parts[0]:.3f} s, "
            f"loss {loss_work / 1e12:.2f} TFLOP {parts[1]:.3f} s; together {steps * step_seconds / 3600:.1f} h"
        )
        print(
            f"  {memory / 1e9:.1f} GB a device, of which the loss {loss_bytes / 1e9:.2f} GB; "
            f"{cores:.1f} cores a device make the views as fast"
        )


def main() -> None:
    if sys.platform != "linux":
        raise SystemExit("memory is read from /proc: Linux only")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = PhantomSource(num_pretraining=RECORDS, seed=0)
        prepare(source, Path(folder) / "data", size=SIZE, progress=False, workers=1)
        large = prepare(
            PhantomSource(num_pretraining=2, seed=0),
            Path(folder) / "large", size=PIXELS, progress=False, workers=1,
        )  # fmt: skip
        print(f"{METHOD}, {SMALL.encoder} U-Net, {SIZE} px, one thread a process")
        print(f"{'images':>7} {'points':>7} {'views':>6} {'processes':>10} {'rows':>8} {'s a step':>9} {'MB':>6}")
        for setting in SETTINGS:
            seconds, megabytes = measure(setting, folder)
            rows = setting.images * setting.views * setting.points * setting.processes
            print(
                f"{setting.images:>7} {setting.points:>7} {setting.views:>6} {setting.processes:>10} {rows:>8} "
                f"{seconds:>9.2f} {megabytes:>6.0f}",
                flush=True,
            )
        views = ViewDataset(
            large, PretrainConfig().views, counterfactuals=("truth", large.counterfactuals["truth"][: VIEWS - 1])
        )
        dataset = ContrastDataset(views, METHODS[METHOD], POINTS)
        print_needs(seconds_of(lambda: dataset[0, 0]))


if __name__ == "__main__":
    main()
