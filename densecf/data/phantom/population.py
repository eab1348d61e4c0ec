"""What the phantom's cohorts share: who is numbered how, who comes twice, and a record as a row of the table."""

import numpy as np

from densecf.data.phantom.rendering import Record
from densecf.data.phantom.scm import effusion_side
from densecf.data.phantom.silver import mask_quality

# Patient and record numbers: the training split of the default cohort begins at 0; no two ranges meet.
FIRST_MANUAL, FIRST_OF_TASK = 10_000_000, 20_000_000
SECOND_IMAGE = 0.2  # share of patients who came twice


def visits(count: int, *key: int) -> list[int]:
    """Patient of each of `count` images, from 0: most come once, some twice. `key` seeds who does."""
    twice = np.random.default_rng(key).random(count) < SECOND_IMAGE
    patients: list[int] = []
    for patient in range(count):
        patients += [patient] * (1 + int(twice[patient]))
        if len(patients) >= count:
            break
    return patients[:count]


def row_of(record: Record, seed: int, patient: int, image: int, split: str) -> dict[str, object]:
    """A record as a row of the records table."""
    parents = record.parents
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
        "mask_quality": 1.0 if split == "manual" else round(mask_quality(parents, record.noise), 4),
        "effusion_side": effusion_side(record.noise) if parents.pleural_effusion else "",
    }
