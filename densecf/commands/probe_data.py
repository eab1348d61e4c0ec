"""What ``densecf probe`` learns and tests on: labels, parts, test sets, and nobody who was pretrained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from densecf.commands.networks import Network, as_text
from densecf.commands.options import ProbeOptions
from densecf.data.label_split import LabelSplit, split_labels
from densecf.data.labels import UNKNOWN, Labels, read_labels
from densecf.data.prepared import PreparedDataset
from densecf.data.problems import listing
from densecf.errors import DataError, LeakError

if TYPE_CHECKING:
    from densecf.evaluation.label_efficiency import TestSet


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


def gather_tests(
    data: PreparedDataset,
    labels: Labels,
    split: LabelSplit,
    externals: Sequence[PreparedDataset],
    options: ProbeOptions,
) -> tuple[list[TestSet], list[str]]:
    """The dataset's own test part, then each external dataset's (all of it when it has none), and what to say.

    Raises:
        DataError: an external dataset lacks the label, or there is no such column to tell apart.
    """
    from densecf.evaluation.label_efficiency import TestSet

    columns = [column for column in (options.domain, options.subgroup) if column]
    absent = [column for column in columns if column not in data.records]
    asked = [column for column in absent if column not in (ProbeOptions.domain, ProbeOptions.subgroup)]
    if asked:
        raise DataError(
            f"{data.path}: no column {', '.join(asked)} to tell apart; the columns are "
            f"{', '.join(data.records.columns)}"
        )
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


def foreign_patients(
    networks: Sequence[Network], externals: Sequence[PreparedDataset], tests: Sequence[TestSet]
) -> list[str]:
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
