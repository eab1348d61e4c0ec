"""How the published networks are written down: "28b14d2" is 14 blocks at 28 x 28, the last one pooling by 2."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from densecf.config import HVAEConfig
from densecf.errors import ConfigError

_STAGE = re.compile(r"(\d+)b(\d+)(?:d(\d+))?")


@dataclass(frozen=True)
class Stage:
    """A run of blocks at one resolution.

    Attributes:
        size: pixels a side.
        blocks: how many.
        down: the last block's average pooling; 1 for none.
    """

    size: int
    blocks: int
    down: int = 1


def parse_stages(text: str) -> tuple[Stage, ...]:
    """The stages of a string such as "224b2d2,112b4d2,1b5".

    Raises:
        ConfigError: a stage that cannot be read, or sizes that do not follow from one another.
    """
    stages = []
    for part in text.split(","):
        match = _STAGE.fullmatch(part.strip())
        if not match or 0 in (int(match[1]), int(match[2]), int(match[3] or 1)):
            raise ConfigError(f"stage {part!r} of {text!r}: expected SIZEbBLOCKS or SIZEbBLOCKSdPOOLING, e.g. 28b14d2")
        stages.append(Stage(int(match[1]), int(match[2]), int(match[3] or 1)))
    for stage, following in itertools.pairwise(stages):
        if stage.down > 1 and stage.size // stage.down != following.size:
            raise ConfigError(
                f"{text!r}: {stage.size} pooled by {stage.down} is {stage.size // stage.down}, not {following.size}"
            )
    return tuple(stages)


def check_network(config: HVAEConfig) -> None:
    """Raises ConfigError unless the two stacks of stages, their widths and their latents fit together."""
    encoder, decoder = parse_stages(config.encoder), parse_stages(config.decoder)
    sizes = [stage.size for stage in encoder]
    if [stage.size for stage in reversed(decoder)] != sizes or decoder[0].size != 1:
        raise ConfigError(
            f"the network's decoder {config.decoder!r} must have the stages of its encoder {config.encoder!r} in "
            "reverse, from size 1 on"
        )
    for name, values in (("widths", config.widths), ("latents", config.latents)):
        if len(values) != len(sizes):
            raise ConfigError(f"the network has {len(sizes)} stages and {len(values)} {name}: one for each is needed")
