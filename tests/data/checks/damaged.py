"""A small sound dataset, and ways to damage it: the arrays are prepared, then written to."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from densecf.data.layout import IMAGES, MASKS, NO_MASK
from densecf.data.prepare import prepare
from densecf.data.prepared import PreparedDataset
from densecf.data.records import validate
from densecf.data.sources import Sample

SIZE, CLASSES = 32, ("background", "left_lung", "right_lung")


class MadeUp:
    """n smooth random images that share an average, with a left and a right lung; two images a patient."""

    counterfactual_source, class_names = "made", CLASSES

    def __init__(self, n: int = 80, masks: bool = True, counterfactuals: tuple[str, ...] = (), **columns: Any):
        self.counterfactual_names = counterfactuals
        table = {
            "image": [f"{i:03d}.png" for i in range(n)],
            "patient_id": [f"p{i // 2:03d}" for i in range(n)],
            "split": [("train", "val", "test", "manual")[i // 2 % 4] for i in range(n)],
            "mask_kind": ["silver" if masks else ""] * n,
            "pleural_effusion": [i // 2 % 3 / 2 if i // 2 % 3 != 1 else np.nan for i in range(n)],
        }
        self.records = validate(pd.DataFrame(table | columns))
        self.masks = masks

    def load(self, row: int, size: int) -> Sample:
        mask = lungs(row) if self.masks else None
        others = {
            name: np.clip(picture(row) * 0.98 + 0.01 * i, 0, 1) for i, name in enumerate(self.counterfactual_names)
        }
        return Sample(picture(row), mask, np.eye(3), 1.0, others)

    def fingerprint(self) -> dict[str, Any]:
        return {}


def picture(row: int) -> np.ndarray:
    """(32, 32): dark lungs in a bright body, and structure of its own."""
    generator = np.random.default_rng(row)
    own = np.kron(generator.normal(0, 0.12, (8, 8)), np.ones((4, 4))) + generator.normal(0, 0.02, (SIZE, SIZE))
    return np.clip(np.where(lungs(row) > 0, 0.25, 0.75) + own, 0, 1).astype(np.float32)


def lungs(row: int) -> np.ndarray:
    """(32, 32): the patient's left is on the image's right; sizes vary a little."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[6 : 24 + row % 3, 18 : 26 + row % 2], mask[6 : 24 + row % 3, 5:13] = 1, 2
    return mask


def made(folder: Path, **options: Any) -> PreparedDataset:
    return prepare(MadeUp(**options), folder / "data", size=SIZE, workers=1, progress=False)


def images(data: PreparedDataset) -> np.ndarray:
    return np.lib.format.open_memmap(data.path / IMAGES, "r+")


def masks(data: PreparedDataset) -> np.ndarray:
    array = np.lib.format.open_memmap(data.path / MASKS, "r+")
    assert not (array == NO_MASK).any()
    return array


def flip_mask(data: PreparedDataset, row: int) -> None:
    array = masks(data)
    array[row] = array[row, :, ::-1].copy()
