"""A training step of a counterfactual model against a plain PyTorch loop: ``python -m benchmarks.counterfactual_step``.

The step: `densecf counterfactuals train` as Lightning runs it, loader, running mean of the weights, skipping and all.
The alternative: a bare loop over the same network, batch and loss terms, with AdamW, clipping and a running mean.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import default_collate

from benchmarks.step import STEPS, WARMUP, Times
from densecf.config import CounterfactualConfig, HardwareConfig
from densecf.counterfactuals.hvae.distributions import discretised_gaussian_nll
from densecf.counterfactuals.hvae.network import HVAE
from densecf.counterfactuals.independence import dependence
from densecf.counterfactuals.parents import fit_parents
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.counterfactuals.training import CounterfactualTraining, ParentDataset
from densecf.data.prepare import prepare
from densecf.data.readers.phantom import PhantomSource
from densecf.presets import COUNTERFACTUAL_PRESETS
from densecf.training.loop import fit
from densecf.training.sampler import StepPlan

ROWS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="64", help="network: a preset of densecf counterfactuals train")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    preset = COUNTERFACTUAL_PRESETS[options.preset]
    config = replace(preset, batch_size=options.batch, accumulate=1, adversary=0.0)
    size = int(options.preset)
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(PhantomSource(num_pretraining=ROWS), Path(folder) / "data", size=size, progress=False)
        parents, _ = fit_parents(data.records, ["scanner", "sex", "pleural_effusion"])
        scm = StructuralCausalModel(parents)
        dataset = ParentDataset(data, scm)
        plan = StepPlan(tuple(range(ROWS)), options.batch, epochs=-(-STEPS * options.batch // ROWS))
        network = HVAE(config.network, parents.width)
        module, times = CounterfactualTraining(config, network, scm, plan.updates), Times()
        fit(
            module, dataset, plan, Path(folder), hardware=HardwareConfig(accelerator="cpu", precision="32"), title="",
            work_per_record=1, checkpoint_minutes=60, callbacks=[times], progress=False, channels_last=False,
        )  # fmt: skip
        batch = default_collate([dataset[0, row] for row in range(options.batch)])
        plain = plain_step(config, HVAE(config.network, parents.width), batch)
    print(f"preset {options.preset}, {options.batch} images of {size} px a step, float32")
    print(f"  densecf     {times.median:8.3f} s   {options.batch / times.median:8.1f} images a second")
    print(f"  plain loop  {plain:8.3f} s   {options.batch / plain:8.1f} images a second")
    print(f"  ratio       {times.median / plain:8.3f}   (bar: 1)")


def plain_step(config: CounterfactualConfig, network: HVAE, batch: dict) -> float:
    """Median seconds of a step of a bare loop."""
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.optim.lr, betas=config.optim.betas, fused=True)
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        images = batch["images"] * 2 - 1
        found = network(images, batch["parents"])
        loss = discretised_gaussian_nll(images, found.mean, found.scale).mean()
        pixels = images[0].numel()
        loss = loss + config.beta * found.kl.mean(dim=0).sum() / pixels
        loss = loss + config.independence * dependence(found.latents, batch["parents"]) / pixels
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.optim.clip)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(network)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARMUP:])


if __name__ == "__main__":
    main()
