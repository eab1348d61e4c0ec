"""What a comparison's file can get wrong although every value has its type: one line a mistake."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from densecf.benchmark.protocols import NONE, TITLES
from densecf.benchmark.views_code import check_code
from densecf.config import FinetuneConfig, PretrainConfig
from densecf.config_values import flat, to_dict
from densecf.data.problems import repeated
from densecf.errors import ConfigError

if TYPE_CHECKING:
    from densecf.benchmark.matrix import Matrix

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
FOLDS = ("folds", "folds_file", "where", "external")
"""Options of the fine-tuning that are one for all rows, so that they are tested on the same cases."""

_OPTIONS = {*flat(to_dict(PretrainConfig())), *flat(to_dict(FinetuneConfig()))}


def mistakes(matrix: Matrix) -> list[str]:
    """All mistakes of a comparison, each naming its place in the file."""
    parts = (_codes, _names, _seeds, _decided_options, _variants, _authors)
    return [line for part in parts for line in part(matrix)]


def in_terms_of_the_file(message: str) -> str:
    """A command's message with the options of its trainings as a comparison's file calls them; the commands that it
    quotes stay as they are to be typed."""

    def name(flag: re.Match[str]) -> str:
        option = flag[1].replace("-", "_")
        if option not in _OPTIONS:
            return flag[0]
        return next((place[option] for place in DECIDED.values() if option in place), option)

    parts = message.split("'")
    return "'".join(part if at % 2 else re.sub(r"--([a-z][a-z.-]*[a-z])", name, part) for at, part in enumerate(parts))


def _codes(matrix: Matrix) -> Iterator[str]:
    ablation = matrix.ablation
    codes = [("views", matrix.views), *((f"variant {variant.name}", variant.views) for variant in matrix.variants)]
    for place, code in (*codes, *(("ablation", code) for code in ablation.views)):
        try:
            check_code(code)
        except ConfigError as error:
            yield f"{place}: {error}"
    if "" in ablation.views:
        yield "ablation: a view code without letters, so without views to compare"
    if NONE in ablation.methods:
        yield "ablation: the method none has no views"
    if bool(ablation.methods) != bool(ablation.views):
        yield "ablation: needs both methods and views"


def _names(matrix: Matrix) -> Iterator[str]:
    names = [variant.name for variant in matrix.variants]
    titles = [TITLES.get(method, method) for method in matrix.methods]
    if twice := repeated([*names, *titles]):
        yield f"rows need names of their own, and these stand there more than once: {', '.join(twice)}"
    if matrix.baseline not in (*names, *titles):
        yield f"baseline {matrix.baseline!r}: no such row; there are {', '.join((*titles, *names))}"
    rows = {*matrix.methods, *matrix.ablation.methods, *(variant.method for variant in matrix.variants)} - {NONE}
    if unknown := sorted(set(matrix.of_method) - rows):
        yield f"of_method: no row of {', '.join(unknown)}; there are {', '.join(sorted(rows))}"


def _seeds(matrix: Matrix) -> Iterator[str]:
    lists = {
        "seeds": matrix.seeds,
        "authors_seeds": matrix.authors_seeds,
        "ablation: seeds": matrix.ablation.seeds,
        **{f"variant {variant.name}: seeds": variant.seeds for variant in matrix.variants},
    }
    for place, seeds in lists.items():
        if twice := repeated(seeds):
            yield f"{place}: {', '.join(map(str, twice))} more than once, and the same seed gives the same result"


def _decided_options(matrix: Matrix) -> Iterator[str]:
    """Options that would be laid over."""
    for place, command, options in (
        ("pretrain", "pretrain", matrix.pretrain),
        ("finetune", "finetune", matrix.finetune),
        *((f"of_method: {method}", "pretrain", options) for method, options in matrix.of_method.items()),
        *((f"variant {variant.name}: finetune", "finetune", variant.finetune) for variant in matrix.variants),
    ):
        for name, instead in DECIDED[command].items():
            if name in options:
                yield f"{place}: {name} is decided by {instead}, leave it out here"


def _variants(matrix: Matrix) -> Iterator[str]:
    for variant in matrix.variants:
        place = f"variant {variant.name}"
        for name in sorted(set(FOLDS) & set(variant.finetune)):
            yield f"{place}: finetune: {name} is one for all rows, set it under finetune of the matrix"
        for name in sorted({"method", "data", "seed"} & set(variant.pretrain)):
            yield f"{place}: pretrain: {name} is the variant's own, or the matrix's; leave it out here"
        if "intervene" in variant.pretrain:
            yield f"{place}: pretrain: intervene is decided by views, leave it out here"
        if variant.pretrain.get("counterfactuals") == "auto":
            yield f"{place}: pretrain: name the source of the counterfactuals, or leave it out"
        if variant.method == NONE and (variant.pretrain or variant.views):
            yield f"{place}: the method none has neither views nor options of a pretraining"


def _authors(matrix: Matrix) -> Iterator[str]:
    if "authors" not in matrix.protocols and (matrix.authors_without or matrix.authors_seeds):
        yield "authors_without, authors_seeds: the protocols do not name authors"
    if unknown := sorted(set(matrix.authors_without) - _OPTIONS):
        yield f"authors_without: no option {', '.join(unknown)}; expected e.g. model.encoder_weights"
