"""What a counterfactual model must offer, and the HVAE as one.

A generator infers once what is particular to an image (abduction), then answers any number of interventions on its
parents (prediction). Whatever follows this protocol takes the HVAE's place in generation, evaluation and pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from densecf.config import HVAEConfig
from densecf.config_values import from_dict
from densecf.counterfactuals.hvae.network import HVAE
from densecf.counterfactuals.hvae.stages import parse_stages
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.errors import CheckpointError
from densecf.files import sha256_of_file
from densecf.models.device import best_device
from densecf.models.weights import as_described, build_described, load_exactly, read_weights, weights_file

KIND = "hvae"


class Generator(Protocol):
    """A counterfactual model.

    Attributes:
        name: a short name for what it makes; the default source in a prepared dataset.
        size: S, pixels a side.
        scm: the parents it knows, and how they cause one another.
    """

    name: str
    size: int
    scm: StructuralCausalModel

    def abduct(self, images: Tensor, parents: Tensor) -> Any:
        """What is particular to each image, given its own parents.

        Args:
            images: (B, 1, S, S) in [0, 1].
            parents: (B, P) float32, as ``scm.encode`` gives them.
        """
        ...

    def predict(self, abducted: Any, parents: Tensor) -> Tensor:
        """The images under K other sets of parents: (K, B, P) -> (K, B, 1, S, S) in [0, 1]."""
        ...

    def provenance(self) -> dict[str, Any]:
        """Model, weights, settings as JSON values; equal ones make equal counterfactuals."""
        ...


@dataclass
class Abducted:
    """What the HVAE infers of a batch.

    Attributes:
        images: (B, 1, S, S) in [-1, 1].
        mean: (B, 1, S, S), the reconstruction under the images' own parents, in [-1, 1].
        noise: (B, 1, S, S), each pixel's exogenous noise: its distance from the reconstruction, in units of its scale.
        latents: z of each stochastic block.
    """

    images: Tensor
    mean: Tensor
    noise: Tensor
    latents: list[Tensor]


class HVAEGenerator:
    """Counterfactuals of a trained HVAE: reconstruction under new parents plus the image's own pixel noise.

    With a fixed pixel scale that is x + (reconstruction under new parents - reconstruction under own ones). Latents
    are the posterior's mean, or a sample of it.

    Args:
        network: trained.
        scm: the parents it was trained with.
        facts: what its weights file says of itself.
        checksum: of the weights file.
        sample: draw the latents from the posterior instead of taking its mean.
        seed: of these draws; each batch continues them.
        device: where to compute.
    """

    name = KIND

    def __init__(
        self,
        network: HVAE,
        scm: StructuralCausalModel,
        facts: dict[str, Any],
        checksum: str,
        *,
        sample: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ):
        self.network = network.to(device).eval().requires_grad_(False)
        self.scm, self.facts, self.checksum = scm, facts, checksum
        self.sample, self.seed, self.device = sample, seed, torch.device(device)
        self.size = network.size

    @torch.no_grad()
    def abduct(self, images: Tensor, parents: Tensor) -> Abducted:
        """Latents and pixel noise of images (B, 1, S, S) in [0, 1] with parents (B, P), see `Generator.abduct`."""
        images = images.to(self.device) * 2 - 1
        parents = parents.to(self.device)
        if self.sample:
            # Seeded by the batch's own content: what is drawn does not depend on what was asked before.
            content = int(images.double().abs().sum().item() * 1e6) % 2**31
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(self.seed * 2**31 + content)
                found = self.network.abduct(images, parents, sample=True)
        else:
            found = self.network.abduct(images, parents)
        mean = found.mean.clamp(-1, 1)
        return Abducted(images, mean, (images - mean) / found.scale, found.latents)

    @torch.no_grad()
    def predict(self, abducted: Abducted, parents: Tensor) -> Tensor:
        """Parents (K, B, P) -> images (K, B, 1, S, S) in [0, 1] on the CPU, see `Generator.predict`."""
        sets, batch = parents.shape[:2]
        latents = [z.repeat(sets, 1, 1, 1) for z in abducted.latents]
        found = self.network.decode(latents, parents.flatten(0, 1).to(self.device))
        mean, scale = (part.unflatten(0, (sets, batch)) for part in (found.mean.clamp(-1, 1), found.scale))
        images = mean + scale * abducted.noise
        return ((images.clamp(-1, 1) + 1) / 2).cpu()

    @torch.no_grad()
    def reconstruct(self, abducted: Abducted) -> Tensor:
        """The image without its pixel noise, (B, 1, S, S) in [0, 1]."""
        return ((abducted.mean + 1) / 2).cpu()

    def provenance(self) -> dict[str, Any]:
        """The weights' checksum, the parents, and how it samples."""
        drawn = {"sample": True, "seed": self.seed} if self.sample else {"sample": False}
        return {"model": KIND, "weights_sha256": self.checksum, "parents": list(self.scm.parents.names), **drawn}


def load_generator(
    path: str | Path, *, sample: bool = False, seed: int = 0, device: str | torch.device = "auto"
) -> HVAEGenerator:
    """The generator in a run folder of ``densecf counterfactuals train``, or in a weights file.

    Args:
        path: the folder or its ``weights.safetensors``.
        sample, seed: see `HVAEGenerator`.
        device: "auto" takes a GPU when there is one.

    Raises:
        CheckpointError: no such file, or not the weights of a counterfactual model; says what does not fit.
    """
    file = weights_file(Path(path))
    tensors, facts = read_weights(file)
    if facts.get("kind") != KIND:
        raise CheckpointError(f"{file}: not a counterfactual model; make one with 'densecf counterfactuals train'")
    scm = as_described(lambda: StructuralCausalModel.from_dict(facts["scm"]), file)

    def build() -> HVAE:
        config = from_dict(HVAEConfig, facts["network"], "network")
        blocks = sum(stage.blocks for text in (config.encoder, config.decoder) for stage in parse_stages(text))
        if blocks > len(tensors):  # a handful of letters can ask for millions
            raise ValueError(f"{blocks} blocks, and the file holds {len(tensors)} tensors")
        return HVAE(config, scm.parents.width)

    network = build_described(build, file, tensors)
    load_exactly(network, tensors, file)
    chosen = best_device() if device == "auto" else device
    return HVAEGenerator(network, scm, facts, sha256_of_file(file), sample=sample, seed=seed, device=chosen)
