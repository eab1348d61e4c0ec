"""From a matrix to cells: one method under one setting and one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from densecf.benchmark.cell_options import finetune_config, pretrain_config
from densecf.benchmark.matrix import Matrix
from densecf.benchmark.protocols import NONE, TITLES, Setting, setting_of, uses_counterfactuals
from densecf.benchmark.views_code import without_counterfactuals
from densecf.config import FinetuneConfig, PretrainConfig
from densecf.errors import ConfigError


@dataclass(frozen=True)
class Cell:
    """One method under one setting and one seed.

    Attributes:
        row: the name in tables, such as "S-MVD-CL".
        method: what is pretrained; "none" for random weights. Without counterfactuals ``pretrain`` may name another
            method that then is the same.
        views: view code.
        protocol: "fair" or "authors".
        seed: of pretraining and fine-tuning.
        pretrain: all its options; None for random weights.
        finetune: likewise, but for where it starts and its folds.
        parts: the tables it belongs to: "main", "ablation", "variant".
    """

    row: str
    method: str
    views: str
    protocol: str
    seed: int
    pretrain: PretrainConfig | None
    finetune: FinetuneConfig
    parts: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return " ".join(part for part in (self.row, self.views, self.protocol, f"seed {self.seed}") if part)


def make_cells(matrix: Matrix, source: str) -> list[Cell]:
    """All cells of a matrix, each once, the main rows of the first seed first.

    Args:
        matrix: the comparison.
        source: where counterfactuals come from, or "none".

    Raises:
        ConfigError: options that a method or the fine-tuning does not have.
    """
    found: dict[tuple, Cell] = {}

    def add(part: str, cell: Cell) -> None:
        key = (cell.row, cell.method, cell.views, cell.protocol, cell.seed, repr(cell.pretrain), repr(cell.finetune))
        known = found.setdefault(key, cell)
        found[key] = replace(known, parts=tuple(dict.fromkeys((*known.parts, part))))

    for protocol in matrix.protocols:
        for seed in matrix.seeds if protocol == "fair" else matrix.authors_seeds or matrix.seeds:
            for row in matrix.methods:
                setting = setting_of(protocol, row)
                if protocol == "fair" and matrix.views:
                    setting = replace(setting, views=_usable(matrix.views, row))
                add("main", make_cell(matrix, source, TITLES.get(row, row), row, protocol, seed, setting))
    for variant in matrix.variants:
        for seed in variant.seeds or matrix.seeds:
            code = variant.views or _usable(matrix.views, variant.method) or setting_of("fair", variant.method).views
            setting = Setting(code, pretrain=variant.pretrain)
            add(
                "variant",
                make_cell(matrix, source, variant.name, variant.method, "fair", seed, setting, variant.finetune),
            )
    for seed in matrix.ablation.seeds:
        for row in matrix.ablation.methods:
            for code in matrix.ablation.views:
                title = TITLES.get(row, row)
                add("ablation", make_cell(matrix, source, title, row, "fair", seed, Setting(code)))
    return list(found.values())


def make_cell(
    matrix: Matrix,
    source: str,
    title: str,
    row: str,
    protocol: str,
    seed: int,
    setting: Setting,
    finetune: Mapping[str, Any] | None = None,
) -> Cell:
    """One cell with all its options.

    Args:
        matrix, source: as for `make_cells`.
        title: name of the row.
        row: what the matrix calls it: "none", or a method.
        protocol, seed: of the cell.
        setting: how the protocol, the ablation or the variant runs it.
        finetune: further options of its fine-tuning.

    Raises:
        ConfigError: naming the row, and the options that do not fit.
    """
    method = setting.method or row
    try:
        pretrain = None if method == NONE else pretrain_config(matrix, source, row, method, protocol, seed, setting)
        fine = finetune_config(matrix, pretrain, protocol, seed, finetune or {})
    except ConfigError as error:
        raise ConfigError(f"{title}: {error}") from None
    return Cell(title, method, setting.views, protocol, seed, pretrain, fine)


def _usable(code: str, method: str) -> str:
    if method == NONE:
        return ""
    return code if uses_counterfactuals(method) else without_counterfactuals(code)


def choose(cells: Sequence[Cell], only: Sequence[str]) -> list[int]:
    """Places of the cells that are wanted, by number or by beginnings of the words of their titles; all without any.

    Raises:
        ConfigError: nothing is called so; lists what there is.
    """
    if not only:
        return list(range(len(cells)))
    found: list[int] = []
    for wish in only:
        if wish.isdecimal():
            hits = [int(wish)] if int(wish) < len(cells) else []
        else:
            hits = [place for place, cell in enumerate(cells) if wish.split() and _is_called(cell.title, wish)]
        if not hits:
            titles = "\n".join(f"  {place:3d}  {cell.title}" for place, cell in enumerate(cells))
            raise ConfigError(f"--only {wish}: no such cell; there are\n{titles}")
        found += [hit for hit in hits if hit not in found]
    return found


def _is_called(title: str, wish: str) -> bool:
    words = title.lower().split()
    return all(any(word.startswith(part) for word in words) for part in wish.lower().split())
