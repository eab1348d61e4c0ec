"""A task for representations: find the opacity, on a scanner that pretraining saw often, rarely, or never.

Pretraining and labels have the first scanner nearly always, the second rarely, the third never; the test split has as
many images of each. The opacity has the same chance whatever the scanner, the patient and the effusion, so nothing but
the opacity itself tells of it.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from densecf.data.phantom.population import FIRST_OF_TASK, row_of, visits
from densecf.data.phantom.rendering import Record
from densecf.data.phantom.scm import ALL_SCANNERS, SCANNERS, Parents, draw_noise, draw_parents
from densecf.errors import DataError

PREVALENCE = 0.28  # of the opacity, on each scanner
RARE = 0.06  # share of the second scanner in the splits train and val
MOST = 1_000_000  # images of one block: each of train, val and the test images of a scanner has its own numbers
_BLOCKS: tuple[tuple[str, str], ...] = (("train", ""), ("val", ""), *(("test", name) for name in ALL_SCANNERS))


def task_parents(seed: int, patient: int, number: int) -> Parents:
    """Parents of an image of the task: sex, age and effusion as in the default cohort, scanner and opacity by block."""
    rng = np.random.default_rng([seed, 17, number])
    rare, opaque = rng.random() < RARE, rng.random() < PREVALENCE
    block, place = divmod(number - FIRST_OF_TASK, MOST)
    split, scanner = _BLOCKS[block]
    if split == "test":  # an even share, so that the scanners differ in nothing but themselves
        opaque = int((place + 1) * PREVALENCE) > int(place * PREVALENCE)
    return replace(draw_parents(seed, patient, number), scanner=scanner or SCANNERS[int(rare)], opacity=int(opaque))


def opacity_cohort(num_train: int = 2500, num_val: int = 300, num_test: int = 300, seed: int = 0) -> pd.DataFrame:
    """Records of the task, one row an image.

    Args:
        num_train: images of the split "train"; more of them leave the others as they are.
        num_val: images of the split "val", with scanners as in "train".
        num_test: images of the split "test", of each of the three scanners.
        seed: another seed is another population, no patient in common; nor is there with the default cohorts.

    Returns:
        The columns of `cohort` and `opacity` (1 or 0). All masks are silver; they do not see the opacity.

    Raises:
        DataError: a negative number of images.
    """
    if not all(0 <= count < MOST for count in (num_train, num_val, num_test)):
        raise DataError(f"{num_train}, {num_val} and {num_test} images; give numbers from 0 to {MOST - 1}")
    rows = []
    counts = (num_train, num_val, *(num_test for _ in ALL_SCANNERS))
    for block, ((split, _), count) in enumerate(zip(_BLOCKS, counts, strict=True)):
        first = FIRST_OF_TASK + block * MOST
        for place, patient in enumerate(visits(count, seed, 18, block)):
            number, person = first + place, first + patient
            parents = task_parents(seed, person, number)
            record = Record(parents, draw_noise(seed, person, number))
            rows.append(row_of(record, seed, person, number, split) | {"opacity": float(parents.opacity)})
    return pd.DataFrame(rows)
