"""``densecf finetune``: folds, leak check, run folder."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pandas as pd

from densecf import runs
from densecf.commands.datasets import choose_rows, open_dataset, with_masks
from densecf.commands.options import FinetuneOptions
from densecf.config import PHANTOM, FinetuneConfig
from densecf.config_values import to_dict
from densecf.data.prepared import PreparedDataset
from densecf.data.problems import listing
from densecf.data.seen import seen_records
from densecf.data.splits import FOLDS, Folds, check_no_leak, make_folds
from densecf.errors import ConfigError, LeakError
from densecf.files import sha256_of_file
from densecf.presets import FINETUNE_PRESETS


def run_finetune(options: FinetuneOptions) -> Path:
    """Fine-tunes in folds, or continues to, and returns the run folder."""
    from densecf.training.finetune import finetune

    config, progress = on_one_device(options.config), not options.run.quiet
    weights = None if config.pretrained == "none" else runs.find_weights(config.pretrained)
    if weights is not None:
        refuse_other_network(config, weights)
    source = config.data if config.data != "auto" else data_of(weights)
    data = open_dataset(source, progress=progress)
    config = replace(
        config,
        pretrained=str(weights) if weights else "none",
        data=PHANTOM if source == PHANTOM else str(data.path.resolve()),
    )
    records = data.records.iloc[with_masks(data, choose_rows(data, where=config.where, split="manual"))]
    external = external_rows(config, data, records)
    if weights is not None:
        refuse_leak(weights, pd.concat([records, data.records.iloc[external]]))
    started_from = {
        "dataset_checksum": data.checksum,
        "pretrained_sha256": sha256_of_file(weights) if weights else "",
    }
    if options.run.resume:
        out = runs.unfinished_run("finetune", options.run.out)
        runs.check_unchanged(out, **started_from)
        if (out / FOLDS).is_file() or (out / "folds").exists():
            folds = Folds.load(out / FOLDS, records)
        else:  # killed in the instant before they were written
            folds = make_or_load_folds(config, records)
            folds.save(out / FOLDS)
    else:
        folds = make_or_load_folds(config, records)
        out = runs.start_run(
            "finetune",
            options.run.name or (weights.parent.name if weights else "baseline"),
            to_dict(config),
            out=options.run.out,
            overwrite=options.run.overwrite,
            provenance={"dataset": str(data.path.resolve()), "pretrained": config.pretrained, **started_from},
        )
        folds.save(out / FOLDS)
    started = time.monotonic()
    with runs.working_in(out, resumed=options.run.resume):
        if options.run.resume and runs.is_finished(out):
            print(f"Already finished: {out}")
            return out
        start = f"from {weights.parent}" if weights else "from random weights"
        print(f"Fine-tuning {start} on {len(records)} masks of {data.path}, {folds.num_folds} folds")
        finetune(
            config,
            data,
            records,
            folds,
            out,
            pretrained=weights,
            external=external,
            resume=options.run.resume,
            progress=progress,
        )
        runs.finish_run(out, "finetune", latest=not options.run.keep_latest, seconds=round(time.monotonic() - started))
    print((out / "summary.md").read_text(encoding="utf-8"))
    print(f"Run: {out}")
    return out


def on_one_device(config: FinetuneConfig) -> FinetuneConfig:
    """Fine-tuning sets are small: one device a run.

    Raises:
        ConfigError: when more were asked for.
    """
    hardware = config.hardware
    if hardware.devices not in ("auto", 1) or hardware.num_nodes > 1:
        raise ConfigError("finetune trains on one device; leave --hardware.devices and --hardware.num-nodes out")
    return replace(config, hardware=replace(hardware, devices=1))


def refuse_other_network(config: FinetuneConfig, weights: Path) -> None:
    """A pretraining run brings its own network: another one asked for with ``--model.*`` is an error.

    Raises:
        ConfigError: naming what was asked for and what the run has.
        CheckpointError: when the file holds no weights of ours.
    """
    from densecf.models.weights import read_facts

    facts = read_facts(weights)
    asked = (config.model.encoder, list(config.model.decoder_channels))
    # An image-level run has no decoder: the one asked for is taken.
    brought = (facts.get("encoder"), facts.get("decoder_channels", asked[1]))
    presets = [(p.model.encoder, list(p.model.decoder_channels)) for p in FINETUNE_PRESETS.values()]
    if asked != brought and asked not in presets:
        raise ConfigError(
            f"{weights}: its network is {brought[0]} with decoder channels {brought[1]}, and --model.* asks for "
            f"{asked[0]} with {asked[1]}; leave --model.* out, or use --from none"
        )


def refuse_leak(weights: Path, records: pd.DataFrame) -> None:
    """A patient to be fine-tuned or tested on must not have been pretrained on.

    Raises:
        LeakError: one was.
        ConfigError: the run of the weights does not say whom it saw.
        DataError: what it says is damaged.
    """
    check_no_leak(set(seen_records(weights.parent)["patient_id"]), set(records["patient_id"]))


def external_rows(config: FinetuneConfig, data: PreparedDataset, records: pd.DataFrame) -> list[int]:
    """The rows of ``--external``; none without it.

    Raises:
        DataError: no record matches, or none of those has a mask.
        LeakError: a patient among them is fine-tuned on.
    """
    if not config.external:
        return []
    rows = with_masks(data, choose_rows(data, where=config.external, split="", option="--external"))
    shared = sorted(set(data.records.iloc[rows]["patient_id"]) & set(records["patient_id"]))
    if shared:
        raise LeakError(
            f"--external {config.external}: {len(shared):,} patients are in the folds too: {listing(shared, 5)}; "
            "choose other records, with --external or with --where"
        )
    return rows


def make_or_load_folds(config: FinetuneConfig, records: pd.DataFrame) -> Folds:
    """The folds asked for, with enough training cases in each.

    Raises:
        ConfigError: too few patients or cases; the message names the option.
    """
    if config.folds_file:
        folds = Folds.load(Path(config.folds_file), records)
        if folds.num_folds != config.folds:
            raise ConfigError(
                f"{config.folds_file}: holds {folds.num_folds} folds, and --folds asks for {config.folds}"
            )
    else:
        folds = make_folds(records, config.folds, seed=config.seed)
    sizes = [len(folds.train_rows(records, number)) for number in range(folds.num_folds)]
    if config.train_cases > min(sizes):
        raise ConfigError(
            f"--train-cases {config.train_cases}: fold {sizes.index(min(sizes))} has only {min(sizes)} to train on"
        )
    if min(config.train_cases or min(sizes), config.batch_size) < 2:
        raise ConfigError("--train-cases, --batch-size: batch normalisation needs at least two images a step")
    return folds


def data_of(weights: Path | None) -> str:
    """The dataset a pretraining run used; the phantom when there is no run.

    Raises:
        ConfigError: for a weights file outside its run folder.
    """
    if weights is None:
        return PHANTOM
    if not runs.is_run(weights.parent):
        raise ConfigError(f"{weights}: not in its run folder, so its dataset is not known; name one with --data")
    return str(runs.read_config(weights.parent).get("data", PHANTOM))
