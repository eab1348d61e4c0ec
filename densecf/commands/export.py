"""``densecf export``: a trained network as other libraries read it."""

from __future__ import annotations

from pathlib import Path

from densecf import runs
from densecf.commands.options import ExportOptions
from densecf.errors import ConfigError


def run_export(options: ExportOptions) -> Path:
    """Writes the folder, and returns it."""
    run = find_source(options.run, options.fold)

    from densecf.export.make import export
    from densecf.export.source import open_source

    source = open_source(run, options.fold)
    out = options.out or runs.ROOT / "export" / f"{source.name}-{options.format}"
    export(source, options.format, out, overwrite=options.overwrite)
    print(f"Exported {source.weights} for {options.format}, read again and compared with the run")
    print(f"How to load it: {out / 'README.md'}")
    return out


def find_source(which: str, fold: int | None) -> Path:
    """The run folder: fine-tuning runs are called like the pretraining runs they start from, so ``--fold`` decides.

    Raises:
        ConfigError: there is no such run.
    """
    command = "pretrain" if fold is None else "finetune"
    path = Path(which)
    if fold is None and runs.is_run(path) and runs.command_of(path) == "finetune":
        return path.resolve()
    if fold is not None and runs.is_run(path) and runs.command_of(path) == "pretrain":
        raise ConfigError(f"{path}: a pretraining run has no folds; leave --fold out")
    return runs.find_run(command, which)
