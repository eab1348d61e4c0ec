"""``densecf pretrain``: from options to a run folder with weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from densecf import runs
from densecf.commands.datasets import choose_rows, open_dataset, with_masks
from densecf.commands.models import with_counterfactuals
from densecf.commands.options import PretrainOptions
from densecf.config import PHANTOM, PretrainConfig, to_dict
from densecf.data.prepared import PreparedDataset
from densecf.methods import METHODS
from densecf.training.loop import CHECKPOINT


def run_pretrain(options: PretrainOptions) -> Path | None:
    """Pretrains, or continues to, and returns the run folder; None in all processes but the first."""
    from densecf.training.pretrain import pretrain

    config, progress = options.config, not options.run.quiet
    joined = runs.join_run(options.run.out) if runs.process_rank() > 0 else None  # then the dataset is complete
    data = with_counterfactuals(config, open_dataset(config.data, progress=progress), progress=progress)
    config = resolved(config, data)
    rows = rows_for(config, data)
    if joined is not None:
        pretrain(config, data, rows, joined, resume=options.run.resume)
        return None
    out = _own_run(options, config, data)
    with runs.working_in(out):
        if options.run.resume and runs.is_finished(out):
            print(f"Already finished: {out}")
            return out
        runs.announce_run(out)
        print(f"Pretraining {config.method} on {len(rows)} images of {data.path}")
        facts = pretrain(config, data, rows, out, resume=options.run.resume, progress=progress)
        runs.finish_run(out, "pretrain", **facts)
        (out / CHECKPOINT).unlink(missing_ok=True)
    print(f"{facts['steps']} steps over {facts['views']} views an image (counterfactuals: {facts['counterfactuals']})")
    print(f"Run: {out}")
    return out


def resolved(config: PretrainConfig, data: PreparedDataset) -> PretrainConfig:
    """The config with paths that still mean the same tomorrow and elsewhere."""
    return replace(
        config,
        data=config.data if config.data == PHANTOM else str(data.path.resolve()),
        init_from=str(runs.find_weights(config.init_from)) if config.init_from else "",
    )


def rows_for(config: PretrainConfig, data: PreparedDataset) -> list[int]:
    """The records to pretrain on: as asked, and with masks where the method needs them."""
    rows = choose_rows(data, where=config.where, split="pretrain", exclude=config.exclude)
    if not METHODS[config.method].needs_masks:
        return rows
    labelled = with_masks(data, rows)
    if len(labelled) < len(rows):
        missing = len(rows) - len(labelled)
        print(f"{missing} of {len(rows)} records have no mask and are left out: {config.method} needs masks")
    return labelled


def _own_run(options: PretrainOptions, config: PretrainConfig, data: PreparedDataset) -> Path:
    """The folder this process writes to: a new one, or the one it resumes."""
    if options.run.resume:
        out = runs.unfinished_run("pretrain", options.run.out)
        runs.check_unchanged(out, dataset_checksum=data.checksum)
        return out
    return runs.start_run(
        "pretrain",
        options.run.name or config.method,
        to_dict(config),
        out=options.run.out,
        overwrite=options.run.overwrite,
        provenance={"dataset": str(data.path.resolve()), "dataset_checksum": data.checksum},
    )
