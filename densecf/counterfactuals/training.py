"""Training a counterfactual model: an HVAE that is told the parents of each image.

    densecf counterfactuals train                                        # the embedded phantom
    densecf counterfactuals train --data data/lungs --parents scanner    # your own images

The step: images, parents -> reconstruction and KL -> one bound, and penalties on latents that tell the parents.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import Dataset

from densecf.config import CounterfactualConfig
from densecf.config_values import to_dict
from densecf.counterfactuals.adversary import Adversary
from densecf.counterfactuals.faithfulness import random_intervention, verdict
from densecf.counterfactuals.generator import KIND, HVAEGenerator, load_generator
from densecf.counterfactuals.hvae.distributions import discretised_gaussian_nll
from densecf.counterfactuals.hvae.network import HVAE, Decoded
from densecf.counterfactuals.independence import dependence
from densecf.counterfactuals.parents import value_text
from densecf.counterfactuals.predictors import ParentPredictor, load_predictor, save_predictor, train_predictor
from densecf.counterfactuals.response import response
from densecf.counterfactuals.samples import SampleGrids
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.data.prepared import PreparedDataset
from densecf.errors import CheckpointError
from densecf.models.device import best_device
from densecf.models.weights import WEIGHTS, save_tensors
from densecf.processes import process_rank
from densecf.training.logs import report
from densecf.training.loop import LOG_EVERY, check_finite, fit, world_size
from densecf.training.optim import TrainingModule
from densecf.training.pretrain import write_records
from densecf.training.sampler import StepPlan

PREDICTOR = "predictor.safetensors"
PREDICTOR_SEED = 1000
"""Added to the seed: the predictor that teaches is never the one that judges."""


def train_counterfactuals(
    config: CounterfactualConfig,
    data: PreparedDataset,
    rows: Sequence[int],
    scm: StructuralCausalModel,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains on ``rows`` of ``data`` and writes the running mean of the weights into the run folder ``out``.

    Args:
        config: with ``init_from`` a weights file, or "".
        data: prepared dataset, of the network's size.
        rows: rows to learn from; all parents known, no held-out patient among them.
        scm: the parents, and how they cause one another.
        out: run folder.
        resume: continue from the checkpoint in ``out``.

    Returns:
        What the run used: records, steps, seconds; and how far counterfactuals move each parent's mean image,
        which the first of the processes alone finds out.

    Raises:
        CheckpointError: ``init_from`` is another network, or knows other parents.
    """
    started = time.monotonic()
    plan = StepPlan(
        tuple(rows),
        config.batch_size,
        config.epochs,
        config.accumulate,
        config.seed,
        world_size(config.hardware),
        weights=draw_weights(data.records.iloc[list(rows)], config.balance, config.balance_share),
    )
    device = best_device(config.hardware.accelerator)
    torch.manual_seed(config.seed)
    network = HVAE(config.network, scm.parents.width)
    if config.init_from:
        load_start(network, scm, config)
    if process_rank() == 0:
        write_records(data, list(rows), out, Path(config.init_from) if config.init_from else None)
    predictor = _teacher(config, data, rows, scm, out, progress) if config.faithfulness else None
    module = CounterfactualTraining(config, network, scm, plan.updates, predictor)
    grids_every = round(config.samples_every * plan.steps_per_epoch)
    fit(
        module,
        ParentDataset(data, scm),
        plan,
        out,
        hardware=config.hardware,
        title="hvae",
        work_per_record=data.size**2,
        checkpoint_minutes=config.checkpoint_minutes,
        callbacks=[SampleGrids(data, rows, scm, grids_every)] if grids_every else [],
        resume=resume,
        progress=progress,
        channels_last=device.type == "cuda",  # group norm is slower so on CPUs
    )
    shifts: dict[str, float] = {}
    if module.trainer.is_global_zero:
        # Lightning leaves the network on the CPU.
        shifts = response(HVAEGenerator(module.average, scm, {}, "", device=device), data, rows)
        save_tensors(module.average.state_dict(), out / WEIGHTS, facts_of(config, data, scm, shifts))
    return {
        "records": len(rows),
        "parents": list(scm.parents.names),
        "steps": plan.steps,
        "skipped_updates": int(module.skipped),
        "response": {name: round(shift, 3) for name, shift in shifts.items()},
        "seconds": round(time.monotonic() - started),
    }


