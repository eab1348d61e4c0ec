"""What is exported: the network of a pretraining run, or of one fold of a fine-tuning run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densecf.errors import ConfigError
from densecf.methods import METHODS
from densecf.models.weights import BACKBONE, WEIGHTS, read_facts
from densecf.runs import command_of, weights_of

FINETUNE = "finetune"


@dataclass(frozen=True)
class Source:
    """A trained network on disk.

    Attributes:
        run: its run folder.
        weights: its weights file.
        facts: what the file says of itself.
        fold: which fold of a fine-tuning run, from 0; None for a pretraining run.
    """

    run: Path
    weights: Path
    facts: dict[str, Any]
    fold: int | None = None

    @property
    def name(self) -> str:
        return self.run.name if self.fold is None else f"{self.run.name}-fold-{self.fold}"

    @property
    def encoder(self) -> str:
        return str(self.facts["encoder"])

    @property
    def size(self) -> int:
        return int(self.facts["size"])

    @property
    def classes(self) -> list[str]:
        return list(self.facts["class_names"])

    @property
    def image_level(self) -> bool:
        """Whether it is a backbone, without a decoder."""
        return self.facts.get("kind") == BACKBONE

    @property
    def draws_masks(self) -> bool:
        """Whether its segmentation head was trained: contrastive pretraining leaves it as it was drawn."""
        method = str(self.facts["method"])
        return method == FINETUNE or (method in METHODS and METHODS[method].objective == "segment")


def open_source(run: Path, fold: int | None) -> Source:
    """The network of a run folder.

    Args:
        run: a pretraining run, or a fine-tuning run.
        fold: which fold of a fine-tuning run, from 0.

    Raises:
        ConfigError: a run of another command, a fold that it has not, or one that has not finished.
        CheckpointError: its weights file cannot be used.
    """
    if command_of(run) != FINETUNE:
        weights = weights_of(run)
        return Source(run, weights, read_facts(weights))
    done = sorted(int(path.parent.name) for path in run.glob(f"folds/*/{WEIGHTS}") if path.parent.name.isdigit())
    if fold not in done:
        asked = "a fine-tuning run has one network a fold: say which" if fold is None else f"--fold {fold}: not there"
        raise ConfigError(f"{run}: {asked}; folds with weights: {', '.join(map(str, done)) or 'none'}")
    weights = run / "folds" / str(fold) / WEIGHTS
    return Source(run, weights, read_facts(weights), fold)
