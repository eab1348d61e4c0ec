"""``densecf probe``: how well a label is predicted from image features, at several shares of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from densecf import runs
from densecf.commands.datasets import open_dataset
from densecf.commands.networks import NONE, Network, as_text, dataset_of, open_networks, run_name
from densecf.commands.options import ProbeOptions
from densecf.config import to_dict
from densecf.data.label_split import LabelSplit, split_labels
from densecf.data.labels import UNKNOWN, Labels, read_labels
from densecf.data.prepared import PreparedDataset
from densecf.data.problems import listing
from densecf.errors import DataError, LeakError
from densecf.files import atomic_path, write_json_atomic, write_text_atomic

TABLE, SUMMARY, REPORT = "probe.csv", "probe.json", "probe.md"
PICTURE, CURVES = "probe.png", "curves.csv"


def run_probe(options: ProbeOptions) -> Path:
    """Writes tables and picture into a run folder, and returns it."""
    import pandas as pd

    from densecf.evaluation.label_efficiency import curves, measure, probe_markdown, summarise, undefined_groups
    from densecf.visualization.label_efficiency_figure import save_curves

    progress = not options.quiet
    networks = open_networks(options.run, options.encoder)
    data = open_dataset(dataset_of(networks, options.dataset), progress=progress)
    networks = [network.sized(data.size) for network in networks]
    externals = [PreparedDataset.open(Path(path)) for path in options.data]
    for network in networks:
        for each in (data, *externals):
            network.check_size(each)
    labels, split = labels_and_split(data, options, networks)
    tests, notes = test_sets(data, labels, split, externals, options)
    notes = [split.note, *notes, *foreign_patients(networks, externals, tests[1:])]
    task = make_task(data, labels, split, tests, options)
    for seed in task.seeds:
        task.subsets(seed)  # what cannot be drawn is said before any image is read
    print(opening(data, labels, split, tests))
    for note in filter(None, notes):
        print(note)
    out = runs.start_run(
        "probe",
        run_name(options.label, [network.name for network in networks]),
        to_dict(options),
        out=options.out,
        overwrite=options.overwrite,
        provenance={
            "dataset": str(data.path.resolve()),
            "dataset_checksum": data.checksum,
            "external": {str(each.path.resolve()): each.checksum for each in externals},
            "pretrained": {network.name: str(network.weights or NONE) for network in networks},
        },
    )
    with runs.working_in(out):
        tables, fits = [], []
        for network in networks:
            table, facts = measure(network.name, task, linear_fits(network, task, [data, *externals], progress))
            tables.append(table)
            fits += facts
        table = pd.concat(tables, ignore_index=True)
        summary = summarise(table)
        if undefined := undefined_groups(summary):
            notes.append(f"One class only, so no AUC: {listing(undefined)}.")
        report = probe_markdown(summary, title_of(labels), [*notes, LEGEND])
        with atomic_path(out / TABLE) as temporary:
            table.to_csv(temporary, index=False)
        found = {
            "label": labels.column,
            "classes": labels.classes,
            "dataset": tests[0].name,
            "external": [test.name for test in tests[1:]],
            "images": {name: len(getattr(split, name)) for name in ("train", "val", "test")},
            "runs": {network.name: {"method": network.method} for network in networks},
            "notes": [note for note in notes if note],
            "summary": records_of(summary),
            "fits": fits,
        }
        write_json_atomic(out / SUMMARY, found)
        write_text_atomic(out / REPORT, report)
        shown = curves(summary)
        with atomic_path(out / CURVES) as temporary:
            shown.to_csv(temporary, index=False)
        if len(shown):
            save_curves(out / PICTURE, shown, title=title_of(labels))
        runs.finish_run(out, "probe")
    print(report)
    print(f"Picture: {out / PICTURE}")
    print(f"Run: {out}")
    return out


LEGEND = (
    "ROC-AUC in percent, mean ± standard error over seeds (which draw the training patients). Gap: largest minus "
    "smallest AUC over the groups, smaller is better."
)


def labels_and_split(
    data: PreparedDataset, options: ProbeOptions, networks: Sequence[Network]
) -> tuple[Labels, LabelSplit]:
    """The label of every record, and which records train, choose and test.

    Raises:
        DataError, LeakError: see `densecf.data.label_split.split_labels`.
    """
    labels = read_labels(data.records, options.label, where=str(data.path))
    if len(labels.classes) < 2:
        raise DataError(f"{data.path}: {options.label} is {labels.classes[0]} wherever it is known; two are needed")
    pretrained = {patient for network in networks for patient in network.pretrained_on()["patient_id"]}

    def split(labels: Labels) -> LabelSplit:
        return split_labels(
            data.records, labels, pretrained, balance=options.domain, seed=options.seed, where=str(data.path)
        )

    parts = split(labels)
    trained = [labels.classes[code] for code in np.unique(labels.codes[parts.train])]
    if len(trained) < len(labels.classes):  # what nobody learned cannot be tested
        labels = read_labels(data.records, options.label, classes=trained, where=str(data.path))
        print(f"{data.path}: no training record has {labels.column}={listing(labels.foreign)}; left out")
        parts = split(labels)
    return labels, parts


def test_sets(
    data: PreparedDataset,
    labels: Labels,
    split: LabelSplit,
    externals: Sequence[PreparedDataset],
    options: ProbeOptions,
) -> tuple[list, list[str]]:
    """The dataset's own test part, then each external dataset's (all of it when it has none), and what to say.

    Raises:
        DataError: an external dataset lacks the label.
    """
    from densecf.evaluation.label_efficiency import TestSet

    columns = [column for column in (options.domain, options.subgroup) if column]
    absent = [column for column in columns if column not in data.records]
    notes = [f"{data.path} has no column {', '.join(absent)}: no strata by it."] if absent else []

    def strata(records, rows) -> dict[str, np.ndarray]:
        return {
            column: np.array(as_text(records[column].to_numpy(dtype=object)[rows]), dtype=object)
            for column in columns
            if column in records
        }

    names = [each.path.resolve().name for each in (data, *externals)]
    names = [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]
    sets = [TestSet(names[0], split.test, labels.codes[split.test], strata(data.records, split.test))]
    for name, each in zip(names[1:], externals, strict=True):
        theirs = read_labels(each.records, labels.column, classes=labels.classes, where=str(each.path))
        if theirs.foreign:
            notes.append(f"{each.path}: {labels.column}={listing(theirs.foreign)} is no class here; left out.")
        known = theirs.codes != UNKNOWN
        tested = known & (each.records["split"] == "test").to_numpy() if "split" in each.records else known & False
        rows = np.flatnonzero(tested if tested.any() else known)
        if not len(rows):
            raise DataError(f"{each.path}: no record has a {labels.column} among {', '.join(labels.classes)}")
        sets.append(TestSet(name, rows, theirs.codes[rows], strata(each.records, rows)))
    return sets, notes


def foreign_patients(networks: Sequence[Network], externals: Sequence[PreparedDataset], tests: Sequence) -> list[str]:
    """Whether external test patients were pretrained on.

    Patient ids of two datasets may agree by accident, so they alone are only said; the same image of the same patient,
    or the very dataset that was pretrained on, is a leak.

    Raises:
        LeakError: naming dataset and run.
    """
    notes = []
    for network in networks:
        seen = network.pretrained_on()
        pairs = set(zip(seen["image"], seen["patient_id"], strict=True))
        ids = set(seen["patient_id"])
        for each, test in zip(externals, tests, strict=True):
            records = each.records.iloc[test.rows]
            same = pairs & set(zip(records["image"], records["patient_id"], strict=True))
            own = network.dataset_checksum() == each.checksum
            shared = sorted(ids & set(records["patient_id"]))
            if same or (own and shared):
                count = len(same) or len(shared)
                raise LeakError(
                    f"{each.path}: {count:,} of its test records are of patients that {network.name} was pretrained "
                    f"on ({listing(shared, 5)}); the scores would flatter the pretraining"
                )
            if shared:
                notes.append(
                    f"{each.path}: {len(shared):,} patients carry ids that {network.name} was pretrained on, with "
                    f"other images ({listing(shared, 3)}); taken for other people of another dataset."
                )
    return notes


def make_task(data: PreparedDataset, labels: Labels, split: LabelSplit, tests: list, options: ProbeOptions):
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


def linear_fits(network: Network, task, datasets: Sequence[PreparedDataset], progress: bool):
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


def opening(data: PreparedDataset, labels: Labels, split: LabelSplit, tests: Sequence) -> str:
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