def facts_of(
    config: CounterfactualConfig, data: PreparedDataset, scm: StructuralCausalModel, shifts: dict[str, float]
) -> dict[str, Any]:
    """What the weights file says of itself: enough to rebuild the model and to prepare images for it."""
    return {
        "kind": KIND,
        "network": to_dict(config.network),
        "scm": scm.to_dict(),
        "size": data.size,
        "profile": data.meta.get("profile") or "",
        "dataset_checksum": data.checksum,
        "response": shifts,
    }


def draw_weights(records: pd.DataFrame, balance: Sequence[str], share: float) -> tuple[float, ...] | None:
    """How likely each record is drawn: a ``share`` uniform over the values of the parents in ``balance`` together,
    the rest over the records; None for every record once an epoch.

    Source: the authors' sampler for EMBED (share 0.5).
    """
    if not balance:
        return None
    groups = records[list(balance)].map(value_text).agg("|".join, axis=1)
    counts = groups.map(groups.value_counts()).to_numpy(dtype=float)
    weights = share / (groups.nunique() * counts) + (1 - share) / len(records)
    return tuple((weights / weights.sum()).tolist())


def load_start(network: HVAE, scm: StructuralCausalModel, config: CounterfactualConfig) -> None:
    """Puts the weights of ``config.init_from`` into a network of the same stages and parents.

    Raises:
        CheckpointError: they are not the same; says what differs.
    """
    start = load_generator(config.init_from, device="cpu")
    if start.scm.parents != scm.parents:
        raise CheckpointError(
            f"{config.init_from}: knows the parents {', '.join(p.describe() for p in start.scm.parents.entries)}; "
            f"this training has {', '.join(p.describe() for p in scm.parents.entries)}"
        )
    mine, theirs = to_dict(config.network), to_dict(start.network.config)
    if different := [key for key in mine if mine[key] != theirs[key] and key not in ("dropout", "pixel_scale")]:
        raise CheckpointError(
            f"{config.init_from}: another network; different are "
            + ", ".join(f"--network.{key.replace('_', '-')} ({theirs[key]})" for key in different)
        )
    network.load_state_dict(start.network.state_dict())


def _teacher(
    config: CounterfactualConfig,
    data: PreparedDataset,
    rows: Sequence[int],
    scm: StructuralCausalModel,
    out: Path,
    progress: bool,
) -> ParentPredictor:
    """The frozen predictor that fine-tuning listens to; trained once a run."""
    if not (out / PREDICTOR).is_file():
        predictor = train_predictor(
            data,
            rows,
            scm.parents,
            seed=config.seed + PREDICTOR_SEED,
            device=best_device(config.hardware.accelerator),
            progress=progress,
        )
        save_predictor(predictor, out / PREDICTOR)
    return load_predictor(out / PREDICTOR)


class ParentDataset(Dataset):
    """(epoch, row) -> ``images`` (1, S, S) in [0, 1] and ``parents`` (P,)."""

    def __init__(self, data: PreparedDataset, scm: StructuralCausalModel):
        self.data, self.scm = data, scm

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        _, row = key
        parents = self.scm.encode(self.data.records.iloc[[row]])[0]
        return {"images": torch.from_numpy(self.data.image(row))[None], "parents": torch.from_numpy(parents)}


