"""Every pretraining method as one row: adding a method is adding a row.

All contrastive methods share one loss, ``densecf.losses.info_nce``. They differ only in what is compared
(``pairing``), what makes two rows "the same" (``same``) and what the views are (``counterfactuals``).
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Method:
    """One pretraining method.

    Attributes:
        objective: "contrast" (the one contrastive loss), "segment" (cross-entropy on the masks) or "distil"
            (self-distillation: DINO-v2).
        pairing: "dual" contrasts the anchor with each target view, in both directions; "multi"
            contrasts all views at once. Meaningless for "segment" and "distil".
        same: what two rows must share to be positives: a "location" or a "class" for pixels, or the "image" they
            come from, which makes the method an image-level one.
        counterfactuals: how stored counterfactuals become views. "all": each is a view beside the real image;
            "pair": half of the views show the record in a domain drawn uniformly, its own or another;
            "sample": all views show it in a domain drawn uniformly, as if it were another image; "": not at all.
        summary: one line for help texts.
    """

    objective: Literal["contrast", "segment", "distil"]
    pairing: Literal["dual", "multi"]
    same: Literal["location", "class", "image"]
    counterfactuals: Literal["", "all", "pair", "sample"]
    summary: str

    @property
    def needs_masks(self) -> bool:
        """Positives are the pixels of a class, so that every image must have a mask."""
        return self.same == "class"

    @property
    def image_level(self) -> bool:
        """Whether whole images are compared, by a backbone, and not pixels, by a U-Net."""
        return self.same == "image"


METHODS: dict[str, Method] = {
    "vader": Method("contrast", "dual", "location", "", "two augmented views, same location"),
    "dvd-cl": Method("contrast", "dual", "location", "all", "anchor against each counterfactual, same location"),
    "mvd-cl": Method("contrast", "multi", "location", "all", "all views at once, same location"),
    "ssdcl": Method("contrast", "multi", "class", "", "two augmented views, same class"),
    "s-dvd-cl": Method("contrast", "dual", "class", "all", "anchor against each counterfactual, same class"),
    "s-mvd-cl": Method("contrast", "multi", "class", "all", "all views at once, same class"),
    "segmentation": Method("segment", "multi", "class", "all", "supervised on the (silver) masks"),
    "simclr": Method("contrast", "multi", "image", "", "image-level: two augmented views of the image"),
    "simclr-plus": Method("contrast", "multi", "image", "sample", "simclr, counterfactuals as further images"),
    "cf-simclr": Method("contrast", "multi", "image", "pair", "simclr, one view in a domain drawn uniformly"),
    "dino": Method("distil", "multi", "image", "", "image-level: DINO-v2 self-distillation of a ViT"),
    "dino-plus": Method("distil", "multi", "image", "sample", "dino, counterfactuals as further images"),
    "cf-dino": Method("distil", "multi", "image", "pair", "dino, half of the crops in a domain drawn uniformly"),
}
