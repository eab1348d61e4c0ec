"""Every pretraining method as one row: adding a method is adding a row.

All contrastive methods share one loss, ``densecf.losses.info_nce``. They differ only in which pixels
are compared (``pairing``), what makes two pixels "the same" (``same``) and what the views are.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Method:
    """One pretraining method.

    Attributes:
        objective: "contrast" (the one contrastive loss) or "segment" (cross-entropy on the masks).
        pairing: "dual" contrasts the anchor with each target view, in both directions; "multi"
            contrasts all views at once. Meaningless for "segment".
        same: what two pixels must share to be positives: a "location" or a "class".
        counterfactuals: whether the target views are counterfactuals when the dataset holds them.
        summary: one line for help texts.
    """

    objective: Literal["contrast", "segment"]
    pairing: Literal["dual", "multi"]
    same: Literal["location", "class"]
    counterfactuals: bool
    summary: str

    @property
    def needs_masks(self) -> bool:
        return self.same == "class"


METHODS: dict[str, Method] = {
    "vader": Method("contrast", "dual", "location", False, "two augmented views, same location"),
    "dvd-cl": Method("contrast", "dual", "location", True, "anchor against each counterfactual, same location"),
    "mvd-cl": Method("contrast", "multi", "location", True, "all views at once, same location"),
    "ssdcl": Method("contrast", "multi", "class", False, "two augmented views, same class"),
    "s-dvd-cl": Method("contrast", "dual", "class", True, "anchor against each counterfactual, same class"),
    "s-mvd-cl": Method("contrast", "multi", "class", True, "all views at once, same class"),
    "segmentation": Method("segment", "multi", "class", True, "supervised on the (silver) masks"),
}