class CounterfactualTraining(TrainingModule):
    """The network, its running mean, and the loss.

    Args:
        config: weights of the terms.
        network: with its initial weights.
        scm: the parents.
        updates: changes of the weights in the whole training.
        predictor: for the term of faithfulness; None without it.
    """

    def __init__(
        self,
        config: CounterfactualConfig,
        network: HVAE,
        scm: StructuralCausalModel,
        updates: int,
        predictor: ParentPredictor | None = None,
    ):
        super().__init__(config.optim, updates)
        self.config, self.scm, self.network, self.predictor = config, scm, network, predictor
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.adversary = Adversary(network.decoder, scm.parents) if config.adversary else None
        self.pixel_scale: Tensor
        self.register_buffer("pixel_scale", torch.tensor(config.network.pixel_scale), persistent=False)
        self.register_buffer("skipped", torch.zeros((), dtype=torch.long))
        self.skipped: Tensor

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        # Every step has its own noise, so that a resumed training draws what an uninterrupted one does.
        torch.manual_seed((self.config.seed << 40) + (self.global_rank << 32) + index)
        images, parents = batch["images"] * 2 - 1, batch["parents"]
        found = self.network(images, parents)
        nll, terms = self._likelihood(images, found)
        pixels = images[0].numel()
        kl = found.kl.mean(dim=0).clamp_min(self.config.free_bits).sum() / pixels
        terms |= {"kl": kl, "dependence": dependence(found.latents, parents) / pixels}
        loss = nll + self.config.beta * kl + self.config.independence * terms["dependence"]
        if self.adversary is not None:
            # The adversary needs a while to learn what to look for.
            ripe = min(1.0, index / (0.2 * self.updates * self.trainer.accumulate_grad_batches))
            terms["adversary"] = self.adversary(found.latents, parents, ripe * self.config.adversary / pixels)
            loss = loss + terms["adversary"]
        if self.predictor is not None:
            terms["disagreement"] = self._disagreement(images, parents, found, index)
            loss = loss + self.config.faithfulness * terms["disagreement"]
        if index % LOG_EVERY == 0:
            check_finite(loss.detach(), index)
            report(self, index, {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}})
        return loss

    def _likelihood(self, images: Tensor, found: Decoded) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a pixel, and what to report of them.

        The mean is fitted at the configured scale, and a learned scale to what the mean leaves over. Fitted together,
        places that are hard get a wide scale and are given up on (Seitzer et al., ICLR 2022).
        """
        nll = discretised_gaussian_nll(images, found.mean, self.pixel_scale).mean()
        if not self.config.network.learned_scale:
            return nll, {"nll": nll}
        rest = discretised_gaussian_nll(images, found.mean.detach(), found.scale).mean()
        return nll + rest, {"nll": nll, "nll_learned_scale": rest}

    def _disagreement(self, images: Tensor, parents: Tensor, found: Decoded, index: int) -> Tensor:
        assert self.predictor is not None
        drawn = torch.Generator().manual_seed((self.config.seed << 32) + index)
        changed, name = random_intervention(parents, self.scm.parents, drawn)
        # Only the decoder listens: through the latents, the encoder would learn to please the predictor.
        answer = self.network.decode([z.detach() for z in found.latents], changed)
        noise = ((images - found.mean.clamp(-1, 1)) / found.scale).detach()
        counterfactuals = (answer.mean.clamp(-1, 1) + answer.scale * noise).clamp(-1, 1)
        return verdict(self.predictor, (images + 1) / 2, (counterfactuals + 1) / 2, changed, self.scm.parents, name)

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.optim.clip or float("inf"))
        spoilt = ~(norm < self.config.skip)  # true for NaN as well
        self.skipped += spoilt
        optimizer = getattr(optimizer, "optimizer", optimizer)
        if optimizer.defaults.get("fused"):
            optimizer.found_inf = spoilt.float()  # the fused kernel leaves everything as it is; no host sync
        elif spoilt:
            optimizer.zero_grad(set_to_none=True)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # Here and not at the end of the batch: checkpoints are written before that hook.
        done = self.global_step
        decay = min(self.config.ema, (1 + done) / (10 + done))  # the first weights are soon forgotten
        update = get_ema_multi_avg_fn(decay)
        update(list(self.average.parameters()), list(self.network.parameters()), done)

    def on_fit_start(self) -> None:
        if self.predictor is not None:
            self.predictor.to(self.device).eval()
