"""Under which settings the methods are compared: alike ("fair"), or each as its authors ran it ("authors")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from densecf.methods import METHODS

NONE = "none"
"""The row without pretraining."""

TITLES = {
    NONE: "None",
    "simclr": "SimCLR",
    "cf-simclr": "CF-SimCLR",
    "vader": "VADeR",
    "dvd-cl": "DVD-CL",
    "mvd-cl": "MVD-CL",
    "segmentation": "Silver masks",
    "ssdcl": "SSDCL",
    "s-dvd-cl": "S-DVD-CL",
    "s-mvd-cl": "S-MVD-CL",
}
"""What rows are called in tables, in the order of the paper's Table 2; others go by their method's name."""


@dataclass(frozen=True)
class Setting:
    """How one row is run.

    Attributes:
        views: view code (`densecf.benchmark.views_code`).
        method: what is trained, where it is not the row's own name.
        pretrain: further options of the pretraining.
    """

    views: str
    method: str = ""
    pretrain: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """One way to compare.

    Attributes:
        settings: what rows are run with; rows that are not in it get the same views as all others.
        presets: take over what sets the preset of this name apart from the default one.
        epoch: which epoch is reported: the "last", or for each metric and fold the "best" on the held-out fold.
        summary: one line for tables.
    """

    settings: dict[str, Setting]
    presets: str
    epoch: str
    summary: str


PROTOCOLS = {
    "fair": Protocol({}, "", "last", "same initialisation, same augmentation, same folds, last epoch"),
    # From the public code of the pixel-level paper: its SimCLR row contrasts with effusion counterfactuals, VADeR does
    # not rotate, SSDCL neither rotates nor crops.
    "authors": Protocol(
        {
            "simclr": Setting("DRCE", "cf-simclr", {"temperature": 0.5}),
            "vader": Setting("CE"),
            "ssdcl": Setting("E"),
        },
        "authors",
        "best",
        "each row with its authors' settings, each metric at its best epoch on the held-out fold",
    ),
}


def setting_of(protocol: str, method: str) -> Setting:
    """How a protocol runs a row; unless it says otherwise, with every view that the method can use."""
    if method == NONE:
        return Setting("")
    chosen = PROTOCOLS[protocol].settings.get(method)
    return chosen or Setting("SDRCE" if uses_counterfactuals(method) else "RCE")


def uses_counterfactuals(method: str) -> bool:
    """Whether a row is meant to see counterfactuals. Silver masks are an ordinary supervised training in the paper."""
    return method != NONE and METHODS[method].objective != "segment" and bool(METHODS[method].counterfactuals)
