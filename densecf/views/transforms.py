"""Views as MONAI dictionary transforms, to be composed with MONAI's own."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.data.utils import to_affine_nd
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_tensor, ensure_tuple
from torch import Tensor

from densecf.errors import DataError
from densecf.views import warping
from densecf.views.draws import Geometry, Photometry, draw_geometry, draw_photometry
from densecf.views.geometry import IGNORE, as_size
from densecf.views.parameters import ViewParameters
from densecf.views.photometric import apply_photometry


class RandomViewd(RandomizableTransform, MapTransform):
    """A random view: rotation, resized crop and flip as one matrix, drawn once a call, and one resample a key.

    The results are ``MetaTensor``s whose ``affine``, (3, 3) float64, is the input's own affine times the view's
    matrix: for an input without one (or with the identity) it maps view pixel to input pixel. Image pixels whose
    source lies outside the input are 0, mask pixels IGNORE (255). Aligned images that should be seen through
    *different* views need one call each.

    Args:
        keys: images (C, H, W), any real type, resampled bilinearly to float32; see `densecf.views.warping.warp`
            for what happens where the view is smaller than its source.
        mask_keys: class indices (C, H, W), resampled by nearest neighbour; their type is kept. A key named in
            both is a mask.
        size: rows and columns of the view, or one number for both; None keeps the input's.
        rotation: largest rotation either way, in degrees.
        scale: range of the crop's area as a fraction of the image's.
        ratio: range of the crop's width over its height.
        flip_prob: probability of a left-right flip.
        flip_pairs: pairs of class indices that a flip exchanges; see `densecf.views.parameters.flip_pairs`.
        allow_missing_keys: skip keys that a record lacks.

    Raises:
        ConfigError: a parameter is out of its range.
        DataError: (at the call) keys of different size, no (C, H, W), or a mask type that cannot hold IGNORE.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_keys: KeysCollection = (),
        *,
        size: int | tuple[int, int] | None = None,
        rotation: float = 15.0,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.0,
        flip_pairs: Sequence[tuple[int, int]] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        self.mask_keys = ensure_tuple(mask_keys)
        images = tuple(key for key in ensure_tuple(keys) if key not in self.mask_keys)
        MapTransform.__init__(self, images + self.mask_keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.size = None if size is None else as_size(size)
        self.parameters = ViewParameters(rotation=rotation, scale=scale, ratio=ratio, flip_prob=flip_prob)
        self.flip_pairs = tuple((int(left), int(right)) for left, right in flip_pairs)
        self.geometry: Geometry | None = None

    def randomize(self, data: tuple[int, int]) -> None:
        """Draws `geometry` for an input of `data` (rows, columns)."""
        self.geometry = draw_geometry(self.R, self.parameters, data)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        record = dict(data)
        inputs = {key: convert_to_tensor(record[key], track_meta=get_track_meta()) for key in self.key_iterator(record)}
        if not inputs:
            return record
        input_size = self._common_size(inputs)
        size = self.size or input_size
        self.randomize(input_size)
        assert self.geometry is not None
        affine = self.geometry.affine(input_size, size)
        for key, tensor in inputs.items():
            record[key] = _with_affine(self._warp(key, tensor, affine, size), tensor, affine)
        return record

    def _warp(self, key: Hashable, tensor: Tensor, affine: np.ndarray, size: tuple[int, int]) -> Tensor:
        plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
        if key not in self.mask_keys:
            return warping.warp(plain, affine, size)
        mask = warping.warp(plain, affine, size, mode="nearest")
        return warping.swap_classes(mask, self.flip_pairs) if self.geometry and self.geometry.flip else mask

    def _common_size(self, inputs: dict[Hashable, Tensor]) -> tuple[int, int]:
        shapes = {key: tuple(tensor.shape) for key, tensor in inputs.items()}
        for key, shape in shapes.items():
            if len(shape) != 3:
                raise DataError(
                    f"key {key!r} has shape {shape}: expected (channel, rows, columns); add EnsureChannelFirstd"
                )
            if key in self.mask_keys and not _holds_ignore(inputs[key].dtype):
                raise DataError(
                    f"mask {key!r} is {inputs[key].dtype}, which cannot hold {IGNORE} for pixels outside the image: "
                    "convert it to uint8 first"
                )
        if len({shape[1:] for shape in shapes.values()}) > 1:
            raise DataError(f"keys that share a view must be aligned and of one size, got {shapes}")
        rows, columns = next(iter(shapes.values()))[1:]
        return rows, columns


class RandomPhotometricd(RandomizableTransform, MapTransform):
    """Brightness and contrast, blur, solarising with the paper's parameters; drawn once a call, for all keys.

    For images (1, H, W) with values in [0, 1]; affines pass through. Contrast lifts the zeros outside the image
    too: `MultiView` sets them back, here they are where the mask says IGNORE.

    Args:
        keys: images to change.
        parameters: ranges; its geometric fields are not used.
        solarize: whether solarising may happen at all.
        allow_missing_keys: skip keys that a record lacks.
    """

    def __init__(
        self,
        keys: KeysCollection,
        parameters: ViewParameters | None = None,
        *,
        solarize: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.parameters = parameters or ViewParameters()
        self.solarize = solarize
        self.photometry = Photometry()

    def randomize(self, data: Any = None) -> None:
        """Draws `photometry`."""
        self.photometry = draw_photometry(self.R, self.parameters, may_solarize=self.solarize)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        record = dict(data)
        self.randomize()
        for key in self.key_iterator(record):
            image = convert_to_tensor(record[key], track_meta=get_track_meta())
            plain = image.as_tensor() if isinstance(image, MetaTensor) else image
            changed = apply_photometry(plain.float(), self.photometry)
            record[key] = _like(changed, image)
        return record


def _with_affine(result: Tensor, source: Tensor, affine: np.ndarray) -> Tensor:
    """`result` with `source`'s metadata and its affine times `affine`, always (3, 3)."""
    moved = _like(result, source)
    if isinstance(moved, MetaTensor) and isinstance(source, MetaTensor):
        moved.affine = to_affine_nd(2, source.affine.double()) @ torch.from_numpy(affine)
    return moved


def _like(result: Tensor, source: Tensor) -> Tensor:
    if not isinstance(source, MetaTensor):
        return result
    moved = MetaTensor(result)
    moved.copy_meta_from(source)
    return moved


def _holds_ignore(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or (dtype != torch.bool and torch.iinfo(dtype).max >= IGNORE)
