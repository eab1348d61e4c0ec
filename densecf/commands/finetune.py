"""``densecf finetune`` and ``densecf compare``: folds, leak check, run folder, tables."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from densecf import runs
from densecf.commands.datasets import choose_rows, open_dataset, with_masks
from densecf.commands.options import CompareOptions, FinetuneOptions
from densecf.config import PHANTOM, FinetuneConfig, to_dict
from densecf.data.splits import Folds, check_no_leak, make_folds
from densecf.errors import ConfigError
from densecf.files import sha256_of_file

FOLDS = "folds.json"
RECORDS = "records.csv"


def run_finetune(options: FinetuneOptions) -> Path:
    """Fine-tunes in folds, or continues to, and returns the run folder."""
    from densecf.models.weights import read_facts
    from densecf.training.finetune import finetune

    config, progress = on_one_device(options.config), not options.run.quiet
    resumed = runs.unfinished_run("finetune", options.run.out) if options.run.resume else None
    weights = _weights(config.pretrained, resumed)
    data = open_dataset(config.data if config.data != "auto" else data_of(weights), progress=progress)
    records = data.records.iloc[with_masks(data, choose_rows(data, where=config.where, split="manual"))]
    if weights is not None:
        read_facts(weights)  # a foreign file is refused before anything is made
        refuse_leak(weights, records)
    started_from = {
        "dataset_checksum": data.checksum,
        "pretrained": str(weights) if weights else "none",
        "pretrained_sha256": sha256_of_file(weights) if weights else "",
    }
    if resumed is not None:
        out = resumed
        runs.check_unchanged(out, **started_from)
        folds = Folds.load(out / FOLDS, records)
    else:
        folds = _folds(options, records)
        out = runs.start_run(
            "finetune",
            options.run.name or (weights.parent.name if weights else "none"),
            to_dict(config),
            out=options.run.out,
            overwrite=options.run.overwrite,
            provenance={"dataset": str(data.path), **started_from},
        )
        folds.save(out / FOLDS)
    with runs.working_in(out):
        if options.run.resume and runs.is_finished(out):
            print(f"Already finished: {out}")
            return out
        start = f"from {weights.parent}" if weights else "from random weights"
        print(f"Fine-tuning {start} on {len(records)} masks of {data.path}, {folds.num_folds} folds")
        finetune(config, data, records, folds, out, pretrained=weights, resume=options.run.resume, progress=progress)
        runs.finish_run(out, "finetune")
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
    return dataclasses.replace(config, hardware=dataclasses.replace(hardware, devices=1))


def data_of(weights: Path | None) -> str:
    """The dataset a pretraining run used; the phantom when there is no run."""
    if weights is None:
        return PHANTOM
    return str(runs.read_config(weights.parent).get("data", PHANTOM)) if runs.is_run(weights.parent) else PHANTOM


def refuse_leak(weights: Path, records: pd.DataFrame) -> None:
    """Raises LeakError when a patient to be tested was pretrained on."""
    seen = weights.with_name(RECORDS)
    if not seen.is_file():
        raise ConfigError(
            f"{seen}: missing, so it cannot be told which patients {weights} was pretrained on; "
            "keep the whole run folder together"
        )
    patients = pd.read_csv(seen, dtype=str, keep_default_na=False)["patient_id"]
    check_no_leak(set(patients), set(records["patient_id"]))


def run_compare(options: CompareOptions) -> None:
    """Prints the paired differences between two fine-tuning runs."""
    from densecf.evaluation.tables import comparison_markdown, summaries_markdown
    from densecf.training.finetune import compare_runs, read_summary

    run, baseline = runs.find_run("finetune", options.run), runs.find_run("finetune", options.baseline)
    names = (run.name, baseline.name) if run.name != baseline.name else (str(run), str(baseline))
    summaries = dict(zip(names, (read_summary(run), read_summary(baseline)), strict=True))
    print(summaries_markdown(summaries, "Five-fold summary"))
    print(comparison_markdown(compare_runs(run, baseline), *names))


def _weights(which: str, resumed: Path | None) -> Path | None:
    """The weights to start from; a resumed run keeps its own, whatever is the latest by now."""
    if which == "none":
        return None
    return Path(runs.read_provenance(resumed)["pretrained"]) if resumed is not None else runs.find_weights(which)


def _folds(options: FinetuneOptions, records: pd.DataFrame) -> Folds:
    config = options.config
    if not config.folds_file:
        return make_folds(records, config.folds, seed=config.seed)
    folds = Folds.load(Path(config.folds_file), records)
    if folds.num_folds != config.folds:
        raise ConfigError(f"{config.folds_file}: holds {folds.num_folds} folds, and --folds asks for {config.folds}")
    return folds
