"""The networks that a command looks at: pretraining runs by name, or random weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from densecf import runs
from densecf.commands.finetune import data_of
from densecf.config import PHANTOM
from densecf.data.prepared import PreparedDataset
from densecf.data.seen import seen_records
from densecf.errors import ConfigError
from densecf.files import sha256_of_file

if TYPE_CHECKING:
    from densecf.evaluation.image_features import FeatureStore
    from densecf.models.backbone import ImageEncoder

NONE = "none"
"""The value of ``--run`` that means random weights."""


@dataclass(frozen=True)
class Network:
    """One network to look at.

    Attributes:
        name: what it is called in tables and pictures.
        weights: its file; None for random weights.
        facts: what the weights file says of itself; for random weights, what they are built by.
    """

    name: str
    weights: Path | None
    facts: dict[str, Any]

    @property
    def method(self) -> str:
        return str(self.facts.get("method") or NONE)

    def encoder(self, seed: int = 0) -> ImageEncoder:
        """The image encoder, in eval mode, on the GPU if there is one; the seed decides random weights."""
        import torch

        from densecf.models.backbone import ImageEncoder, build_image_encoder, load_image_encoder
        from densecf.models.device import best_device
        from densecf.models.unet import build_unet
        from densecf.models.weights import BACKBONE

        device = best_device()
        if self.weights is not None:
            return load_image_encoder(self.weights)[0].to(device)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if self.facts.get("kind") == BACKBONE:
                patch = int(self.facts.get("patch_size", 0))
                encoder = build_image_encoder(self.facts["encoder"], int(self.facts["size"]), patch_size=patch)
            else:
                body = build_unet(self.facts["encoder"], self.facts["decoder_channels"]).encoder
                encoder = ImageEncoder(body, body.out_channels[-1], pyramid=True)
        return encoder.eval().to(device)

    def fingerprint(self) -> str:
        """SHA-256 of its weights."""
        if self.weights is not None:
            return sha256_of_file(self.weights)
        digest = hashlib.sha256()
        for name, value in self.encoder().state_dict().items():
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()

    def features(self) -> FeatureStore:
        """Where its image features are kept: in its run folder, or under runs/features for random weights."""
        from densecf.evaluation.image_features import FOLDER, FeatureStore

        known = self.fingerprint()
        folder = runs.ROOT / FOLDER / f"random-{known[:16]}" if self.weights is None else self.weights.parent / FOLDER
        return FeatureStore(folder, known)

    def sized(self, size: int) -> Network:
        """Random weights, built for images of this size; a run as it is."""
        return self if self.weights is not None else replace(self, facts={**self.facts, "size": size})

    def check_size(self, data: PreparedDataset) -> None:
        """Whether the network takes this dataset's images: a ViT its own size, a network of convolutions any.

        Raises:
            ConfigError: it does not.
        """
        from densecf.models.weights import BACKBONE

        size = int(self.facts.get("size") or data.size)
        is_vit = self.facts.get("kind") == BACKBONE and self.facts["encoder"].startswith(("vit_", "deit"))
        if is_vit and size != data.size:
            raise ConfigError(
                f"{data.path}: images of {data.size} px, and {self.name} is a ViT for {size} px; prepare the dataset "
                f"at that size (densecf data prepare ... --size {size})"
            )

    def dataset_checksum(self) -> str:
        """Of the dataset it was pretrained on; "" when that is not known."""
        if self.weights is None or not runs.is_run(self.weights.parent):
            return ""
        return str(runs.read_provenance(self.weights.parent).get("dataset_checksum", ""))

    def pretrained_on(self) -> pd.DataFrame:
        """Image and patient of every record it was pretrained on; empty for random weights.

        Raises:
            ConfigError: the run folder does not say.
            DataError: what it says is damaged.
        """
        if self.weights is None:
            return pd.DataFrame({"image": [], "patient_id": []}, dtype="str")
        return seen_records(self.weights.parent)


def open_networks(which: Sequence[str], encoder: str = "") -> list[Network]:
    """Pretraining runs, each under a name of its own.

    Args:
        which: runs, weights files, "latest", or "none": random weights.
        encoder: backbone of the random weights; "": that of the first run.

    Raises:
        ConfigError: no such run, or one twice.
        CheckpointError: weights that are not ours.
    """
    from densecf.models.weights import BACKBONE, read_facts

    found = {each: None if each == NONE else runs.find_weights(each) for each in which}
    if not which or len(set(found.values())) < len(which):
        raise ConfigError(f"--run {' '.join(which)}: name at least one run, and each once")
    facts = {each: read_facts(weights) for each, weights in found.items() if weights is not None}
    random = next(iter(facts.values()), {"kind": BACKBONE, "encoder": "resnet18", "size": 0})
    if encoder:
        random = {"kind": BACKBONE, "encoder": encoder, "size": random.get("size", 0)}
    facts[NONE] = {**random, "method": NONE}
    folders = [weights.parent for weights in found.values() if weights is not None]
    names = [folder.name for folder in folders]
    networks = []
    for each, weights in found.items():
        name = NONE
        if weights is not None:
            name = weights.parent.name if names.count(weights.parent.name) == 1 else str(weights.parent)
        networks.append(Network(name, weights, facts[each]))
    return networks


def dataset_of(networks: Sequence[Network], asked: str, option: str = "--dataset") -> str:
    """The dataset to work on: as asked, or, for "auto", the one that the runs were pretrained on.

    Args:
        option: the one that names a dataset, for error messages.

    Raises:
        ConfigError: the runs were pretrained on different ones.
    """
    if asked != "auto":
        return asked
    own = sorted({data_of(network.weights) for network in networks if network.weights is not None})
    if len(own) > 1:
        raise ConfigError(f"{option}: the runs were pretrained on different datasets ({', '.join(own)}); name one")
    return own[0] if own else PHANTOM


def run_name(subject: str, names: Sequence[str]) -> str:
    """A telling folder name: what was asked, and of which run if it is one."""
    which = Path(names[0]).name if len(names) == 1 else f"{len(names)}-runs"
    return re.sub(r"[^\w.-]+", "-", f"{subject}-{which}").strip("-.") or which


def as_text(values: Sequence[Any]) -> list[str]:
    """Cells of a records column as names; "" for unknown."""
    from densecf.data.records import is_missing

    return ["" if is_missing(value) else f"{value:g}" if isinstance(value, float) else str(value) for value in values]
