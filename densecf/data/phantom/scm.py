"""The phantom's structural causal model: parents, exogenous noise, interventions.

    sex, age, scanner  ->  pleural_effusion (age only)  ->  image = render(parents, noise)
    opacity            ->  image: 0 in the default cohort, drawn independently of all else in the task (task.py)

A record's noise is drawn once, all of it, whatever its parents are: an intervention changes the parents and nothing
else, so the rendered counterfactual is the true one (abduction is exact because the noise is known).
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from densecf.data.intervention_names import settings_of

SCANNERS = ("Aurora DR", "Borealis CR")
UNSEEN_SCANNER = "Cirrus MX"  # in no cohort but the task's, and there in the test split only
ALL_SCANNERS = (*SCANNERS, UNSEEN_SCANNER)
SEXES = ("M", "F")
SIDES = ("left", "right", "both")

# Drawn once a patient: the body. New names go at the end, or every existing patient changes.
BODY = (
    "thorax_width", "thorax_height", "thorax_depth", "thorax_taper", "apex_height", "apex_place", "lung_asymmetry",
    "fat", "neck", "shoulder_slope", "shoulder_width", "arm_angle",
    "heart_size", "heart_place", "heart_tilt", "heart_shape", "aorta", "mediastinum", "pulmonary_trunk",
    "rib_slope", "rib_width", "rib_start", "rib_spacing", "bone_density", "clavicle_slope", "clavicle_place",
    "scapula", "spine_bend", "vertebra", "dome_right", "dome_gap", "dome_curve_right", "dome_curve_left",
    "angle_right", "angle_left", "breast_size", "breast_place", "breast_asymmetry", "hilum_right", "hilum_left",
    "vessels", "cartilage",
)  # fmt: skip

# Drawn once an image: how the patient stood and breathed, the fluid of that day, the exposure.
VISIT = (
    "inspiration", "tilt", "off_centre_x", "off_centre_y", "zoom", "axial_rotation", "stomach", "stomach_place",
    "stomach_level", "bowel", "effusion_side", "effusion_right", "effusion_left", "meniscus_right", "meniscus_left",
    "fluid_edge_right", "fluid_edge_left", "haze", "exposure", "contrast", "collimation_left", "collimation_right",
    "collimation_top", "collimation_bottom", "marker_x", "marker_y", "marker_angle",
    "silver_bias", "silver_jitter", "silver_smooth", "silver_defect", "silver_defect_side", "silver_defect_size",
    "silver_fluid", "silver_rating",
)  # fmt: skip


@dataclass(frozen=True)
class Parents:
    """The variables one can intervene on: `scanner` is one of ALL_SCANNERS, `sex` "M" or "F", the findings 0 or 1."""

    sex: str
    age: float
    scanner: str
    pleural_effusion: int
    opacity: int = 0

    def __post_init__(self) -> None:
        findings = {self.pleural_effusion, self.opacity}
        if self.sex not in SEXES or self.scanner not in ALL_SCANNERS or not findings <= {0, 1}:
            raise ValueError(
                f"no such parents: {self}; sex {SEXES}, scanner {ALL_SCANNERS}, pleural_effusion and opacity 0 or 1"
            )
        if not 0 <= self.age <= 120:
            raise ValueError(f"age {self.age} is outside 0 to 120 years")


@dataclass(frozen=True)
class Noise:
    """Exogenous noise of one record.

    Attributes:
        body: standard normal draws of the patient, clipped at 2.5, by the names in BODY.
        visit: the same for the image, by the names in VISIT.
        body_seed: seeds the patient's fine structure (vessel tree, rib jitter).
        visit_seed: seeds the image's fields (parenchyma, quantum noise).
    """

    body: dict[str, float]
    visit: dict[str, float]
    body_seed: int
    visit_seed: int

    def __getitem__(self, name: str) -> float:
        return self.body[name] if name in self.body else self.visit[name]

    def uniform(self, name: str) -> float:
        """The same draw as a number in (0, 1)."""
        return 0.5 * (1.0 + math.erf(self[name] / math.sqrt(2.0)))


def draw_noise(seed: int, patient: int, record: int) -> Noise:
    """Noise of image `record` of `patient`; images of one patient share `body` and differ in `visit`."""
    body, visit = np.random.default_rng([seed, 11, patient]), np.random.default_rng([seed, 12, record])

    def draws(rng: np.random.Generator, names: tuple[str, ...]) -> dict[str, float]:
        return dict(zip(names, np.clip(rng.standard_normal(len(names)), -2.5, 2.5).tolist(), strict=True))

    body_seed, visit_seed = int(body.integers(2**31)), int(visit.integers(2**31))
    return Noise(draws(body, BODY), draws(visit, VISIT), body_seed, visit_seed)


def effusion_probability(age: float) -> float:
    """P(pleural effusion | age): 11 % at 30 years, 31 % at 60, 54 % at 80; 30 % over the default ages."""
    return 1.0 / (1.0 + math.exp(-(age - 77.0) / 21.0))


def draw_parents(seed: int, patient: int, record: int) -> Parents:
    """Parents from the model: sex and age belong to the patient, scanner and effusion to the image."""
    body, visit = np.random.default_rng([seed, 13, patient]), np.random.default_rng([seed, 14, record])
    sex = SEXES[int(body.random() < 0.48)]
    age = float(np.round(np.clip(body.normal(58.0, 17.0), 18.0, 95.0)))
    scanner = SCANNERS[int(visit.random() < 0.5)]
    return Parents(sex, age, scanner, int(visit.random() < effusion_probability(age)))


def effusion_side(noise: Noise) -> str:
    """Where the fluid is when there is any: left 30 %, right 30 %, both 40 %."""
    u = noise.uniform("effusion_side")
    return SIDES[0 if u < 0.3 else 1 if u < 0.6 else 2]


def intervene(parents: Parents, intervention: str) -> Parents:
    """Apply an intervention written as in the stores, e.g. "scanner=other+pleural_effusion=other" or "sex=F".

    "scanner=other" exchanges the two SCANNERS; from the unseen one it leads to the first of them, and not back.

    Raises:
        ValueError: unknown parent or value.
    """
    changes: dict[str, object] = {}
    for name, value in settings_of(intervention):
        if name == "scanner":
            changes[name] = SCANNERS[int(parents.scanner == SCANNERS[0])] if value == "other" else value
        elif name == "sex":
            changes[name] = SEXES[1 - SEXES.index(parents.sex)] if value == "other" else value
        elif name in ("pleural_effusion", "opacity"):
            changes[name] = 1 - getattr(parents, name) if value == "other" else int(value)
        elif name == "age" and value != "other":
            changes[name] = float(value)
        else:
            raise ValueError(f"unknown intervention {intervention!r}; write parent=value, e.g. scanner=other or sex=F")
    return replace(parents, **changes)  # type: ignore[arg-type]
