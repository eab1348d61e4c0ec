"""Do counterfactuals answer at all? The known failure of counterfactual VAEs, measured without any predictor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from densecf.counterfactuals.generator import Generator
from densecf.counterfactuals.interventions import parse_interventions
from densecf.counterfactuals.parents import CONTINUOUS, value_text
from densecf.data.prepared import PreparedDataset

IGNORED = 0.3
"""A parent whose counterfactuals go less than this share of the way is called ignored."""
_BATCH = 64


def mean_shift(real: Tensor, counterfactual: Tensor, target: Tensor) -> float:
    """How far counterfactuals carry a group's mean image towards that of another group: 0 not at all, 1 all the way.

    The projection of (mean counterfactual - mean real) on (mean target - mean real), in units of the latter.

    Args:
        real: (n, ...) images of one group.
        counterfactual: (n, ...) the same images, moved to the other group.
        target: (m, ...) real images of that group.
    """
    wanted = (target.mean(dim=0) - real.mean(dim=0)).flatten()
    moved = (counterfactual.mean(dim=0) - real.mean(dim=0)).flatten()
    return float(moved @ wanted / (wanted @ wanted).clamp_min(1e-12))


def response(generator: Generator, data: PreparedDataset, rows: Sequence[int], *, most: int = 100) -> dict[str, float]:
    """`mean_shift` of each discrete parent, averaged over its values.

    Args:
        generator: the model.
        data: prepared dataset.
        rows: records with known parents; target groups are taken from them too.
        most: images of a value that are moved.

    Returns:
        parent -> share of the way; parents of which only one value has records are left out.
    """
    records = data.records.iloc[list(rows)]
    found: dict[str, float] = {}
    for parent in generator.scm.parents.entries:
        if parent.kind == CONTINUOUS:
            continue
        values = records[parent.name].map(value_text).to_numpy()
        shifts = []
        for value in parent.known_values:
            (intervention,) = parse_interventions([f"{parent.name}={value}"], generator.scm.parents)
            target = np.flatnonzero(values == value)
            sources = np.flatnonzero((values != value) & np.isin(values, parent.known_values))
            if not len(target) or not len(sources):
                continue
            chosen = sources[np.linspace(0, len(sources) - 1, min(most, len(sources))).astype(int)]
            some = records.iloc[chosen]
            real = _images(data, some.index)
            moved = generator.scm.encode(generator.scm.intervene(some, intervention))
            own = torch.from_numpy(generator.scm.encode(some))
            parts = []
            for part in torch.arange(len(chosen)).split(_BATCH):
                abducted = generator.abduct(real[part], own[part])
                parts.append(generator.predict(abducted, torch.from_numpy(moved)[None, part])[0])
            wanted = target[np.linspace(0, len(target) - 1, min(4 * most, len(target))).astype(int)]
            shifts.append(mean_shift(real, torch.cat(parts), _images(data, records.index[wanted])))
        if shifts:
            found[parent.name] = float(np.mean(shifts))
    return found


def complaint(shifts: dict[str, float]) -> str:
    """What to tell the user about parents that the model ignores, and what to change; "" when there is none."""
    ignored = {name: shift for name, shift in shifts.items() if shift < IGNORED}
    if not ignored:
        return ""
    what = ", ".join(f"{name} ({shift:.0%} of the way)" for name, shift in ignored.items())
    return (
        f"Warning: the counterfactuals hardly answer to {what}: they stay what the input was, as the latents carry "
        "it. Raise --independence (10 or more), use --network.prior standard, raise --beta, lower "
        "--network.max-latent-size, or train longer."
    )


def _images(data: PreparedDataset, rows: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.stack([data.image(int(row)) for row in rows]))[:, None]
