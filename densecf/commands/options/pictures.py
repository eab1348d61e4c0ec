"""Options of the commands that show what an embedding learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from densecf.commands.options.kinds import Flag, Paths
from densecf.config import Count, Fraction, NonNegative


@dataclass(frozen=True)
class ChromapOptions:
    """Colour every pixel by its embedding: similar colours, similar embeddings."""

    images: tyro.conf.Positional[Paths] = ()
    """Image files; without any: a record of the run's dataset and its counterfactuals."""
    run: str = "latest"
    """Pretraining run whose embedding is shown."""
    record: str = ""
    """Show this record (its image column) of the run's dataset, with its counterfactuals."""
    space: Path | None = None
    """Colour space saved by an earlier call (colour_space.safetensors): the same colours, and no UMAP."""
    fit_pixels: Annotated[Count, tyro.conf.arg(metavar="N")] = 4000
    """Pixels that UMAP is fitted on; all others are placed between their neighbours."""
    mode: Literal["value", "saturation"] = "value"
    """What the radius becomes: the value (paper) or the saturation (authors' code)."""
    alpha: Fraction = 0.5
    """Opacity of the colours over the image."""
    seed: NonNegative = 0
    out: Path | None = None
    """Folder of the product; without it: runs/chromap/<image>."""
    overwrite: Flag = False
    """Replace what is in --out."""


@dataclass(frozen=True)
class ExploreOptions:
    """Write a page on which one points at a pixel and sees how similar all others are to it."""

    images: tyro.conf.Positional[Paths] = ()
    """Image files; without any: a record and its counterfactuals."""
    run: tuple[str, ...] = ("latest",)
    """Pretraining runs that the page switches between."""
    record: str = ""
    """Show this record (its image column) with its counterfactuals, beside the image files if there are any."""
    data: str = "auto"
    """Prepared dataset of the record, phantom, or auto: the one that the runs were pretrained on."""
    error: Annotated[float, tyro.conf.arg(metavar="SIMILARITY")] = 0.05
    """No similarity on the page is wrong by more; a larger error leaves room for more images and runs."""
    out: Path | None = None
    """Folder of the product; without it: runs/explore/<image>."""
    overwrite: Flag = False
    """Replace what is in --out."""
