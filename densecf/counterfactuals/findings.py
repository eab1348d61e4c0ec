"""What was found of each image that an intervention changes, and several interventions as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from densecf.counterfactuals.interventions import Intervention


@dataclass(frozen=True)
class Findings:
    """What the judges found of one intervention, one entry an image that it changes.

    Attributes:
        intervention: which.
        images: the names of the records.
        before, after: by parent, its value without and with the intervention, as `predictors.targets_of` codes it.
        on_real, on_counterfactual: by parent, what the predictor finds.
        on_truth: the same on the true counterfactual; None where nobody knows it.
        direction: "scanner A->B, pleural_effusion 0->1".
        figures: by name (n,), NaN where not measured: change, composition, composition_after_10,
            reconstruction_error, reversibility, lung_dice, lung_dice_of_truth, segmenter_dice, error_to_truth,
            error_of_doing_nothing, error_of_best_guess.
    """

    intervention: Intervention
    images: np.ndarray
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    on_real: dict[str, np.ndarray]
    on_counterfactual: dict[str, np.ndarray]
    on_truth: dict[str, np.ndarray] | None
    direction: np.ndarray
    figures: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The parents that are set, joined by +."""
        return "+".join(name for name, _ in self.intervention.terms)

    def at(self, places: np.ndarray) -> Findings:
        """Some of the images."""

        def part(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: array[places] for name, array in arrays.items()}

        return Findings(
            self.intervention,
            self.images[places],
            part(self.before),
            part(self.after),
            part(self.on_real),
            part(self.on_counterfactual),
            None if self.on_truth is None else part(self.on_truth),
            self.direction[places],
            part(self.figures),
        )


def pooled(findings: Sequence[Findings]) -> Findings:
    """Several interventions on the same parents as one: "other.1" and "other.2" together."""

    def joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    truths = [f.on_truth for f in findings if f.on_truth is not None]
    return Findings(
        findings[0].intervention,
        np.concatenate([f.images for f in findings]),
        joined([f.before for f in findings]),
        joined([f.after for f in findings]),
        joined([f.on_real for f in findings]),
        joined([f.on_counterfactual for f in findings]),
        joined(truths) if len(truths) == len(findings) else None,
        np.concatenate([f.direction for f in findings]),
        joined([f.figures for f in findings]),
    )
