"""Records as samples of the image-level methods: two views, or the crops of self-distillation.

Every sample is a pure function of (seed, epoch, row), like those of `densecf.training.datasets`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from densecf.config import DistillationConfig
from densecf.errors import ConfigError
from densecf.training.domains import DomainImages
from densecf.views.multiview import MultiView, view_seed
from densecf.views.parameters import ViewParameters

GLOBAL_CROPS = 2


class ImagePairDataset(Dataset):
    """(epoch, row) -> ``images`` (2, 1, H, W) and ``ids`` (2,), the row's number: two views of a record.

    Args:
        images: which image each view is made of.
        parameters: how views are drawn.
    """

    num_views = 2

    def __init__(self, images: DomainImages, parameters: ViewParameters):
        self.images = images
        self.make_views = MultiView(images.data.size, parameters)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, row = key
        seeds = [view_seed(self.images.seed, epoch, row, view) for view in range(self.num_views)]
        views = self.make_views(self.images(epoch, row), None, seeds)["images"]
        return {"images": views, "ids": torch.full((self.num_views,), row)}


class CropDataset(Dataset):
    """(epoch, row) -> two large crops, several small ones, and which patches of the large ones are masked.

    Returns a dict: ``large`` (2, 1, H, W), ``small`` (L, 1, h, h), ``mask`` (2, H / P, W / P) bool, with masked
    patches in one of the two. The first large crop and the first half of the small ones show the first image of
    `DomainImages`, the others the second.

    Args:
        images: which image each crop is made of.
        parameters: how the large crops are drawn; the probabilities of blur and solarising, and the scale of the
            small crops, are those of ``config``.
        config: of the crops; without iBOT there is no mask.
        patch: P, side of the backbone's patches; 0: none, and no mask.

    Raises:
        ConfigError: small crops that do not divide into patches, or a blur wider than they are.
    """

    def __init__(self, images: DomainImages, parameters: ViewParameters, config: DistillationConfig, patch: int):
        self.images, self.config = images, config
        self.size = images.data.size
        self.grid = self.size // patch if patch and config.ibot else 0
        self.local_size = config.local_size or local_size(self.size, patch)
        if patch and self.local_size % patch:
            raise ConfigError(
                f"distillation.local_size: crops of {self.local_size} px do not divide into the network's patches of "
                f"{patch} px; leave it 0, or give a multiple"
            )
        kinds = [
            replace(parameters, blur_prob=blur, solarize_prob=solarize)
            for blur, solarize in zip(config.blur_probs, config.solarize_probs, strict=True)
        ]
        self.make_large = [MultiView(self.size, kind) for kind in kinds[:GLOBAL_CROPS]]
        self.make_small = MultiView(self.local_size, replace(kinds[-1], scale=config.local_scale))

    @property
    def num_views(self) -> int:
        return GLOBAL_CROPS + self.config.local_crops

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, row = key
        pair = self.images(epoch, row)
        seeds = [view_seed(self.images.seed, epoch, row, view) for view in range(self.num_views + 1)]
        large = [self.make_large[view]([pair[view]], None, seeds[view : view + 1])["images"] for view in (0, 1)]
        count = self.config.local_crops
        halves = [pair[0]] * (count - count // 2) + [pair[1]] * (count // 2)
        small = self.make_small(halves, None, seeds[GLOBAL_CROPS:-1])["images"]
        sample = {"large": torch.cat(large), "small": small}
        if self.grid:
            rng = np.random.default_rng(seeds[-1])
            mask = np.zeros((GLOBAL_CROPS, self.grid, self.grid), dtype=bool)
            mask[rng.integers(GLOBAL_CROPS)] = block_mask(self.grid, rng.uniform(*self.config.mask_share), rng)
            sample["mask"] = torch.from_numpy(mask)
        return sample


def local_size(size: int, patch: int) -> int:
    """Side of the small crops: three sevenths of the large ones, as published (96 of 224), in whole patches."""
    unit = patch or 32  # a ResNet halves its maps five times
    return max(unit, round(size * 3 / 7 / unit) * unit)


def block_mask(grid: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Masked patches in rectangular blocks of random place and aspect, as in BEiT (arXiv 2106.08254, algorithm 1).

    Args:
        grid: patches a side.
        share: of the patches that are masked, at least one and not all.

    Returns:
        (grid, grid) bool with exactly ``round(share * grid ** 2)`` patches set, within those bounds.
    """
    wanted = min(max(1, round(share * grid**2)), grid**2 - 1)
    mask = np.zeros((grid, grid), dtype=bool)
    while (missing := wanted - int(mask.sum())) > 0:
        area = rng.uniform(min(4, missing), missing) if missing > 4 else missing
        aspect = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
        height = int(np.clip(round(np.sqrt(area * aspect)), 1, grid))
        width = int(np.clip(round(np.sqrt(area / aspect)), 1, grid))
        top, left = rng.integers(grid - height + 1), rng.integers(grid - width + 1)
        fresh = np.argwhere(~mask[top : top + height, left : left + width])[:missing]
        mask[top + fresh[:, 0], left + fresh[:, 1]] = True
    return mask
