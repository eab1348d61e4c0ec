"""``densecf counterfactuals train``: from options to a run folder with a counterfactual model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from densecf import runs
from densecf.commands.datasets import choose_rows, open_dataset
from densecf.commands.models import COMMAND
from densecf.commands.options import CounterfactualTrainOptions
from densecf.commands.training_run import train_in_run
from densecf.config import PHANTOM, CounterfactualConfig
from densecf.counterfactuals.holdout import held_out
from densecf.counterfactuals.parents import CONTINUOUS, fit_parents
from densecf.data.prepared import PreparedDataset
from densecf.data.records import is_missing
from densecf.errors import ConfigError, DataError

if TYPE_CHECKING:
    from densecf.counterfactuals.scm import StructuralCausalModel

USUAL_PARENTS = ("scanner", "sex", "pleural_effusion")
KNOWN_ENOUGH = 0.9
"""A parent that fewer records know is not taken unasked: the others would be left out."""


def run_train(options: CounterfactualTrainOptions) -> Path | None:
    """Trains, or continues to, and returns the run folder; None in all processes but the first."""
    from densecf.counterfactuals.response import complaint
    from densecf.counterfactuals.training import train_counterfactuals

    config, progress = options.config, not options.run.quiet
    joined = runs.join_run(options.run.out, overwrite=options.run.overwrite)
    if joined is not None and options.run.resume and runs.is_finished(joined):
        return None
    data = open_dataset(config.data, progress=progress)
    config = resolved(config, data)
    rows, scm = rows_and_parents(config, data)
    if joined is not None:
        train_counterfactuals(config, data, rows, scm, joined, resume=options.run.resume)
        return None
    out, facts = train_in_run(
        COMMAND,
        "hvae",
        options.run,
        config,
        data,
        opening=f"Learning what {'; '.join(p.describe() for p in scm.parents.entries)} do to {len(rows)} images",
        train=lambda run: train_counterfactuals(
            config, data, rows, scm, run, resume=options.run.resume, progress=progress
        ),
    )
    if facts is None:
        return out
    moved = ", ".join(f"{name} {shift:.0%}" for name, shift in facts["response"].items())
    print(f"{facts['steps']} steps; counterfactuals carry the mean image so far to the other group's: {moved or '-'}")
    if warning := complaint(facts["response"]):
        print(warning)
    print(f"Run: {out}")
    return out


def resolved(config: CounterfactualConfig, data: PreparedDataset) -> CounterfactualConfig:
    """The config with paths that still mean the same tomorrow and elsewhere, and with the parents by name.

    Raises:
        ConfigError: the network takes images of another size.
    """
    from densecf.counterfactuals.hvae.stages import check_network, parse_stages

    check_network(config.network)
    size = parse_stages(config.network.encoder)[0].size * config.network.patch
    if size != data.size:
        raise ConfigError(
            f"{data.path}: images of {data.size} px, and the network takes {size} px; choose a --preset of that size, "
            "or prepare the dataset at another --size"
        )
    return replace(
        config,
        data=config.data if config.data == PHANTOM else str(data.path.resolve()),
        parents=config.parents or known_parents(data),
        init_from=str(runs.find_weights(config.init_from, COMMAND)) if config.init_from else "",
    )


def known_parents(data: PreparedDataset) -> tuple[str, ...]:
    """Those of the usual parents that nearly all records know, and with two values or more.

    Raises:
        DataError: none.
    """
    found = []
    for name in USUAL_PARENTS:
        if name in data.records:
            values = [value for value in data.records[name] if not is_missing(value)]
            if len(values) >= KNOWN_ENOUGH * len(data) and len(set(values)) > 1:
                found.append(name)
    if not found:
        raise DataError(
            f"{data.path}: none of {', '.join(USUAL_PARENTS)} is known of nearly all records and has two values; name "
            f"the columns to intervene on with --parents; there are: {', '.join(data.records.columns)}"
        )
    return tuple(found)


def rows_and_parents(config: CounterfactualConfig, data: PreparedDataset) -> tuple[list[int], StructuralCausalModel]:
    """The records to learn from: as asked, without held-out patients, all parents known; and their causal model.

    Raises:
        DataError: nothing is left.
    """
    from densecf.counterfactuals.scm import fit_scm

    if unknown := [name for name in config.balance if name not in config.parents]:
        raise ConfigError(f"--balance {' '.join(unknown)}: not among the parents {', '.join(config.parents)}")
    chosen = choose_rows(data, where=config.where, split="train", exclude=config.exclude)
    kept_back = held_out(data.records, share=config.holdout, seed=config.seed)
    rows = [row for row in chosen if not kept_back[row]]
    if not rows:
        raise DataError(f"{data.path}: all {len(chosen)} records are held out; lower --holdout")
    parents, known = fit_parents(data.records.iloc[rows], config.parents, missing=config.missing)
    if not known.all():
        print(f"{int((~known).sum())} of {len(rows)} records have an unknown parent and are left out (--missing)")
    if smooth := [name for name in config.balance if parents[name].kind == CONTINUOUS]:
        raise ConfigError(f"--balance {' '.join(smooth)}: has no groups to balance; name parents with a few values")
    rows = np.asarray(rows)[known].tolist()
    return rows, fit_scm(data.records.iloc[rows], parents, config.edges)
