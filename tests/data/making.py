"""Small made-up radiographs and tables for the tests of the data room."""

from pathlib import Path

import numpy as np
from PIL import Image

from densecf.data.readers.table import TableSource


def radiograph(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    """(height, width) uint8 noise with a bright square."""
    image = np.random.default_rng(seed).integers(20, 120, (height, width)).astype(np.uint8)
    image[height // 4 : height // 2, width // 4 : width // 2] = 240
    return image


def lungs(height: int = 40, width: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Binary left and right lung; the patient's left is on the image's right."""
    left, right = np.zeros((2, height, width), np.uint8)
    left[height // 4 : 3 * height // 4, 5 * width // 8 : 7 * width // 8] = 255
    right[height // 4 : 3 * height // 4, width // 8 : 3 * width // 8] = 255
    return left, right


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def cohort(folder: Path, n: int = 12, masks: bool = True, with_mask=lambda i: True) -> Path:
    """A table of ``n`` images of n / 2 patients, every third with effusion; returns the CSV file."""
    rows = ["image,patient_id,pleural_effusion,age,left_lung_mask,right_lung_mask"]
    for i in range(n):
        save(folder / f"images/{i:03d}.png", radiograph(i))
        cells = ["", ""]
        if masks and with_mask(i):
            for side, mask in zip(("left", "right"), lungs(), strict=True):
                cells[side == "right"] = f"masks/{side}_{i:03d}.png"
                save(folder / cells[side == "right"], mask)
        rows.append(f"images/{i:03d}.png,{i // 2:03d},{int(i // 2 % 3 == 0)},{30 + i}.5,{cells[0]},{cells[1]}")
    table = folder / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def source(folder: Path, n: int = 12, **options) -> TableSource:
    return TableSource(cohort(folder, n), **options)
