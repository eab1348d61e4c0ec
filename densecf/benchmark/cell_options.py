"""All options of a cell: a preset, and over it what the matrix, the protocol, the views and the row say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from densecf.benchmark.matrix import Matrix
from densecf.benchmark.protocols import NONE, PROTOCOLS, Setting
from densecf.benchmark.views_code import pretrain_options
from densecf.config import PHANTOM, FinetuneConfig, PretrainConfig
from densecf.config_values import flat, from_dict, to_dict
from densecf.errors import ConfigError
from densecf.methods import METHODS
from densecf.presets import FINETUNE_PRESETS, idle_options, pretrain_presets

LOOKS = {"authors": 10}  # they evaluate ten times
_NETWORK = ("encoder", "decoder_channels", "encoder_weights")


def pretrain_config(
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


def finetune_config(
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
