"""A whole training step against the work it cannot avoid: ``python -m benchmarks.step``.

The step: an ``s-mvd-cl`` step of `densecf pretrain` as Lightning runs it, loader, sampling, optimiser and all,
over four views of each record. The alternative: forward and backward of the same network on the same views in a
bare loop, plus the loss alone, plus the same optimiser's step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from pytorch_lightning import Callback
from torch.utils.data import default_collate

from densecf.config import HardwareConfig, ModelConfig, PretrainConfig
from densecf.data.prepare import prepare
from densecf.data.readers.phantom import PhantomSource
from densecf.losses.pairing import contrast
from densecf.methods import METHODS
from densecf.models.unet import dense_features
from densecf.training.datasets import ContrastDataset, ViewDataset, choose_counterfactuals
from densecf.training.loop import fit
from densecf.training.pretrain import Contrast
from densecf.training.sampler import StepPlan

STEPS, WARMUP = 12, 2


class Times(Callback):
    """Seconds from the end of a step to the end of the next."""

    def __init__(self):
        self.ends: list[float] = []

    def on_train_batch_end(self, *args) -> None:
        self.ends.append(time.perf_counter())

    @property
    def median(self) -> float:
        return statistics.median(b - a for a, b in zip(self.ends[WARMUP:], self.ends[WARMUP + 1 :], strict=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--encoder", default="resnet50")
    options = parser.parse_args()

    config = PretrainConfig(points=options.points, batch_size=options.batch, model=ModelConfig(encoder=options.encoder))
    method = METHODS["s-mvd-cl"]
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(
            PhantomSource(num_pretraining=24, seed=0), Path(folder) / "data", size=options.size, progress=False
        )
        views = ViewDataset(data, config.views, counterfactuals=choose_counterfactuals(data, "auto", method))
        dataset = ContrastDataset(views, method, options.points)
        plan = StepPlan(tuple(range(24)), options.batch, epochs=-(-STEPS * options.batch // 24))
        module = Contrast(config, data, plan.updates, None)
        times = Times()
        hardware = HardwareConfig(accelerator="cpu", precision="32")
        fit(
            module, dataset, plan, Path(folder), hardware=hardware, title="", work_per_record=1,
            checkpoint_minutes=60, callbacks=[times], progress=False,
        )  # fmt: skip
        batch = default_collate([dataset[key] for key in [(0, row) for row in range(options.batch)]])
        bare, loss = bare_times(module, batch, config)
    whole = times.median
    print(f"{options.encoder}, {options.batch} records x 4 views of {options.size} px, {options.points} points a view")
    print(f"  whole step                          {whole:8.3f} s")
    print(f"  bare forward, backward, optimiser   {bare:8.3f} s")
    print(f"  loss alone                          {loss:8.3f} s")
    print(f"  ratio                               {whole / (bare + loss):8.3f}   (bar: 1.1)")


def bare_times(module: Contrast, batch: dict, config: PretrainConfig) -> tuple[float, float]:
    """Median seconds of the network with its optimiser, and of the loss, on the same batch."""
    images = batch["images"].flatten(0, 1).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], fused=True)
    rows = torch.randn(*batch["ids"].shape, config.model.projection_dim, requires_grad=True)
    network, losses = [], []
    for _ in range(STEPS):
        start = time.perf_counter()
        dense_features(module.unet, images).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        middle = time.perf_counter()
        contrast(
            rows, batch["ids"], pairing="multi", temperature=config.temperature, query_mask=batch["query"]
        ).backward()
        rows.grad = None
        network.append(middle - start)
        losses.append(time.perf_counter() - middle)
    return statistics.median(network[WARMUP:]), statistics.median(losses[WARMUP:])


if __name__ == "__main__":
    main()
