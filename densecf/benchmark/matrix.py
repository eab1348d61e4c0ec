"""The YAML file of a comparison: which methods, views, protocols and seeds, with which options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen

from densecf.benchmark.protocols import NONE, TITLES
from densecf.benchmark.views_code import check_code
from densecf.config import PHANTOM, FinetuneConfig, NonNegative, PretrainConfig, flat, load_yaml, to_dict
from densecf.errors import ConfigError
from densecf.methods import METHODS

Row = Literal[(NONE, *METHODS)]  # type: ignore[valid-type]
Seeds = Annotated[tuple[NonNegative, ...], MinLen(1)]
DECIDED = {
    "pretrain": {
        "method": "methods",
        "data": "data",
        "counterfactuals": "counterfactuals",
        "intervene": "views",
        "seed": "seeds",
    },
    "finetune": {"pretrained": "methods", "data": "data", "seed": "seeds", "test_every": "looks"},
}
"""Options of the commands that the matrix decides itself, and by what."""
FOLDS = ("folds", "folds_file", "where")
"""Options of the fine-tuning that are one for all rows, so that they are tested on the same cases."""
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
    """The row that the others are compared with."""
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
        ConfigError: naming the file and what does not fit.
    """
    matrix = load_yaml(Matrix, path)
    try:
        _check_codes(matrix)
        _check_names(matrix)
        _check_options(matrix)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return matrix


def _check_codes(matrix: Matrix) -> None:
    ablation = matrix.ablation
    codes = [("views", matrix.views), *((f"variant {variant.name}", variant.views) for variant in matrix.variants)]
    for place, code in (*codes, *(("ablation", code) for code in ablation.views)):
        try:
            check_code(code)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None
    if "" in ablation.views:
        raise ConfigError("ablation: a view code without letters, so without views to compare")
    if NONE in ablation.methods:
        raise ConfigError("ablation: the method none has no views")
    if bool(ablation.methods) != bool(ablation.views):
        raise ConfigError("ablation: needs both methods and views")


def _check_names(matrix: Matrix) -> None:
    names = [variant.name for variant in matrix.variants]
    titles = [TITLES.get(method, method) for method in matrix.methods]
    twice = sorted({name for name in (*names, *titles) if (*names, *titles).count(name) > 1})
    if twice:
        raise ConfigError(f"rows need names of their own, and these stand there more than once: {', '.join(twice)}")
    if matrix.baseline not in (*names, *titles):
        raise ConfigError(f"baseline {matrix.baseline!r}: no such row; there are {', '.join((*titles, *names))}")
    rows = {*matrix.methods, *matrix.ablation.methods, *(variant.method for variant in matrix.variants)} - {NONE}
    unknown = sorted(set(matrix.of_method) - rows)
    if unknown:
        raise ConfigError(f"of_method: no row of {', '.join(unknown)}; there are {', '.join(sorted(rows))}")


def _check_options(matrix: Matrix) -> None:
    """Raises ConfigError for options that would be laid over, or that nothing hears."""
    for place, command, options in (
        ("pretrain", "pretrain", matrix.pretrain),
        ("finetune", "finetune", matrix.finetune),
        *((f"of_method: {method}", "pretrain", options) for method, options in matrix.of_method.items()),
        *((f"variant {variant.name}: finetune", "finetune", variant.finetune) for variant in matrix.variants),
    ):
        for name, instead in DECIDED[command].items():
            if name in options:
                raise ConfigError(f"{place}: {name} is decided by {instead}, leave it out here")
    for variant in matrix.variants:
        place = f"variant {variant.name}"
        for name in set(FOLDS) & set(variant.finetune):
            raise ConfigError(f"{place}: finetune: {name} is one for all rows, set it under finetune of the matrix")
        for name in {"method", "data", "seed"} & set(variant.pretrain):
            raise ConfigError(f"{place}: pretrain: {name} is the variant's own, or the matrix's; leave it out here")
        if variant.pretrain.get("counterfactuals") == "auto":
            raise ConfigError(f"{place}: pretrain: name the source of the counterfactuals, or leave it out")
        if variant.method == NONE and (variant.pretrain or variant.views):
            raise ConfigError(f"{place}: the method none has neither views nor options of a pretraining")
    if "authors" not in matrix.protocols and (matrix.authors_without or matrix.authors_seeds):
        raise ConfigError("authors_without, authors_seeds: the protocols do not name authors")
    known = {*flat(to_dict(PretrainConfig())), *flat(to_dict(FinetuneConfig()))}
    unknown = sorted(set(matrix.authors_without) - known)
    if unknown:
        raise ConfigError(f"authors_without: no option {', '.join(unknown)}; expected e.g. model.encoder_weights")
