"""``densecf pretrain``: from options to a run folder with weights."""

from __future__ import annotations

from pathlib import Path

from densecf import runs
from densecf.commands.datasets import choose_rows, open_dataset, with_masks
from densecf.commands.options import PretrainOptions
from densecf.config import to_dict
from densecf.data.prepared import PreparedDataset
from densecf.methods import METHODS
from densecf.training.loop import CHECKPOINT


def run_pretrain(options: PretrainOptions) -> Path | None:
    """Pretrains, or continues to, and returns the run folder; None in all processes but the first."""
    from densecf.training.pretrain import pretrain

    config, progress = options.config, not options.run.quiet
    data = open_dataset(config.data, progress=progress)
    rows = choose_rows(data, where=config.where, split="pretrain", exclude=config.exclude)
    method = METHODS[config.method]
    if method.needs_masks:
        labelled = with_masks(data, rows)
        if len(labelled) < len(rows):
            missing = len(rows) - len(labelled)
            print(f"{missing} of {len(rows)} records have no mask and are left out: {config.method} needs masks")
        rows = labelled
    if runs.process_rank() > 0:
        out = runs.join_run(options.run.out)
        pretrain(config, data, rows, out, init_from=_weights_before(out), resume=options.run.resume)
        return None
    out = _own_run(options, data)
    with runs.working_in(out):
        if options.run.resume and runs.is_finished(out):
            print(f"Already finished: {out}")
            return out
        runs.announce_run(out)
        print(f"Pretraining {config.method} on {len(rows)} images of {data.path}")
        facts = pretrain(
            config, data, rows, out, init_from=_weights_before(out), resume=options.run.resume, progress=progress
        )
        runs.finish_run(out, "pretrain", **facts)
        (out / CHECKPOINT).unlink(missing_ok=True)
    print(f"{facts['steps']} steps over {facts['views']} views an image (counterfactuals: {facts['counterfactuals']})")
    print(f"Run: {out}")
    return out


def _own_run(options: PretrainOptions, data: PreparedDataset) -> Path:
    """The folder this process writes to: a new one, or the one it resumes."""
    if options.run.resume:
        out = runs.unfinished_run("pretrain", options.run.out)
        runs.check_unchanged(out, dataset_checksum=data.checksum)
        return out
    init_from = str(runs.find_weights(options.init_from)) if options.init_from else ""
    return runs.start_run(
        "pretrain",
        options.run.name or options.config.method,
        to_dict(options.config),
        out=options.run.out,
        overwrite=options.run.overwrite,
        provenance={"dataset": str(data.path), "dataset_checksum": data.checksum, "init_from": init_from},
    )


def _weights_before(out: Path) -> Path | None:
    """The weights that the run in ``out`` was told to start from."""
    before = runs.read_provenance(out).get("init_from")
    return Path(before) if before else None
