"""Render the phantom: image, true lung masks, true counterfactuals."""

from dataclasses import dataclass, replace

import numpy as np

from densecf.data.phantom import bones, tissue
from densecf.data.phantom.anatomy import anatomy, frame, lungs
from densecf.data.phantom.effusion import fluid
from densecf.data.phantom.opacity import consolidation
from densecf.data.phantom.scanners import expose
from densecf.data.phantom.scm import Noise, Parents, intervene

CLASS_NAMES = ("background", "left_lung", "right_lung")
RIGHT, LEFT = 2, 1  # class indices of side 0 and side 1


@dataclass(frozen=True)
class Record:
    """One image of the phantom: parents and the noise that completes them."""

    parents: Parents
    noise: Noise


def line_integrals(parents: Parents, noise: Noise, size: int) -> np.ndarray:
    """Attenuation along each ray, (size, size) float32, -ln of the part that comes through (no unit).

    Water-equivalent depth in cm, less air, times `tissue.MU`, plus bone.
    """
    a, f = anatomy(parents, noise), frame(noise, size)
    fields = lungs(a, f)
    air_right, air_left = tissue.lung_air(a, fields, f)
    texture = 1.0 + tissue.parenchyma(noise, size)
    pleura = fluid(a, noise, fields, f, parents.pleural_effusion)
    if pleura is not None:
        air_right, air_left = air_right * (1.0 - pleura.cover[0]), air_left * (1.0 - pleura.cover[1])
    air = air_right + air_left
    vessel = tissue.vessels(a, noise, f) * np.clip(air * (1.0 / 5.0), 0.0, 1.0)
    depth = tissue.body(a, parents, noise, f)
    soft_parts = depth + tissue.breasts(a, parents, noise, f) * np.clip(depth * 0.2, 0.0, 1.0)
    gas = np.clip(air * texture - vessel, 0.0, None)
    if parents.opacity:
        gas = gas - consolidation(a, noise, fields, f, gas)
    water = soft_parts - tissue.AIR_IN_LUNG * gas
    water = water - tissue.airways(a, f) - tissue.abdominal_gas(a, noise, f)
    bone = (
        bones.ribs(a, parents, noise, f)
        + bones.spine(parents, noise, f)
        + bones.clavicles(a, parents, noise, f)
        + bones.shoulders(a, parents, noise, f)
    )
    inside = np.clip(depth * 0.5, 0.0, 1.0)
    return np.maximum(tissue.MU * water, 0.0) + bone * inside


def render(parents: Parents, noise: Noise, size: int) -> np.ndarray:
    """The radiograph, (size, size) float32 in [0, 1]; the same patient at any size (64 to 512 are meaningful)."""
    return expose(line_integrals(parents, noise, size), anatomy(parents, noise), noise, parents.scanner)


def masks(parents: Parents, noise: Noise, size: int) -> np.ndarray:
    """True lungs, (size, size) uint8: 0 background, 1 left_lung, 2 right_lung (on the image's left).

    Hidden lung is lung. Depends on sex and age (they shape the chest), never on scanner, effusion or opacity.
    """
    right, left = lungs(anatomy(parents, noise), frame(noise, size)).lung
    out = np.zeros((size, size), np.uint8)
    out[right > 0] = RIGHT
    out[left > 0] = LEFT
    return out


def counterfactual(record: Record, intervention: str = "", **parents: object) -> Record:
    """The record as it would have been: same noise, other parents.

    Args:
        record: the factual record.
        intervention: e.g. "scanner=other+pleural_effusion=other".
        **parents: or values by name, e.g. `pleural_effusion=1`.
    """
    changed = intervene(record.parents, intervention) if intervention else record.parents
    return Record(replace(changed, **parents), record.noise)  # type: ignore[arg-type]
