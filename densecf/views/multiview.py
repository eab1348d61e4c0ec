"""All views of one record at once: what a training sample is made of."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from densecf.errors import ConfigError, DataError
from densecf.views.draws import draw_geometry, draw_photometry, view_seed
from densecf.views.filtering import blur_radius
from densecf.views.geometry import IGNORE, as_size
from densecf.views.parameters import ViewParameters
from densecf.views.photometric import apply_photometry
from densecf.views.warping import inside_grid, sample_images, sample_masks, source_grid, swap_classes

__all__ = ["MultiView", "Views", "view_seed"]


class Views(TypedDict):
    """images (V, 1, h, w) float32, masks (V, h, w) uint8, affines (V, 3, 3) float64: view pixel to input pixel."""

    images: Tensor
    masks: Tensor
    affines: Tensor


class MultiView:
    """Draws one view of each of V aligned images, and of their common mask.

    The same draws, matrices, resampling and changes of intensity as `RandomViewd` followed by
    `RandomPhotometricd`, on plain tensors and for all views in one go. Outside the image a view stays 0
    whatever its photometry.

    Args:
        size: rows and columns of the views, or one number for both.
        parameters: what the views are drawn from.
        flip_pairs: pairs of class indices that a flip exchanges.

    Raises:
        ConfigError: a blur wider than the views.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        parameters: ViewParameters | None = None,
        flip_pairs: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.size = as_size(size)
        self.parameters = parameters or ViewParameters()
        widest, side = self.parameters.blur_sigma[1], min(self.size)
        if self.parameters.blur_prob and blur_radius(widest) >= side:
            raise ConfigError(
                f"views.blur_sigma: a blur of sigma {widest:g} reaches over {blur_radius(widest)} pixels, and the "
                f"views have {side}; expected at most {(side - 1) / 2:g}"
            )
        self.flip_pairs = tuple((int(left), int(right)) for left, right in flip_pairs)

    def __call__(self, images: Sequence[np.ndarray], mask: np.ndarray | None, seeds: Sequence[int]) -> Views:
        """Views of one record; a pure function of its arguments.

        Args:
            images: V aligned images (H, W) with values in [0, 1], the anchor first: counterfactuals of one
                record, or one image V times.
            mask: (H, W) class indices up to 254, with 255 for pixels to ignore, or None.
            seeds: one for each view, from `view_seed`.

        Returns:
            See `Views`. Without a mask, all of masks is IGNORE.

        Raises:
            DataError: images and mask of different shapes, or not one seed for each image.
        """
        shapes = [np.shape(image) for image in images] + ([] if mask is None else [np.shape(mask)])
        if not images or len(images) != len(seeds) or len(set(shapes)) > 1 or len(shapes[0]) != 2:
            raise DataError(
                f"views need aligned (rows, columns) images and mask, and a seed for each image: "
                f"got shapes {shapes} and {len(seeds)} seeds"
            )
        input_size = shapes[0]
        streams = [np.random.RandomState(seed) for seed in seeds]
        geometries = [draw_geometry(stream, self.parameters, input_size) for stream in streams]
        photometries = [
            draw_photometry(stream, self.parameters, may_solarize=view > 0 or self.parameters.solarize_anchor)
            for view, stream in enumerate(streams)
        ]
        affines = np.stack([placed.affine(input_size, self.size) for placed in geometries])

        rows, columns = source_grid(affines, self.size)
        valid = inside_grid(rows, columns, input_size)
        stacked = torch.from_numpy(np.stack(images))[:, None]
        views = sample_images(stacked, affines, valid)
        for view, drawn in enumerate(photometries):
            views[view] = apply_photometry(views[view], drawn)
        views.masked_fill_(~valid[:, None], 0)

        if mask is None:
            masks = torch.full((len(images), *self.size), IGNORE, dtype=torch.uint8)
        else:
            source = torch.from_numpy(np.array(mask, dtype=np.uint8))
            masks = sample_masks(source[None, None], rows, columns, valid)[:, 0]
            for view, placed in enumerate(geometries):
                if placed.flip:
                    masks[view] = swap_classes(masks[view], self.flip_pairs)
        return {"images": views, "masks": masks, "affines": torch.from_numpy(affines)}
