"""``densecf probe``: how well a label is predicted from image features, at several shares of the labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from densecf import runs
from densecf.commands.datasets import open_dataset
from densecf.commands.defaults import MAY_CHANGE_ON_RESUME
from densecf.commands.networks import NONE, Network, dataset_of, open_networks, run_name
from densecf.commands.options import ProbeOptions
from densecf.commands.probe_data import foreign_patients, gather_tests, labels_and_split
from densecf.config import ClassifierConfig
from densecf.config_values import flat, from_dict, to_dict
from densecf.data.label_split import LabelSplit
from densecf.data.labels import Labels
from densecf.data.prepared import PreparedDataset
from densecf.data.problems import listing
from densecf.errors import ConfigError
from densecf.files import atomic_path, write_json_atomic, write_text_atomic

if TYPE_CHECKING:
    from densecf.evaluation.label_efficiency import Fit, LinearFits, Task, TestSet

TABLE, SUMMARY, REPORT = "probe.csv", "probe.json", "probe.md"
PICTURE, CURVES = "probe.png", "curves.csv"


def run_probe(options: ProbeOptions) -> Path:
    """Writes tables and picture into a run folder, and returns it."""
    from densecf.evaluation.label_efficiency import measure

    refuse_idle_options(options)
    options, progress = on_one_device(options), not options.quiet
    networks = open_networks(options.run, options.encoder)
    data = open_dataset(dataset_of(networks, options.dataset), progress=progress)
    networks = [network.sized(data.size) for network in networks]
    externals = [PreparedDataset.open(Path(path)) for path in options.data]
    for network in networks:
        for each in (data, *externals):
            network.check_size(each)
    labels, split = labels_and_split(data, options, networks)
    tests, notes = gather_tests(data, labels, split, externals, options)
    notes = list(filter(None, [split.note, *notes, *foreign_patients(networks, externals, tests[1:])]))
    task = make_task(data, labels, split, tests, options)
    for seed in task.seeds:
        task.subsets(seed)  # what cannot be drawn is said before any image is read
    print("\n".join([opening(data, labels, split, tests), *notes]))
    out = open_folder(options, networks, [data, *externals])
    with runs.working_in(out, resumed=options.resume):
        if options.resume and runs.is_finished(out):
            print(f"Already finished: {out}")
            return out
        tables, fits = [], []
        for place, network in enumerate(networks):
            fit = (
                full_fits(network, task, [data, *externals], options, out / "fits" / str(place))
                if options.finetune
                else linear_fits(network, task, [data, *externals], progress)
            )
            table, facts = measure(network.name, task, fit)
            tables.append(table)
            fits += facts
        report = write_results(out, task, networks, tables, fits, notes, options)
        runs.finish_run(out, "probe")
    print(report)
    print(f"Picture: {out / PICTURE}")
    print(f"Run: {out}")
    return out


def refuse_idle_options(options: ProbeOptions) -> None:
    """Raises ConfigError for options of --finetune without it: a linear probe would ignore them."""
    before, after = to_dict(ClassifierConfig()), to_dict(options.training)
    idle = [name for name in after if after[name] != before[name]]
    if (idle or options.resume) and not options.finetune:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in [*idle, *(["resume"] if options.resume else [])])
        raise ConfigError(f"{flags}: has an effect with --finetune only")
    if options.encoder and NONE not in options.run:
        raise ConfigError("--encoder: has an effect beside --run none only; a pretraining run brings its own network")


def on_one_device(options: ProbeOptions) -> ProbeOptions:
    """Labelled sets are small: one device a training.

    Raises:
        ConfigError: when more were asked for.
    """
    hardware = options.training.hardware
    if hardware.devices not in ("auto", 1) or hardware.num_nodes > 1:
        raise ConfigError("probe trains on one device; leave --hardware.devices and --hardware.num-nodes out")
    return replace(options, training=replace(options.training, hardware=replace(hardware, devices=1)))


def open_folder(options: ProbeOptions, networks: Sequence[Network], datasets: Sequence[PreparedDataset]) -> Path:
    """A new run folder, or the one that is resumed.

    Raises:
        ConfigError: there is none to resume, or it was started with other options, data or weights.
    """
    started_from: dict[str, Any] = {
        "dataset_checksum": datasets[0].checksum,
        "external": {str(each.path.resolve()): each.checksum for each in datasets[1:]},
        "pretrained": {network.name: network.fingerprint() for network in networks},
    }
    if options.resume:
        out = runs.unfinished_run("probe", options.out)
        runs.check_unchanged(out, **started_from)
        known = from_dict(ProbeOptions, runs.read_config(out), f"{out}/config.yaml")
        before, now = _fixed(known), _fixed(options)
        changed = [name for name in now if now[name] != before[name]]
        if changed:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
            raise ConfigError(f"{out}: was started with other {flags}; give the same ones, or leave --resume out")
        return out
    return runs.start_run(
        "probe",
        run_name(options.label, [network.name for network in networks]),
        to_dict(options),
        out=options.out,
        overwrite=options.overwrite,
        provenance={
            "dataset": str(datasets[0].path.resolve()),
            "weights": {network.name: str(network.weights or NONE) for network in networks},
            **started_from,
        },
    )


def _fixed(options: ProbeOptions) -> dict[str, Any]:
    """The options that a resumed run cannot change, by their flags."""
    values = to_dict(options)
    training = flat(values.pop("training"))
    free = ("out", "resume", "overwrite", "quiet", *MAY_CHANGE_ON_RESUME)
    return {name: value for name, value in {**values, **training}.items() if name not in free}


def write_results(
    out: Path,
    task: Task,
    networks: Sequence[Network],
    tables: Sequence[pd.DataFrame],
    fits: list[dict[str, Any]],
    notes: list[str],
    options: ProbeOptions,
) -> str:
    """All tables and the picture; returns the report."""
    from densecf.evaluation.label_efficiency import curves, probe_markdown, summarise, undefined_groups
    from densecf.visualization.label_efficiency_figure import save_curves

    table = pd.concat(tables, ignore_index=True)
    summary = summarise(table)
    if undefined := undefined_groups(summary):
        notes = [*notes, f"One class only, so no AUC: {listing(undefined)}."]
    how = "fine-tuned" if options.finetune else "linear probe"
    title = f"{title_of(task.labels)}, {how}"
    report = probe_markdown(summary, title, [*notes, LEGEND])
    write_json_atomic(
        out / SUMMARY,
        {
            "label": task.labels.column,
            "classes": task.labels.classes,
            "how": how,
            "dataset": task.tests[0].name,
            "external": [test.name for test in task.tests[1:]],
            "images": {name: len(getattr(task.split, name)) for name in ("train", "val", "test")},
            "runs": {network.name: {"method": network.method} for network in networks},
            "notes": notes,
            "summary": records_of(summary),
            "fits": fits,
        },
    )
    write_text_atomic(out / REPORT, report)
    shown = curves(summary)
    for name, each in ((TABLE, table), (CURVES, shown)):
        with atomic_path(out / name) as temporary:
            each.to_csv(temporary, index=False)
    if len(shown):
        save_curves(out / PICTURE, shown, title=title)
    return report


LEGEND = (
    "ROC-AUC in percent, mean ± standard error over seeds (which draw the training patients). Gap: largest minus "
    "smallest AUC over the groups, smaller is better."
)


def make_task(
    data: PreparedDataset, labels: Labels, split: LabelSplit, tests: list[TestSet], options: ProbeOptions
) -> Task:
    """The question that every network is asked.

    Raises:
        ConfigError: no seed, or fractions that cannot be used.
    """
    from densecf.evaluation.label_efficiency import Task

    return Task(
        data.records,
        labels,
        split,
        tests,
        tuple(options.fractions),
        tuple(range(options.seed, options.seed + options.seeds)),
        (options.subgroup,) if options.subgroup else (),
    )


def linear_fits(network: Network, task: Task, datasets: Sequence[PreparedDataset], progress: bool) -> LinearFits:
    """Linear probes of a network's features; each image passes the network once, ever."""
    from densecf.evaluation.image_features import stored_features
    from densecf.evaluation.label_efficiency import LinearFits

    store = network.features()
    learning = np.sort(np.concatenate([task.split.train, task.split.val]))
    first = np.concatenate([learning, task.tests[0].rows])

    def features(data: PreparedDataset, rows: np.ndarray) -> np.ndarray:
        return stored_features(store, network.encoder, data, rows.tolist(), title=network.name, progress=progress)

    own = features(datasets[0], first)
    tests = [own[len(learning) :]]
    tests += [features(data, test.rows) for data, test in zip(datasets[1:], task.tests[1:], strict=True)]
    return LinearFits(task, own[: len(learning)], learning, tests)


