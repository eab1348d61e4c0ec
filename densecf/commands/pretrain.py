"""``densecf pretrain``: from options to a run folder with weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from densecf import runs
from densecf.commands.datasets import choose_rows, open_dataset, with_masks
from densecf.commands.models import with_counterfactuals
from densecf.commands.options import PretrainOptions
from densecf.commands.training_run import train_in_run
from densecf.config import PHANTOM, PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.errors import ConfigError
from densecf.methods import METHODS
from densecf.presets import idle_options, lacks_radius


def run_pretrain(options: PretrainOptions) -> Path | None:
    """Pretrains, or continues to, and returns the run folder; None in all processes but the first."""
    from densecf.training.pretrain import pretrain

    config, progress = options.config, not options.run.quiet
    refuse_idle_options(config)
    joined = runs.join_run(options.run.out, overwrite=options.run.overwrite)  # then the dataset is complete
    if joined is not None and options.run.resume and runs.is_finished(joined):
        return None
    data = with_counterfactuals(config, open_dataset(config.data, progress=progress), progress=progress)
    config = resolved(config, data)
    rows = rows_for(config, data)
    if joined is not None:
        pretrain(config, data, rows, joined, resume=options.run.resume)
        return None
    out, facts = train_in_run(
        "pretrain",
        config.method,
        options.run,
        config,
        data,
        opening=f"Pretraining {config.method} on {len(rows)} images of {data.path}",
        train=lambda run: pretrain(config, data, rows, run, resume=options.run.resume, progress=progress),
    )
    if facts is None:
        return out
    print(f"{facts['steps']} steps over {facts['views']} views an image (counterfactuals: {facts['counterfactuals']})")
    print(f"Run: {out}")
    return out


def refuse_idle_options(config: PretrainConfig) -> None:
    """Raises ConfigError for options that were set, other than by a preset, and that the method would ignore."""
    idle = idle_options(config)
    if idle:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise ConfigError(f"{flags}: has no effect on {config.method} as it is asked for; leave it out")
    if lacks_radius(config):
        raise ConfigError(
            "--sampling anywhere takes other points of the image in every view: say with --match-radius how near to "
            "each other they are the same (the authors: 0.1), or leave it out"
        )


def resolved(config: PretrainConfig, data: PreparedDataset) -> PretrainConfig:
    """The config with paths that still mean the same tomorrow and elsewhere."""
    return replace(
        config,
        data=config.data if config.data == PHANTOM else str(data.path.resolve()),
        init_from=str(runs.find_weights(config.init_from)) if config.init_from else "",
    )


def rows_for(config: PretrainConfig, data: PreparedDataset) -> list[int]:
    """The records to pretrain on: as asked, and with masks where the method needs them."""
    rows = choose_rows(data, where=config.where, split="train", exclude=config.exclude)
    if not METHODS[config.method].needs_masks:
        return rows
    labelled = with_masks(data, rows)
    if len(labelled) < len(rows) and not runs.process_rank():
        missing = len(rows) - len(labelled)
        print(f"{missing} of {len(rows)} records have no mask and are left out: {config.method} needs masks")
    return labelled
