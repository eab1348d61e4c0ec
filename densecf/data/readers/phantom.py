"""The phantom as a source of prepared data: images, masks and the true counterfactuals."""

import numpy as np

from densecf.data import phantom
from densecf.data.layout import TRUTH
from densecf.data.sources import Sample

INTERVENTIONS = ("scanner=other", "pleural_effusion=other", "scanner=other+pleural_effusion=other")
OPACITY_INTERVENTIONS = ("scanner=other", "sex=other")


class PhantomSource:
    """The embedded data set. See `densecf.data.phantom.cohort` for the table.

    Masks are the truth for the manual split and silver for the training split. Rendering is a function of
    (seed, row, size) alone, so workers need nothing but this object.
    """

    class_names: tuple[str, ...] = phantom.CLASS_NAMES
    counterfactual_source: str = TRUTH
    counterfactual_names: tuple[str, ...] = INTERVENTIONS

    def __init__(self, num_pretraining: int = 1000, seed: int = 0) -> None:
        """Draw the table of `num_pretraining` images and the 70 manual patients of `seed`."""
        self.num_pretraining, self.seed = num_pretraining, seed
        self.records = phantom.cohort(num_pretraining, seed)

    def load(self, row: int, size: int) -> Sample:
        """Render row `row` at (size, size), with its mask and every counterfactual."""
        entry = self.records.iloc[row]
        factual = phantom.record(self.seed, entry["image"], entry["patient_id"])
        draw_mask = phantom.masks if entry["mask_kind"] == "manual" else phantom.silver_masks

        def image(record: phantom.Record) -> np.ndarray:
            return phantom.render(record.parents, record.noise, size)

        return Sample(
            image=image(factual),
            mask=draw_mask(factual.parents, factual.noise, size),
            affine=np.eye(3),
            pixel_spacing=phantom.FIELD_MM / size,
            counterfactuals={name: image(phantom.counterfactual(factual, name)) for name in self.counterfactual_names},
        )

    def fingerprint(self) -> dict:
        """Everything the content depends on."""
        return {
            "source": "phantom",
            "version": phantom.VERSION,
            "num_pretraining": self.num_pretraining,
            "seed": self.seed,
        }


class OpacitySource(PhantomSource):
    """The opacity task. See `densecf.data.phantom.opacity_cohort` for the table.

    All masks are silver. The true counterfactuals are those that image-level methods contrast: the other scanner of
    the two that pretraining sees (the unseen scanner's images, which are only tested on, get the first one), and the
    other sex.
    """

    counterfactual_names: tuple[str, ...] = OPACITY_INTERVENTIONS

    def __init__(self, num_train: int = 2500, num_val: int = 300, num_test: int = 300, seed: int = 0) -> None:
        """Draw the table; `num_test` images of each of the three scanners."""
        self.counts, self.seed = (num_train, num_val, num_test), seed
        self.records = phantom.opacity_cohort(*self.counts, seed=seed)

    def fingerprint(self) -> dict:
        """Everything the content depends on."""
        return {
            "source": "phantom",
            "version": phantom.VERSION,
            "task": "opacity",
            "task_version": phantom.TASK_VERSION,
            "images": list(self.counts),
            "seed": self.seed,
        }
