"""What the options are before any flag: a preset, a config file, or the run that is resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from densecf import runs
from densecf.commands.options import CounterfactualRunOptions, RunOptions
from densecf.config import PHANTOM, CounterfactualConfig, FinetuneConfig, PretrainConfig
from densecf.config_values import flat, from_dict, load_yaml, to_dict
from densecf.data.layout import read_meta
from densecf.errors import ConfigError
from densecf.methods import METHODS
from densecf.presets import COUNTERFACTUAL_PRESETS, FINETUNE_PRESETS, pretrain_presets

_TRAININGS: dict[str, tuple[type, dict[str, Any], str]] = {  # config, presets, the runs' folder
    "pretrain": (PretrainConfig, pretrain_presets(PretrainConfig.method), "pretrain"),
    "finetune": (FinetuneConfig, FINETUNE_PRESETS, "finetune"),
    "counterfactuals train": (CounterfactualConfig, COUNTERFACTUAL_PRESETS, "counterfactuals"),
}
MAY_CHANGE_ON_RESUME = ("hardware.workers", "checkpoint_minutes")


def default_options(command: str, kind: type, arguments: list[str]) -> Any:
    """The options object that flags are laid over; None where the class's own defaults serve.

    Raises:
        ConfigError: a preset, config file or run to resume that cannot be used.
    """
    wants_help = bool({"-h", "--help"} & set(arguments))
    if command not in _TRAININGS or (wants_help and not {"--preset", "--method"} & set(arguments)):
        return None
    config_kind, presets, folder = _TRAININGS[command]
    method = _value(arguments, "--method") if command == "pretrain" else None
    if method in METHODS:
        presets = pretrain_presets(method)
    _refuse_contradictions(arguments)
    if "--resume" in arguments:
        out = _value(arguments, "--out")
        run = runs.unfinished_run(folder, Path(out) if out else None)
        config: Any = from_dict(config_kind, runs.read_config(run), f"{run}/config.yaml")
    elif file := _value(arguments, "--config"):
        config = load_yaml(config_kind, Path(file))
    else:
        preset = _value(arguments, "--preset") or _preset_for(command, arguments)
        if preset not in presets:
            raise ConfigError(f"--preset {preset}: expected one of {', '.join(presets)}")
        config = presets[preset]
    run_kind = CounterfactualRunOptions if folder == "counterfactuals" else RunOptions
    return kind(run=run_kind(), config=config)


def checked(command: str, options: Any, default: Any) -> Any:
    """The options, once every value has been checked.

    Raises:
        ConfigError: listing every value out of range, or every option that a resumed run cannot change.
    """
    if command not in _TRAININGS:
        from_dict(type(options), to_dict(options), f"densecf {command}")
        return options
    config: Any = from_dict(_TRAININGS[command][0], to_dict(options.config), f"densecf {command}")
    if options.run.resume:
        before, after = flat(to_dict(default.config)), flat(to_dict(config))
        changed = [key for key in after if after[key] != before[key] and key not in MAY_CHANGE_ON_RESUME]
        if changed:
            flags = ", ".join(f"--{key.replace('_', '-')}" for key in changed)
            raise ConfigError(
                f"--resume continues a run as it was configured, so {flags} cannot change; "
                "start a new run, from its weights if you like (--init-from)"
            )
    return dataclasses.replace(options, config=config)


def _refuse_contradictions(arguments: list[str]) -> None:
    """Raises ConfigError for flags of which one would be ignored."""
    given = {word.split("=", 1)[0] for word in arguments}
    pairs = [("--resume", other) for other in ("--config", "--preset", "--overwrite", "--name", "--init-from")]
    pairs += [("--config", "--preset"), ("--out", "--name")]
    clashes = [f"{one} and {other}" for one, other in pairs if {one, other} <= given]
    if "--overwrite" in given and "--out" not in given:
        clashes.append("--overwrite without --out")
    if clashes:
        raise ConfigError(f"these do not go together: {'; '.join(clashes)}")


def _preset_for(command: str, arguments: list[str]) -> str:
    """embedded for the phantom, else default; fine-tuning takes its data from the pretraining run, and a
    counterfactual model its size from the dataset."""
    data = _value(arguments, "--data")
    if command == "counterfactuals train" and data not in (None, PHANTOM):
        return _preset_for_size(Path(data))
    if data in (None, "auto") and command == "finetune":
        source = _value(arguments, "--from") or "latest"
        if source != "none":
            run = runs.find_weights(source).parent
            data = runs.read_config(run).get("data") if runs.is_run(run) else None
    return "embedded" if data in (None, "auto", PHANTOM) else "default"


def _preset_for_size(dataset: Path) -> str:
    """Raises ConfigError when there is no network for images of this size."""
    size = str(read_meta(dataset)["size"])
    if size not in COUNTERFACTUAL_PRESETS:
        sizes = ", ".join(name for name in COUNTERFACTUAL_PRESETS if name.isdigit())
        raise ConfigError(
            f"{dataset}: images of {size} px; networks are preset for {sizes} px: prepare the dataset at one of them, "
            "or write a network into a --config file"
        )
    return size


def _value(arguments: list[str], flag: str) -> str | None:
    """The value given for a flag, as ``--flag VALUE`` or ``--flag=VALUE``; the last one wins."""
    found = None
    for place, word in enumerate(arguments):
        if word == flag and place + 1 < len(arguments):
            found = arguments[place + 1]
        elif word.startswith(flag + "="):
            found = word.split("=", 1)[1]
    return found
