"""A procedural chest radiograph whose truth is known: a structural causal model from noise to image.

from densecf.data import phantom

table = phantom.cohort(num_pretraining=1000, seed=0)
record = phantom.record(0, table.image[0], table.patient_id[0])
image = phantom.render(record.parents, record.noise, 224)
lungs = phantom.masks(record.parents, record.noise, 224)
drained = phantom.counterfactual(record, pleural_effusion=0)
"""

from densecf.data.phantom.cohort import cohort, record
from densecf.data.phantom.fields import FIELD_MM
from densecf.data.phantom.rendering import CLASS_NAMES, Record, counterfactual, line_integrals, masks, render
from densecf.data.phantom.scm import (
    SCANNERS,
    Noise,
    Parents,
    draw_noise,
    draw_parents,
    effusion_probability,
    effusion_side,
    intervene,
)
from densecf.data.phantom.silver import mask_quality, silver_masks

VERSION = 1  # raised whenever the same seed would give another picture

__all__ = [
    "CLASS_NAMES",
    "FIELD_MM",
    "SCANNERS",
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
    "record",
    "render",
    "silver_masks",
]
