"""How a flag is written, for all commands."""

from typing import Annotated

import tyro

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A switch: ``--resume``, without a ``--no-resume``."""
NoPrefix = tyro.conf.arg(name="")
