"""How a flag is written, for all commands."""

from pathlib import Path
from typing import Annotated

import tyro

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A switch: ``--resume``, without a ``--no-resume``."""
Paths = Annotated[tuple[Path, ...], tyro.conf.arg(help_behavior_hint="")]
"""None unless some are given, as `densecf.config.Names`."""
NoPrefix = tyro.conf.arg(name="")
