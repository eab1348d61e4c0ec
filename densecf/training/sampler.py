"""Which records make up which step: a pure function of (seed, step), so a training can start anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler


@dataclass(frozen=True)
class StepPlan:
    """The whole training as a row of steps.

    Attributes:
        rows: dataset rows to train on.
        batch_size: records a step and a process; lowered to what there is.
        epochs: passes over the rows; what does not fill a step is left out, each time another part.
        accumulate: steps between two changes of the weights.
        seed: decides the order.
        world: processes that share each step.
        weights: probability of each row, in their order: an epoch then draws with replacement.
    """

    rows: tuple[int, ...]
    batch_size: int
    epochs: int
    accumulate: int = 1
    seed: int = 0
    world: int = 1
    weights: tuple[float, ...] | None = None

    @property
    def records_per_step(self) -> int:
        return min(self.batch_size, max(1, len(self.rows) // self.world))

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.rows) // (self.records_per_step * self.world))

    @property
    def steps(self) -> int:
        """Forward passes in total: a multiple of ``accumulate``."""
        return max(1, self.steps_per_epoch * self.epochs // self.accumulate) * self.accumulate

    @property
    def updates(self) -> int:
        return self.steps // self.accumulate

    def order(self, epoch: int) -> np.ndarray:
        """The rows of one epoch, shuffled; or as many drawn by their weights."""
        rng, rows = np.random.default_rng([self.seed, epoch]), np.asarray(self.rows)
        return rng.permutation(rows) if self.weights is None else rng.choice(rows, len(rows), p=self.weights)


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, row), from step ``start`` to the last, for one process.

    Its length counts the steps before ``start`` too: that is how Lightning counts when it resumes.
    """

    def __init__(self, plan: StepPlan, start: int = 0, rank: int = 0):
        self.plan, self.start, self.rank = plan, start, rank

    def __len__(self) -> int:
        return self.plan.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        plan, size = self.plan, self.plan.records_per_step
        current, order = -1, np.empty(0, dtype=int)
        for step in range(self.start, plan.steps):
            epoch, within = divmod(step, plan.steps_per_epoch)
            if epoch != current:
                current, order = epoch, plan.order(epoch)
            first = (within * plan.world + self.rank) * size
            yield [(epoch, int(row)) for row in order[first : first + size]]
