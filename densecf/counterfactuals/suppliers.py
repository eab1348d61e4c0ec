"""Where the counterfactuals that are examined come from: a generator, or a prepared dataset that has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from densecf.counterfactuals.generator import Generator
from densecf.counterfactuals.interventions import Intervention
from densecf.counterfactuals.parents import Parents
from densecf.data.prepared import PreparedDataset


@dataclass(frozen=True)
class Answer:
    """What a supplier says of one batch of B images.

    Attributes:
        counterfactuals: (K, B, S, S) in [0, 1].
        null: (B, S, S), under the images' own parents; None where only stored images are at hand, as all below.
        reconstruction: (B, S, S), without the pixels' own noise; None where the generator has none.
        back: (K, B, S, S), the counterfactuals abducted anew and set back to the images' own parents.
    """

    counterfactuals: np.ndarray
    null: np.ndarray | None = None
    reconstruction: np.ndarray | None = None
    back: np.ndarray | None = None


class Supplier(Protocol):
    """Where counterfactuals come from: a generator, or a store."""

    def changed(self, records: pd.DataFrame, intervention: Intervention) -> pd.DataFrame:
        """The records with the parents that their counterfactuals have."""
        ...

    def answer(
        self, rows: np.ndarray, images: np.ndarray, records: pd.DataFrame, changed: Sequence[pd.DataFrame]
    ) -> Answer:
        """Counterfactuals of (B, S, S) images for each of the K tables of changed records."""
        ...

    def repeat_null(self, images: np.ndarray, records: pd.DataFrame, times: int) -> np.ndarray | None:
        """The images after so many null interventions, each on the result of the one before; None for a store."""
        ...


@dataclass(frozen=True)
class FromGenerator:
    """Counterfactuals made on the spot."""

    generator: Generator
    seed: int = 0

    def changed(self, records: pd.DataFrame, intervention: Intervention) -> pd.DataFrame:
        return self.generator.scm.intervene(records, intervention, seed=self.seed)

    def answer(
        self, rows: np.ndarray, images: np.ndarray, records: pd.DataFrame, changed: Sequence[pd.DataFrame]
    ) -> Answer:
        encode = self.generator.scm.encode
        own = torch.from_numpy(encode(records))
        new = [torch.from_numpy(encode(table)) for table in changed]
        pixels = torch.from_numpy(images)[:, None]
        abducted = self.generator.abduct(pixels, own)
        found = self.generator.predict(abducted, torch.stack([own, *new])).float().cpu()
        reconstruct = getattr(self.generator, "reconstruct", None)
        plain = reconstruct(abducted).float().cpu()[:, 0].numpy() if reconstruct else None
        back = [
            self.generator.predict(self.generator.abduct(image, parents), own[None])[0, :, 0].float().cpu().numpy()
            for image, parents in zip(found[1:], new, strict=True)
        ]
        return Answer(found[1:, :, 0].numpy(), found[0, :, 0].numpy(), plain, np.stack(back))

    def repeat_null(self, images: np.ndarray, records: pd.DataFrame, times: int) -> np.ndarray:
        own = torch.from_numpy(self.generator.scm.encode(records))
        pixels = torch.from_numpy(images)[:, None]
        for _ in range(times):
            pixels = self.generator.predict(self.generator.abduct(pixels, own), own[None])[0].float().cpu()
        return pixels[:, 0].numpy()


@dataclass(frozen=True)
class FromStore:
    """Counterfactuals of a prepared dataset, whoever made them.

    Attributes:
        data: the dataset.
        source: the source's name.
        parents: of the interventions.
        names: of the stored counterfactuals, in the order of the interventions.
    """

    data: PreparedDataset
    source: str
    parents: Parents
    names: tuple[str, ...]

    def changed(self, records: pd.DataFrame, intervention: Intervention) -> pd.DataFrame:
        return intervention.apply(records, self.parents)

    def answer(
        self, rows: np.ndarray, images: np.ndarray, records: pd.DataFrame, changed: Sequence[pd.DataFrame]
    ) -> Answer:
        stored = [[self.data.counterfactual(self.source, name, int(row)) for row in rows] for name in self.names]
        return Answer(np.array(stored, np.float32))

    def repeat_null(self, images: np.ndarray, records: pd.DataFrame, times: int) -> None:
        return None
