"""How views are drawn: the paper's augmentation parameters. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from densecf.errors import ConfigError

Probability = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class ViewParameters:
    """Ranges that every view of a record is drawn from (paper, section 2, and its public code).

    Attributes:
        rotation: largest rotation either way, in degrees, about the image centre.
        scale: range of the crop's area, as a fraction of the image's area.
        ratio: range of the crop's width over its height, drawn log-uniformly.
        flip_prob: probability of a left-right flip. The paper flips nothing.
        jitter_prob: probability of changing brightness and contrast.
        brightness: the brightness factor is uniform in [1 - brightness, 1 + brightness].
        contrast: the contrast factor is uniform in [1 - contrast, 1 + contrast].
        blur_prob: probability of a Gaussian blur.
        blur_sigma: range of the blur's standard deviation, in view pixels.
        solarize_prob: probability of inverting all values from solarize_threshold upwards.
        solarize_threshold: the image value from which solarising inverts.
        solarize_anchor: whether the anchor (first) view may be solarised. The authors' code never
            does, which tells real anchors from synthetic targets by intensity alone.

    Raises:
        ConfigError: a value is out of its range; the message lists every such value.
    """

    rotation: Annotated[float, Ge(0), Le(180)] = 15.0
    scale: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] = (0.08, 1.0)
    ratio: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (3 / 4, 4 / 3)
    flip_prob: Probability = 0.0
    jitter_prob: Probability = 0.8
    brightness: Annotated[float, Ge(0)] = 0.4
    contrast: Annotated[float, Ge(0)] = 0.4
    blur_prob: Probability = 0.5
    blur_sigma: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.1, 2.0)
    solarize_prob: Probability = 0.2
    solarize_threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    solarize_anchor: bool = True

    def __post_init__(self) -> None:
        problems = [
            f"{name} = {getattr(self, name)}: expected {expected}"
            for name, expected, fits in (
                ("rotation", "degrees in [0, 180]", 0 <= self.rotation <= 180),
                ("scale", "(low, high) with 0 < low <= high <= 1", 0 < self.scale[0] <= self.scale[1] <= 1),
                ("ratio", "(low, high) with 0 < low <= high", 0 < self.ratio[0] <= self.ratio[1] < float("inf")),
                ("brightness", "a number >= 0", 0 <= self.brightness < float("inf")),
                ("contrast", "a number >= 0", 0 <= self.contrast < float("inf")),
                ("blur_sigma", "(low, high) with 0 < low <= high", 0 < self.blur_sigma[0] <= self.blur_sigma[1] <= 64),
                ("solarize_threshold", "a value in [0, 1]", 0 <= self.solarize_threshold <= 1),
                *(
                    (name, "a probability in [0, 1]", 0 <= getattr(self, name) <= 1)
                    for name in ("flip_prob", "jitter_prob", "blur_prob", "solarize_prob")
                ),
            )
            if not fits
        ]
        if problems:
            raise ConfigError("view parameters out of range:\n" + "\n".join(f"  {problem}" for problem in problems))


def flip_pairs(class_names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of class indices that a left-right flip swaps: names equal but for left_ and right_.

    >>> flip_pairs(("background", "left_lung", "right_lung"))
    ((1, 2),)
    """
    index = {name: number for number, name in enumerate(class_names)}
    return tuple(
        (number, index["right_" + name.removeprefix("left_")])
        for name, number in index.items()
        if name.startswith("left_") and "right_" + name.removeprefix("left_") in index
    )
