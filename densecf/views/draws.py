"""What is random about a view, drawn from one seeded stream. Imports no torch.

Streams are ``np.random.RandomState``: MONAI transforms carry one, and NumPy guarantees its numbers for ever,
so that a seed means the same view in years to come. Each function takes the same numbers from the stream
whatever the parameters, except that a crop that does not fit is drawn again.
"""

import math
from dataclasses import dataclass

import numpy as np

from densecf.views import geometry
from densecf.views.geometry import Affine, Size
from densecf.views.parameters import ViewParameters


def view_seed(seed: int, epoch: int, record: int, view: int) -> int:
    """The seed of one view, in [0, 2**32): a pure function, so no result depends on workers, order or resuming.

    Args:
        seed, epoch, record, view: numbers >= 0.
    """
    return int(np.random.SeedSequence([seed, epoch, record, view]).generate_state(1)[0])


@dataclass(frozen=True)
class Geometry:
    """One view's geometry: rotate, crop, stretch the crop over the view, then flip.

    Attributes:
        degrees: counter-clockwise rotation about the image centre.
        top, left, height, width: the crop, in pixels of the rotated image.
        flip: whether left and right are swapped.
    """

    degrees: float
    top: int
    left: int
    height: int
    width: int
    flip: bool

    def affine(self, input_size: Size, size: Size) -> Affine:
        """View pixel to input pixel, (3, 3) float64."""
        steps = [
            geometry.rotation(self.degrees, input_size),
            geometry.resized_crop(self.top, self.left, self.height, self.width, size),
        ]
        return geometry.compose(*steps, geometry.flip(size)) if self.flip else geometry.compose(*steps)


@dataclass(frozen=True)
class Photometry:
    """One view's change of intensities; see `densecf.views.photometric`. 1, 1 and None change nothing.

    Attributes:
        brightness, contrast: factors.
        contrast_first: whether contrast comes before brightness.
        sigma: standard deviation of the blur in pixels.
        threshold: value from which solarising inverts.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    contrast_first: bool = False
    sigma: float | None = None
    threshold: float | None = None


def draw_geometry(stream: np.random.RandomState, parameters: ViewParameters, input_size: Size) -> Geometry:
    """Draws rotation, flip and crop for an input of `input_size` (rows, columns)."""
    degrees = stream.uniform(-parameters.rotation, parameters.rotation)
    flipped = stream.uniform() < parameters.flip_prob
    top, left, height, width = _draw_crop(stream, parameters.scale, parameters.ratio, input_size)
    return Geometry(degrees, top, left, height, width, bool(flipped))


def draw_photometry(
    stream: np.random.RandomState, parameters: ViewParameters, *, may_solarize: bool = True
) -> Photometry:
    """Draws brightness, contrast and their order, blur and solarising."""
    jitter, contrast_first, blur, solarize = stream.uniform(size=4)
    brightness = stream.uniform(max(0.0, 1 - parameters.brightness), 1 + parameters.brightness)
    contrast = stream.uniform(max(0.0, 1 - parameters.contrast), 1 + parameters.contrast)
    sigma = stream.uniform(*parameters.blur_sigma)
    jittered = jitter < parameters.jitter_prob
    return Photometry(
        brightness=brightness if jittered else 1.0,
        contrast=contrast if jittered else 1.0,
        contrast_first=bool(contrast_first < 0.5),
        sigma=sigma if blur < parameters.blur_prob else None,
        threshold=parameters.solarize_threshold if may_solarize and solarize < parameters.solarize_prob else None,
    )


def _draw_crop(
    stream: np.random.RandomState, scale: tuple[float, float], ratio: tuple[float, float], size: Size
) -> tuple[int, int, int, int]:
    """The rule of torchvision's ``RandomResizedCrop``: ten tries, then the largest central crop of allowed shape."""
    rows, columns = size
    for _ in range(10):
        area = rows * columns * stream.uniform(*scale)
        aspect = math.exp(stream.uniform(math.log(ratio[0]), math.log(ratio[1])))
        height, width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < height <= rows and 0 < width <= columns:
            return stream.randint(rows - height + 1), stream.randint(columns - width + 1), height, width
    height = min(rows, max(1, round(columns / ratio[0])))
    width = min(columns, max(1, round(rows * ratio[1])))
    return (rows - height) // 2, (columns - width) // 2, height, width
