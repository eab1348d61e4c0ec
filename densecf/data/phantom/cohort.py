"""The default cohort: a training split with silver masks and 70 patients with true ones."""

import pandas as pd

from densecf.data.phantom.population import FIRST_MANUAL, FIRST_OF_TASK, row_of, visits
from densecf.data.phantom.rendering import Record
from densecf.data.phantom.scm import draw_noise, draw_parents
from densecf.data.phantom.task import task_parents
from densecf.errors import DataError

MANUAL_NO_FINDING, MANUAL_EFFUSION = 20, 50


def record(seed: int, image: str, patient_id: str) -> Record:
    """The record behind a row of `cohort(seed=seed)` or `opacity_cohort(seed=seed)`, from `image` and `patient_id`."""
    number, patient = (int(name.rsplit("-", 1)[1]) for name in (image, patient_id))
    return _record(seed, patient, number)


def _record(seed: int, patient: int, number: int) -> Record:
    parents = draw_parents if number < FIRST_OF_TASK else task_parents
    return Record(parents(seed, patient, number), draw_noise(seed, patient, number))


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
    if num_pretraining < 0 or num_pretraining >= FIRST_MANUAL:
        raise DataError(f"num_pretraining is {num_pretraining}; give a number from 0 to {FIRST_MANUAL - 1}")
    patients = visits(num_pretraining, seed, 15)
    rows = [row_of(_record(seed, who, image), seed, who, image, "train") for image, who in enumerate(patients)]
    wanted, number = {0: MANUAL_NO_FINDING, 1: MANUAL_EFFUSION}, FIRST_MANUAL
    while any(wanted.values()):
        effusion = draw_parents(seed, number, number).pleural_effusion
        if wanted[effusion]:
            wanted[effusion] -= 1
            rows.append(row_of(_record(seed, number, number), seed, number, number, "manual"))
        number += 1
    return pd.DataFrame(rows)
