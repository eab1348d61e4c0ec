"""Which image of a record stands for it: the real one, or a stored counterfactual of a domain drawn uniformly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from densecf.data.intervention_names import settings_of
from densecf.data.prepared import PreparedDataset

_STREAM = 1_000_003  # keeps these draws apart from those of the views


def intervened_parents(name: str) -> frozenset[str]:
    """Parents that a stored intervention changes: "scanner=other.2+sex=F" -> {"scanner", "sex"}."""
    return frozenset(parent for parent, _ in settings_of(name))


class DomainImages:
    """(epoch, row) -> the images that the first and the second half of a record's views are made of.

    The domains of a record are its own and one for each stored counterfactual that changes it; "scanner=A" does not
    change a record of scanner A, so it is no domain of its own.

    Args:
        data: the prepared dataset.
        counterfactuals: (source, names) of the stored counterfactuals.
        use: as `densecf.methods.Method.counterfactuals`: "pair" gives the real image and one of a domain drawn
            uniformly, "sample" the same drawn image twice, "" the real image twice.
        seed: decides the draws.
    """

    def __init__(self, data: PreparedDataset, counterfactuals: tuple[str, Sequence[str]], use: str, seed: int):
        self.data, self.use, self.seed = data, use, seed
        self.source, self.names = counterfactuals

    def __call__(self, epoch: int, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Two images (S, S) float32 in [0, 1]; a pure function of (seed, epoch, row)."""
        real = self.data.image(row)
        if not self.use or not self.names:
            return real, real
        names = self._domains[row]
        choice = int(np.random.default_rng([self.seed, epoch, row, _STREAM]).integers(len(names) + 1))
        drawn = self.data.counterfactual(self.source, names[choice - 1], row) if choice else real
        return (real, drawn) if self.use == "pair" else (drawn, drawn)

    @cached_property
    def _domains(self) -> list[tuple[str, ...]]:
        """For each row the names that change it."""
        changes = np.stack([self._changes(name) for name in self.names], axis=1)
        return [tuple(name for name, does in zip(self.names, row, strict=True) if does) for row in changes]

    def _changes(self, name: str) -> np.ndarray:
        """(n,) whether the intervention changes a record's parents."""
        changed = np.zeros(len(self.data), dtype=bool)
        for parent, value in settings_of(name):
            if value.startswith("other"):
                changed[:] = True
            else:
                changed |= np.array([_as_text(cell) != value for cell in self.data.records[parent]])
        return changed


def _as_text(cell: object) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)