def full_fits(
    network: Network, task: Task, datasets: Sequence[PreparedDataset], options: ProbeOptions, folder: Path
) -> Callable[[np.ndarray, float, int], Fit]:
    """Fine-tunings of the whole network, each in a folder of its own."""
    from densecf.training.classify import finetune_classifier

    def fit(train: np.ndarray, fraction: float, seed: int) -> Fit:
        return finetune_classifier(
            network.encoder(seed),
            task,
            train,
            datasets,
            options.training,
            folder / f"{fraction:g}-{seed}",
            seed=seed,
            title=f"{network.name}, {100 * fraction:g} %, seed {seed}",
            resume=options.resume,
            progress=not options.quiet,
        )

    return fit


def opening(data: PreparedDataset, labels: Labels, split: LabelSplit, tests: Sequence[TestSet]) -> str:
    patients = data.records["patient_id"].to_numpy()
    parts = [
        f"{name} {len(rows):,} images of {len(set(patients[rows])):,} patients"
        for name, rows in (("train", split.train), ("val", split.val), ("test", split.test))
    ]
    parts += [f"{test.name} {len(test.rows):,} images" for test in tests[1:]]
    return f"Probing {title_of(labels)} on {data.path}: {'; '.join(parts)}"


def title_of(labels: Labels) -> str:
    if labels.classes == ("0", "1"):
        return labels.column
    return f"{labels.column} ({' / '.join(labels.classes)})"


def records_of(table) -> list[dict]:
    """A table as a list of plain dicts; what is missing is None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")
