"""The authors' letters for what the views are made of: S D R C E."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from densecf.errors import ConfigError

LETTERS = {
    "S": "counterfactuals of the scanner",
    "D": "counterfactuals of the disease",
    "R": "rotation",
    "C": "resized crop",
    "E": "effects: brightness, contrast, blur, solarise",
}
COUNTERFACTUALS = "SD"
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "R": {"rotation": 0.0},
    "C": {"scale": [1.0, 1.0], "ratio": [1.0, 1.0]},
    "E": {"jitter_prob": 0.0, "blur_prob": 0.0, "solarize_prob": 0.0},
}
"""What a missing letter switches off in `densecf.views.parameters.ViewParameters`."""


def check_code(code: str) -> None:
    """Raises ConfigError unless the code is letters of `LETTERS`, each once at most, in that order."""
    if code != "".join(letter for letter in LETTERS if letter in code):
        raise ConfigError(
            f"views {code!r}: expected some of the letters {''.join(LETTERS)} in this order, each once "
            f"({', '.join(f'{letter}: {what}' for letter, what in LETTERS.items())})"
        )


def without_counterfactuals(code: str) -> str:
    return "".join(letter for letter in code if letter not in COUNTERFACTUALS)


def pretrain_options(code: str, parents: Mapping[str, str], source: str) -> dict[str, Any]:
    """What a code means in the options of a pretraining.

    Args:
        code: such as "SDRCE"; see `check_code`.
        parents: the parent behind S and behind D.
        source: the counterfactuals' source where the code has S or D.

    Returns:
        Options to lay over a `densecf.config.PretrainConfig`, as plain values.
    """
    intervene = [parents[letter] for letter in COUNTERFACTUALS if letter in code]
    views: dict[str, Any] = {}
    for letter, off in AUGMENTATIONS.items():
        if letter not in code:
            views |= off
    options: dict[str, Any] = {"counterfactuals": source, "intervene": intervene} if intervene else {}
    return {**(options or {"counterfactuals": "none"}), "views": views}
