"""The YAML file of a comparison: which methods, views, protocols and seeds, with which options."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen

from densecf.benchmark.matrix_checks import mistakes
from densecf.benchmark.protocols import NONE, TITLES
from densecf.config import PHANTOM, NonNegative
from densecf.config_values import load_yaml
from densecf.errors import ConfigError
from densecf.methods import METHODS

Row = Literal[(NONE, *METHODS)]  # type: ignore[valid-type]
Seeds = Annotated[tuple[NonNegative, ...], MinLen(1)]
MAIN_ROWS = tuple(name for name in TITLES if name != "cf-simclr")


@dataclass(frozen=True)
class Ablation:
    """Every one of these methods with every one of these views, under "fair"."""

    methods: tuple[Row, ...] = ()
    views: tuple[str, ...] = ()
    """View codes such as SDRCE, RCE, C."""
    seeds: Seeds = (0,)


@dataclass(frozen=True)
class Variant:
    """A row of its own, under "fair", with further options."""

    name: str
    method: Row
    views: str = ""
    """View code; without it: that of the method."""
    pretrain: dict[str, Any] = field(default_factory=dict)
    finetune: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[NonNegative, ...] = ()
    """Without it: those of the matrix."""
    about: str = ""
    """What it is to show, for the report."""


@dataclass(frozen=True)
class Matrix:
    """A comparison. Options under ``pretrain``, ``finetune`` and ``of_method`` are those of the commands, as in their
    ``--config`` files; they are laid over ``preset``."""

    title: str = "Comparison of pretraining methods"
    about: str = ""
    """A few sentences for the report's head."""
    data: str = PHANTOM
    """A prepared dataset, or phantom: the embedded one."""
    counterfactuals: str = "auto"
    """The counterfactuals' source, as in pretrain."""
    scanner: str = "scanner"
    """The parent behind the letter S."""
    disease: str = "pleural_effusion"
    """The parent behind the letter D."""
    views: str = ""
    """View code of all main rows under "fair", e.g. SRCE where no counterfactual of a disease is stored; without it:
    SDRCE. Methods without counterfactuals go without S and D."""
    methods: tuple[Row, ...] = MAIN_ROWS
    """Rows of Table 2."""
    seeds: Seeds = (0,)
    protocols: Annotated[tuple[Literal["fair", "authors"], ...], MinLen(1)] = ("fair",)
    authors_seeds: tuple[NonNegative, ...] = ()
    """Seeds under "authors"; without it: those of the matrix."""
    authors_without: tuple[str, ...] = ()
    """Options of the authors' settings that are left as they are, e.g. model.encoder_weights."""
    baseline: str = TITLES[NONE]
    """The row that the others are compared with, as it is called in tables or by its method."""
    ablation: Ablation = field(default_factory=Ablation)
    variants: tuple[Variant, ...] = ()
    preset: Literal["", "default", "embedded"] = ""
    """Without it: embedded for the phantom, else default."""
    pretrain: dict[str, Any] = field(default_factory=dict)
    finetune: dict[str, Any] = field(default_factory=dict)
    of_method: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further pretraining options of single methods."""
    looks: Annotated[int, Ge(1)] = 5
    """Times that a fine-tuning looks at its held-out fold, for learning curves (10 under "authors")."""
    pictures: NonNegative = 3
    """Cases whose CHRO-maps the report shows."""


def read_matrix(path: Path) -> Matrix:
    """Reads and checks a comparison's file.

    Raises:
        ConfigError: naming the file and all that does not fit.
    """
    matrix = load_yaml(Matrix, path)
    matrix = replace(matrix, baseline=TITLES.get(matrix.baseline, matrix.baseline))
    if found := mistakes(matrix):
        raise ConfigError("\n".join(f"{path}: {mistake}" for mistake in found))
    return matrix
