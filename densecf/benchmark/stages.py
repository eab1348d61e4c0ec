"""The run folders of a cell, each named by a digest of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from densecf.benchmark.cells import Cell
from densecf.benchmark.protocols import NONE
from densecf.config import FinetuneConfig, PretrainConfig
from densecf.config_values import flat, to_dict
from densecf.methods import METHODS
from densecf.training.domains import intervened_parents

FORMAT = 1
"""Part of every digest; to be raised when the same options come to mean something else."""
_WITHOUT_EFFECT = (  # on results; of files their checksums count, and not where they are
    "hardware.workers",
    "checkpoint_minutes",
    "monitor_every",
    "data",
    "init_from",
    "pretrained",
    "folds_file",
)


@dataclass(frozen=True)
class Stage:
    """One run folder of a cell: pretrain, finetune or evaluate."""

    command: str
    folder: Path


@dataclass(frozen=True)
class Inputs:
    """What the results depend on besides options.

    Attributes:
        dataset: checksum of the prepared dataset.
        counterfactuals: by source, the checksum of each stored intervention.
        folds: checksum of the folds file.
        weights: by file, the checksum of weights that a pretraining starts from.
    """

    dataset: str
    folds: str
    counterfactuals: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


def stages_of(cell: Cell, inputs: Inputs, store: Path) -> list[Stage]:
    """The run folders of a cell, in the order in which they are made; equal options share a folder.

    Args:
        cell: the cell.
        inputs: what its results depend on besides options.
        store: folder of all cells.
    """
    stages, parent, name = [], NONE, cell.pretrain.method if cell.pretrain else NONE
    if cell.pretrain is not None:
        asked = frozenset(cell.pretrain.intervene)
        stored = inputs.counterfactuals.get(cell.pretrain.counterfactuals, {})
        chosen = {name: sha for name, sha in stored.items() if intervened_parents(name) <= asked}
        start = {"init_from": inputs.weights[cell.pretrain.init_from]} if cell.pretrain.init_from else {}
        parent = _digest(cell.pretrain, dataset=inputs.dataset, counterfactuals=chosen, **start)
        stages.append(Stage("pretrain", store / "pretrain" / f"{name}-{parent}"))
    fine = _digest(cell.finetune, dataset=inputs.dataset, folds=inputs.folds, parent=parent)
    stages.append(Stage("finetune", store / "finetune" / f"{name}-{fine}"))
    if cell.pretrain is not None and not METHODS[cell.method].image_level:
        chosen_by = {"where": cell.finetune.where} if cell.finetune.where else {}
        measured = _digest(None, dataset=inputs.dataset, parent=parent, **chosen_by)
        stages.append(Stage("evaluate", store / "evaluate" / f"{name}-{measured}"))
    return stages


def _digest(config: PretrainConfig | FinetuneConfig | None, **inputs: Any) -> str:
    """Twelve hexadecimal digits of the options that differ from their defaults and of the inputs, so that an option
    added to densecf later leaves finished cells what they are."""
    changed: dict[str, Any] = {}
    if config is not None:
        default = flat(to_dict(type(config)()))
        changed = {
            name: value
            for name, value in flat(to_dict(config)).items()
            if value != default[name] and name not in _WITHOUT_EFFECT
        }
    text = json.dumps([FORMAT, changed, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
