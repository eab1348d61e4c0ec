"""From a matrix to cells: one method under one setting and one seed, each stage named by what decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from densecf.benchmark.matrix import Matrix
from densecf.benchmark.protocols import NONE, PROTOCOLS, TITLES, Setting, setting_of, uses_counterfactuals
from densecf.benchmark.views_code import pretrain_options, without_counterfactuals
from densecf.config import PHANTOM, FinetuneConfig, PretrainConfig, flat, from_dict, to_dict
from densecf.errors import ConfigError
from densecf.methods import METHODS
from densecf.presets import FINETUNE_PRESETS, idle_options, pretrain_presets
from densecf.training.domains import intervened_parents

FORMAT = 1
"""Part of every digest; to be raised when the same options come to mean something else."""
LOOKS = {"authors": 10}  # they evaluate ten times
_NETWORK = ("encoder", "decoder_channels", "encoder_weights")
_WITHOUT_EFFECT = (  # on results; of files their checksums count, and not where they are
    "hardware.workers",
    "checkpoint_minutes",
    "monitor_every",
    "data",
    "init_from",
    "pretrained",
    "folds_file",
)


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


@dataclass(frozen=True)
class Stage:
    """One run folder of a cell: pretrain, finetune or evaluate."""

    command: str
    folder: Path


@dataclass(frozen=True)
class Inputs:
    """What the results depend on besides options.

    Attributes:
        dataset: checksum of the prepared dataset.
        counterfactuals: by source, the checksum of each stored intervention.
        folds: checksum of the folds file.
        weights: by file, the checksum of weights that a pretraining starts from.
    """

    dataset: str
    folds: str
    counterfactuals: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


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
                if protocol == "fair" and matrix.views and row != NONE:
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
        pretrain = None if method == NONE else _pretrain_config(matrix, source, row, method, protocol, seed, setting)
        fine = _finetune_config(matrix, pretrain, protocol, seed, finetune or {})
    except ConfigError as error:
        raise ConfigError(f"{title}: {error}") from None
    return Cell(title, method, setting.views, protocol, seed, pretrain, fine)


def _pretrain_config(
    matrix: Matrix, source: str, row: str, method: str, protocol: str, seed: int, setting: Setting
) -> PretrainConfig:
    parents = {"S": matrix.scanner, "D": matrix.disease}
    presets, authors = pretrain_presets(method), bool(PROTOCOLS[protocol].presets)
    own = [
        matrix.of_method.get(row, {}),
        authors_options(presets, matrix.authors_without) if authors else {},
        pretrain_options(setting.views, parents, source),
        setting.pretrain,
        {"seed": seed, "data": matrix.data},
    ]

    def build(shared: Mapping[str, Any]) -> PretrainConfig:
        options = _merged(to_dict(presets[_preset(matrix)]), [shared, *own])
        if options["counterfactuals"] == "none":
            options["method"] = _without_counterfactuals(method)
        return from_dict(PretrainConfig, options, "pretrain")

    shared = _for_images(matrix.pretrain) if METHODS[method].image_level else matrix.pretrain
    # What all rows are given, some do not hear: a supervised training samples no points.
    return build(_less(shared, idle_options(build(shared))))


def _finetune_config(
    matrix: Matrix, pretrain: PretrainConfig | None, protocol: str, seed: int, further: Mapping[str, Any]
) -> FinetuneConfig:
    model = matrix.pretrain.get("model")  # the row without pretraining has the network of the others
    network = {name: model[name] for name in _NETWORK if name in model} if isinstance(model, Mapping) else {}
    brought: dict[str, Any] = {}
    if pretrain is not None:
        whole = METHODS[pretrain.method].image_level
        brought = {"encoder": pretrain.model.encoder}
        brought |= {} if whole else {"decoder_channels": list(pretrain.model.decoder_channels)}
    options = _merged(
        to_dict(FINETUNE_PRESETS[_preset(matrix)]),
        [
            {"model": {**network, **brought}},
            matrix.finetune,
            authors_options(FINETUNE_PRESETS, matrix.authors_without) if PROTOCOLS[protocol].presets else {},
            further,
            {"seed": seed, "data": matrix.data, "pretrained": NONE},
        ],
    )
    config = from_dict(FinetuneConfig, options, "finetune")
    asked = to_dict(config.model)
    other = [f"model.{name}" for name in brought if asked[name] != brought[name]]
    if other:
        raise ConfigError(
            f"finetune: {', '.join(other)}: a pretrained network is not the one asked for here; say it "
            "under pretrain, and it is that of all rows"
        )
    return replace(config, test_every=max(1, round(config.epochs / LOOKS.get(protocol, matrix.looks))))


def _preset(matrix: Matrix) -> str:
    return matrix.preset or ("embedded" if matrix.data == PHANTOM else "default")


def stages_of(cell: Cell, inputs: Inputs, store: Path) -> list[Stage]:
    """The run folders of a cell, in the order in which they are made; equal options share a folder.

    Args:
        cell: the cell.
        inputs: what its results depend on besides options.
        store: folder of all cells.
    """
    stages, parent, name = [], NONE, cell.pretrain.method if cell.pretrain else NONE
    if cell.pretrain is not None:
        asked = frozenset(cell.pretrain.intervene)
        stored = inputs.counterfactuals.get(cell.pretrain.counterfactuals, {})
        chosen = {name: sha for name, sha in stored.items() if intervened_parents(name) <= asked}
        start = {"init_from": inputs.weights[cell.pretrain.init_from]} if cell.pretrain.init_from else {}
        parent = _digest(cell.pretrain, dataset=inputs.dataset, counterfactuals=chosen, **start)
        stages.append(Stage("pretrain", store / "pretrain" / f"{name}-{parent}"))
    fine = _digest(cell.finetune, dataset=inputs.dataset, folds=inputs.folds, parent=parent)
    stages.append(Stage("finetune", store / "finetune" / f"{name}-{fine}"))
    if cell.pretrain is not None and not METHODS[cell.method].image_level:
        measured = _digest(None, dataset=inputs.dataset, parent=parent)
        stages.append(Stage("evaluate", store / "evaluate" / f"{name}-{measured}"))
    return stages


def authors_options(presets: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """What sets the "authors" preset apart from the default one, less the dotted names in ``without``."""
    default, authors = flat(to_dict(presets["default"])), flat(to_dict(presets["authors"]))
    options: dict[str, Any] = {}
    for name, value in authors.items():
        if value != default[name] and name not in without:
            *rooms, last = name.split(".")
            place = options
            for room in rooms:
                place = place.setdefault(room, {})
            place[last] = value
    return options


def _usable(code: str, method: str) -> str:
    return code if uses_counterfactuals(method) else without_counterfactuals(code)


def _without_counterfactuals(method: str) -> str:
    """The method that this one is without counterfactuals, e.g. VADeR for DVD-CL, so that it is trained once."""
    plain = replace(METHODS[method], counterfactuals="")
    same = [name for name, row in METHODS.items() if replace(row, summary=plain.summary) == plain]
    return same[0] if same else method


def _for_images(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that image-level methods share with the pixel-level ones: which records, which encoder, and what has
    no effect on results. Lengths, rates and crops are their own."""
    shared = {name: options[name] for name in ("where", "exclude", "hardware", "checkpoint_minutes") if name in options}
    model = options.get("model")
    network = {name: model[name] for name in _NETWORK if name in model} if isinstance(model, Mapping) else {}
    return {**shared, "model": network} if network else shared


def _less(options: Mapping[str, Any], names: Sequence[str], room: str = "") -> dict[str, Any]:
    """Options without those of these dotted names."""
    return {
        key: _less(value, names, f"{room}{key}.") if isinstance(value, Mapping) else value
        for key, value in options.items()
        if room + key not in names
    }


def _merged(base: dict[str, Any], layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Options laid over each other, group by group."""
    merged = dict(base)
    for layer in layers:
        for key, value in layer.items():
            deep = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
            merged[key] = _merged(merged[key], [value]) if deep else value
    return merged


def _digest(config: PretrainConfig | FinetuneConfig | None, **inputs: Any) -> str:
    """Twelve hexadecimal digits of the options that differ from their defaults and of the inputs, so that an option
    added to densecf later leaves finished cells what they are."""
    changed: dict[str, Any] = {}
    if config is not None:
        default = flat(to_dict(type(config)()))
        changed = {
            name: value
            for name, value in flat(to_dict(config)).items()
            if value != default[name] and name not in _WITHOUT_EFFECT
        }
    text = json.dumps([FORMAT, changed, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
