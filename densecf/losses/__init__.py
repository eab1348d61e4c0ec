"""The one contrastive loss: `info_nce` on rows, `contrast` on views of a batch of images.

`nearby_contrast` is its variant whose positives are near, not the same.
"""

from densecf.losses.gather import all_reduce_sum, distributed_info_nce, gather_rows
from densecf.losses.info_nce import chance_level, info_nce
from densecf.losses.nearby import nearby_chance_level, nearby_contrast
from densecf.losses.pairing import contrast, contrast_chance_level

__all__ = [
    "all_reduce_sum",
    "chance_level",
    "contrast",
    "contrast_chance_level",
    "distributed_info_nce",
    "gather_rows",
    "info_nce",
    "nearby_chance_level",
    "nearby_contrast",
]
