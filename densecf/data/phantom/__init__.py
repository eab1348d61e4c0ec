"""A procedural chest radiograph whose truth is known: a structural causal model from noise to image.

from densecf.data import phantom

table = phantom.cohort(num_pretraining=1000, seed=0)
record = phantom.record(0, table.image[0], table.patient_id[0])
image = phantom.render(record.parents, record.noise, 224)
lungs = phantom.masks(record.parents, record.noise, 224)
drained = phantom.counterfactual(record, pleural_effusion=0)

`opacity_cohort` is a second population, with a label to learn and a scanner that is only tested on.
"""

from densecf.data.phantom.cohort import cohort, record
from densecf.data.phantom.fields import FIELD_MM
from densecf.data.phantom.rendering import CLASS_NAMES, Record, counterfactual, line_integrals, masks, render
from densecf.data.phantom.scm import (
    ALL_SCANNERS,
    SCANNERS,
    UNSEEN_SCANNER,
    Noise,
    Parents,
    draw_noise,
    draw_parents,
    effusion_probability,
    effusion_side,
    intervene,
)
from densecf.data.phantom.silver import mask_quality, silver_masks
from densecf.data.phantom.task import opacity_cohort

VERSION = 1  # raised whenever the same seed would give another picture
TASK_VERSION = 1  # the same for what only the opacity task shows: the opacity and the unseen scanner

__all__ = [
    "ALL_SCANNERS",
    "CLASS_NAMES",
    "FIELD_MM",
    "SCANNERS",
    "TASK_VERSION",
    "UNSEEN_SCANNER",
    "VERSION",
    "Noise",
    "Parents",
    "Record",
    "cohort",
    "counterfactual",
    "draw_noise",
    "draw_parents",
    "effusion_probability",
    "effusion_side",
    "intervene",
    "line_integrals",
    "mask_quality",
    "masks",
    "opacity_cohort",
    "record",
    "render",
    "silver_masks",
]
