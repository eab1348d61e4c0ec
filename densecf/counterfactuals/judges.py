"""Judges on disk: small networks as safetensors with what describes them, named by all they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from densecf.counterfactuals.short_training import ShortTraining
from densecf.data.prepared import PreparedDataset
from densecf.errors import CheckpointError
from densecf.models.weights import build_described, load_exactly, read_weights, save_tensors


def save_judge(network: nn.Module, path: str | Path, kind: str, meta: dict[str, Any]) -> None:
    """Write a network's tensors and what describes it, as safetensors."""
    save_tensors(network.state_dict(), Path(path), {"kind": kind, **meta})


def load_judge(
    path: str | Path, kind: str, build: Callable[[dict[str, Any]], nn.Module]
) -> tuple[nn.Module, dict[str, Any]]:
    """Read what `save_judge` wrote: the network that ``build`` makes of the description, and the description.

    Raises:
        CheckpointError: the file is missing, damaged, or of another kind.
    """
    file = Path(path)
    tensors, meta = read_weights(file)
    if meta.get("kind") != kind:
        raise CheckpointError(f"{file}: not what {kind} names; it says {meta!r}")
    network = build_described(lambda: build(meta), file, tensors)
    load_exactly(network, tensors, file)
    return network.eval().requires_grad_(False), meta


def judge_key(data: PreparedDataset, rows: np.ndarray, **what: Any) -> str:
    """A name for a judge that changes with anything it depends on: dataset, rows, ``what`` (JSON values), loop."""
    described = {
        "dataset": data.checksum,
        "rows": hashlib.sha256(np.asarray(rows, "<i8").tobytes()).hexdigest(),
        "loop": repr(ShortTraining()),
        **what,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:20]
