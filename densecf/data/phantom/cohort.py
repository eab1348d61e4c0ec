"""The default cohort: a training split with silver masks and 70 patients with true ones."""

import numpy as np
import pandas as pd

from densecf.data.phantom.rendering import Record
from densecf.data.phantom.scm import draw_noise, draw_parents, effusion_side
from densecf.data.phantom.silver import mask_quality
from densecf.errors import DataError

MANUAL_NO_FINDING, MANUAL_EFFUSION = 20, 50
SECOND_IMAGE = 0.2  # share of pretraining patients who came twice
_FIRST_MANUAL = 10_000_000  # patient and record numbers from here on are never used for pretraining


def record(seed: int, image: str, patient_id: str) -> Record:
    """The record behind a row of `cohort(seed=seed)`, from its `image` and `patient_id`."""
    number, patient = (int(name.rsplit("-", 1)[1]) for name in (image, patient_id))
    return Record(draw_parents(seed, patient, number), draw_noise(seed, patient, number))


def cohort(num_pretraining: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Records of the embedded data set, one row an image.

    Args:
        num_pretraining: images of the training split; about 30 % have an effusion.
        seed: another seed is another population, no patient in common.

    Returns:
        A table with `image`, `patient_id`, `scanner`, `sex`, `age`, `view`, `pleural_effusion`, `split`
        ("train" or "manual"), `mask_kind` ("silver" or "manual"), `mask_quality` (1 for manual masks) and
        `effusion_side` ("" without effusion). The manual split is always the same 70 patients of a seed: 20 without
        finding, 50 with effusion, one image each, none of them in the training split.

    Raises:
        DataError: `num_pretraining` is negative.
    """
    if num_pretraining < 0 or num_pretraining >= _FIRST_MANUAL:
        raise DataError(f"num_pretraining is {num_pretraining}; give a number from 0 to {_FIRST_MANUAL - 1}")
    rows = [_row(seed, patient, image, "train") for image, patient in enumerate(_visits(num_pretraining, seed))]
    wanted, number = {0: MANUAL_NO_FINDING, 1: MANUAL_EFFUSION}, _FIRST_MANUAL
    while any(wanted.values()):
        effusion = draw_parents(seed, number, number).pleural_effusion
        if wanted[effusion]:
            wanted[effusion] -= 1
            rows.append(_row(seed, number, number, "manual"))
        number += 1
    return pd.DataFrame(rows)


def _visits(count: int, seed: int) -> list[int]:
    # Patient number of each image: most patients come once, some twice.
    twice = np.random.default_rng([seed, 15]).random(count) < SECOND_IMAGE
    visits: list[int] = []
    for patient in range(count):
        visits += [patient] * (1 + int(twice[patient]))
        if len(visits) >= count:
            break
    return visits[:count]


def _row(seed: int, patient: int, image: int, split: str) -> dict[str, object]:
    parents, noise = draw_parents(seed, patient, image), draw_noise(seed, patient, image)
    population = f"phantom{seed or ''}"  # patients of two seeds are never taken for one another
    return {
        "image": f"{population}-{image:06d}",
        "patient_id": f"{population}-patient-{patient:06d}",
        "scanner": parents.scanner,
        "sex": parents.sex,
        "age": parents.age,
        "view": "PA",
        "pleural_effusion": parents.pleural_effusion,
        "split": split,
        "mask_kind": "manual" if split == "manual" else "silver",
        "mask_quality": 1.0 if split == "manual" else round(mask_quality(parents, noise), 4),
        "effusion_side": effusion_side(noise) if parents.pleural_effusion else "",
    }
