"""Options of the commands that train: where the run goes, and where it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from densecf.commands.options.kinds import Flag, NoPrefix
from densecf.config import CounterfactualConfig, FinetuneConfig, PretrainConfig


@dataclass(frozen=True)
class RunOptions:
    """Where the run goes."""

    out: Path | None = None
    """Folder of the run; without it: runs/<command>/<name>."""
    name: str = ""
    """Name of the run under runs/<command>; without it: a telling one."""
    config: Path | None = None
    """YAML file with options (any run's config.yaml); flags given beside it win."""
    preset: Literal["default", "embedded", "authors"] | None = None
    """A named set of options; embedded is the one for the phantom, authors follows the papers' code."""
    resume: Flag = False
    """Continue an interrupted run: the one in --out, else the newest unfinished one."""
    overwrite: Flag = False
    """Replace the run that is already in --out."""
    keep_latest: Flag = False
    """Leave runs/<command>/latest where it points to, rather than to this run."""
    quiet: Flag = False
    """No progress bars."""


@dataclass(frozen=True)
class PretrainOptions:
    run: Annotated[RunOptions, NoPrefix]
    config: Annotated[PretrainConfig, NoPrefix] = field(default_factory=PretrainConfig)


@dataclass(frozen=True)
class FinetuneOptions:
    run: Annotated[RunOptions, NoPrefix]
    config: Annotated[FinetuneConfig, NoPrefix] = field(default_factory=FinetuneConfig)


@dataclass(frozen=True)
class CounterfactualRunOptions(RunOptions):
    preset: Literal["embedded", "64", "128", "192", "224", "256", "authors"] | None = None  # type: ignore[assignment]
    """Network and schedule for images of that size (without it: the dataset's); authors is 224 as published."""


@dataclass(frozen=True)
class CounterfactualTrainOptions:
    run: Annotated[CounterfactualRunOptions, NoPrefix]
    config: Annotated[CounterfactualConfig, NoPrefix] = field(default_factory=CounterfactualConfig)
