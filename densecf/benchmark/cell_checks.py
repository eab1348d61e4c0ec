"""What cells cannot be run with, or would ignore: one line a mistake, named as in the comparison's file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from densecf.benchmark.cells import Cell
from densecf.benchmark.matrix import Matrix
from densecf.benchmark.views_code import COUNTERFACTUALS
from densecf.config import PretrainConfig
from densecf.config_values import flat, from_dict, to_dict
from densecf.methods import METHODS
from densecf.presets import idle_options, lacks_radius


def cell_mistakes(cells: Sequence[Cell]) -> list[str]:
    """All mistakes of single rows, each once, whatever the number of seeds."""
    return list(dict.fromkeys(f"{cell.row}: {mistake}" for cell in cells for mistake in _of_cell(cell)))


def _of_cell(cell: Cell) -> Iterator[str]:
    yield from _several_devices("finetune", cell.finetune)
    config = cell.pretrain
    if config is None:
        return
    yield from _several_devices("pretrain", config)
    if config.counterfactuals != "none" and not set(COUNTERFACTUALS) & set(cell.views):
        yield f"counterfactuals: its views {cell.views} are made of none; give it S or D, or leave the source out"
    for name in idle_options(config):
        if name == "intervene":  # which nobody wrote
            yield f"views {cell.views}: S and D have no effect on {config.method}, which sees no counterfactuals here"
            continue
        yield f"{name}: has no effect on {config.method} as it is asked for; leave it out"
    if lacks_radius(config):
        yield "sampling: anywhere needs match_radius: how near to each other points are the same (the authors: 0.1)"
    row = METHODS[config.method]
    if row.objective != "segment" and config.counterfactuals == "none" and not cell.views:
        yield "without any letter of R, C and E all views are the same; give it some"
    if row.objective == "distil" and not {"C", "E"} <= set(cell.views):
        yield "its crops and effects are options of distillation, so its views need C and E"


def unheard_options(matrix: Matrix, cells: Sequence[Cell]) -> list[str]:
    """Options of all rows that no row hears; fine-tuning hears of the network, random weights have it too."""
    used = [flat(to_dict(cell.pretrain)) for cell in cells if cell.pretrain]
    used += [flat({"model": to_dict(cell.finetune)["model"]}) for cell in cells]
    given = flat(to_dict(matrix)["pretrain"])
    meant = flat(to_dict(from_dict(PretrainConfig, matrix.pretrain, "pretrain")))  # YAML reads 1e-3 as text
    unheard = [name for name in given if all(config.get(name) != meant[name] for config in used)]
    text = "no row hears it (the lengths and crops of image-level methods are set under of_method)"
    return [f"pretrain: {', '.join(unheard)}: {text}"] if unheard else []


def _several_devices(command: str, config: Any) -> Iterator[str]:
    if config.hardware.devices not in ("auto", 1) or config.hardware.num_nodes > 1:
        yield f"{command}: each cell runs on one device; leave hardware.devices and hardware.num_nodes out"
