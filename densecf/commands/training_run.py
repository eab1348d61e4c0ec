"""A training in its run folder: made or resumed, held by one process, finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from densecf import runs
from densecf.commands.options import RunOptions
from densecf.config_values import to_dict
from densecf.data.prepared import PreparedDataset
from densecf.errors import ConfigError


def train_in_run(
    command: str,
    name: str,
    options: RunOptions,
    config: Any,
    data: PreparedDataset,
    *,
    opening: str,
    train: Callable[[Path], dict[str, Any]],
) -> tuple[Path, dict[str, Any] | None]:
    """Trains in a new run folder, or in the one that is resumed.

    Args:
        command: "pretrain" or "counterfactuals": the shelf under ``runs``.
        name: what a new run is called unless the options say.
        options: where the run goes.
        config: all options of the training, kept as ``config.yaml``.
        data: the dataset; a resumed run must have started with the same.
        opening: the line to print first.
        train: does it in the folder, and returns facts for the provenance.

    Returns:
        The folder and the facts; None instead of them when the run was finished already.
    """
    from densecf.training.loop import CHECKPOINT, world_size

    processes = world_size(config.hardware)
    if options.resume:
        out = runs.unfinished_run(command, options.out)
        runs.check_unchanged(out, dataset_checksum=data.checksum)
        if not runs.is_finished(out):
            refuse_other_number(out, processes)
    else:
        out = runs.start_run(
            command,
            options.name or name,
            to_dict(config),
            out=options.out,
            overwrite=options.overwrite,
            provenance={"dataset": str(data.path.resolve()), "dataset_checksum": data.checksum, "processes": processes},
        )
    with runs.working_in(out, resumed=options.resume):
        if options.resume and runs.is_finished(out):
            print(f"Already finished: {out}")
            return out, None
        print(opening)
        with runs.announced(out):
            facts = train(out)
        runs.finish_run(out, command, latest=not options.keep_latest, **facts)
        (out / CHECKPOINT).unlink(missing_ok=True)
    return out, facts


def refuse_other_number(run: Path, processes: int) -> None:
    """Raises ConfigError when a run would go on with another number of processes: its steps would see other records."""
    before = runs.read_provenance(run).get("processes", processes)
    if before != processes:
        raise ConfigError(
            f"{run}: was started by {before} process(es), and {processes} cannot go on with it: each step would see "
            "other records; start as many (torchrun --nproc-per-node, --hardware.devices), or a new run"
        )
