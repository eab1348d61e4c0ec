"""Generators that are not models: one ignores the parents, one knows the phantom's truth, one paints."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from densecf.counterfactuals.parents import Parents
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.counterfactuals.truth import PhantomTruth


class Ignoring:
    """Says that nothing ever changes anything."""

    name = "ignoring"

    def __init__(self, parents: Parents, size: int):
        self.scm, self.size = StructuralCausalModel(parents), size

    def abduct(self, images: Tensor, parents: Tensor) -> Any:
        return images, parents

    def predict(self, abducted: Any, parents: Tensor) -> Tensor:
        return abducted[0][None].expand(len(parents), -1, -1, -1, -1)

    def provenance(self) -> dict[str, Any]:
        return {"model": self.name}


class Painting(Ignoring):
    """Adds a constant for each unit of change in each parent, and reconstructs too dark by 0.02."""

    name = "painting"
    step = 0.05

    def predict(self, abducted: Any, parents: Tensor) -> Tensor:
        images, own = abducted
        change = (parents - own).sum(-1)[..., None, None, None]
        return (images[None] + self.step * change).clamp(0, 1)

    def reconstruct(self, abducted: Any) -> Tensor:
        return (abducted[0] - 0.02).clamp(0, 1)


class Truthful(Ignoring):
    """Finds the record that an image shows, factual or not, and renders it under other parents."""

    name = "truthful"

    def __init__(self, parents: Parents, truth: PhantomTruth):
        super().__init__(parents, truth.data.size)
        self.truth = truth
        self.known: dict[bytes, int] = {}
        for row in range(len(truth.data)):
            self._remember(truth.data.image(row), row)

    def _remember(self, image: np.ndarray, row: int) -> None:
        self.known[np.round(image * 255).astype(np.uint8).tobytes()] = row

    def abduct(self, images: Tensor, parents: Tensor) -> Any:
        return [self.known[np.round(image[0].numpy() * 255).astype(np.uint8).tobytes()] for image in images]

    def predict(self, abducted: Any, parents: Tensor) -> Tensor:
        records = self.truth.data.records
        out = []
        for each in parents:
            for row, code in zip(abducted, each, strict=True):
                changed = records.iloc[row].copy()
                for parent in self.scm.parents.entries:  # binary ones
                    changed[parent.name] = parent.values[int(code[self.scm.parents.columns(parent.name)][0] > 0)]
                image = self.truth.counterfactual(row, changed)
                self._remember(image, row)
                out.append(torch.from_numpy(image)[None])
        return torch.stack(out).unflatten(0, (len(parents), len(abducted)))
