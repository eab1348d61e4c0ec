"""A generator without a network, whose counterfactuals are known: each parent adds its own pattern."""

import time

import numpy as np
import pandas as pd
import torch

from densecf.counterfactuals.parents import fit_parents
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.data.sources import Sample

SIZE = 16


def weights(width: int) -> torch.Tensor:
    return 0.03 * (1 + torch.arange(width))


class FakeGenerator:
    """image + a weighted sum of (new parents - own parents), clamped; counts what it was asked."""

    name = "fake"

    def __init__(self, records, names=("scanner", "pleural_effusion"), *, size=SIZE, pause=0.0, weights="abc", **fit):
        self.size, self.pause, self.weights = size, pause, weights
        self.scm = StructuralCausalModel(fit_parents(records, names, **fit)[0])
        self.abducted = 0
        self.calls: list[tuple[int, ...]] = []

    def abduct(self, images, parents):
        self.abducted += len(images)
        time.sleep(self.pause)
        return images, parents

    def predict(self, abducted, parents):
        images, own = abducted
        self.calls.append(tuple(parents.shape[:2]))
        shift = ((parents - own) * weights(parents.shape[-1])).sum(dim=-1)
        return (images + shift[:, :, None, None, None]).clamp(0, 1)

    def provenance(self):
        return {"model": "fake", "weights_sha256": self.weights}


class FakeSource:
    """Random images of 16 pixels, four scanners, some records without scanner or effusion."""

    class_names = ("background", "lung")
    counterfactual_source = "truth"
    counterfactual_names: tuple[str, ...] = ("scanner=other.1",)

    def __init__(self, n: int = 22, unknown: tuple[int, ...] = (5, 13)):
        scanners = ["" if i in unknown else "ABC"[i % 3] for i in range(n)]
        effusion = [np.nan if i in unknown[:1] else float(i % 4 == 0) for i in range(n)]
        self.records = pd.DataFrame(
            {
                "image": [f"image-{i:04d}.png" for i in range(n)],
                "patient_id": [f"{i:04d}" for i in range(n)],
                "mask_kind": [""] * n,
                "scanner": scanners,
                "pleural_effusion": effusion,
                "age": [20.0 + i for i in range(n)],
            }
        )

    def load(self, row: int, size: int) -> Sample:
        image = 0.3 + 0.4 * np.random.default_rng(row).random((size, size)).astype(np.float32)
        return Sample(image, None, np.eye(3), float("nan"), {"scanner=other.1": 1 - image})

    def fingerprint(self):
        return {"reader": "fake", "n": len(self.records)}


def expected(dataset, generator, intervention, row: int) -> np.ndarray:
    """What the fake generator gives for one record."""
    records = dataset.records.iloc[[row]]
    scm = generator.scm
    shift = torch.from_numpy(scm.encode(scm.intervene(records, intervention)) - scm.encode(records))[0]
    image = torch.from_numpy(dataset.image(row))
    return (image + (shift * weights(len(shift))).sum()).clamp(0, 1).numpy()
