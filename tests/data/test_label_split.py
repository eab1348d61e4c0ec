"""No patient in two parts, nobody tested who was pretrained on, and fewer labels that lie in more labels."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densecf.data.label_split import nested_fractions, split_labels
from densecf.data.labels import read_labels
from densecf.errors import ConfigError, DataError, LeakError


def cohort(patients=100, images=2, positive=4, seed=0, **columns):
    """Every ``positive``-th patient has the label in its first image; images are shuffled."""
    rows = [
        {"image": f"{p}-{i}", "patient_id": f"p{p:03d}", "label": float(p % positive == 0 and i == 0)}
        for p in range(patients)
        for i in range(images)
    ]
    frame = pd.DataFrame(rows).assign(**columns)
    return frame.sample(frac=1, random_state=seed, ignore_index=True)


def patients_of(records, rows):
    return set(records["patient_id"].to_numpy()[rows])


@settings(max_examples=25)
@given(st.integers(30, 120), st.integers(1, 3), st.integers(0, 5), st.integers(2, 5))
def test_a_missing_split_is_drawn_by_patient(patients, images, seed, positive):
    records = cohort(patients, images, positive, seed)
    labels = read_labels(records, "label")
    split = split_labels(records, labels, seed=seed)
    parts = [patients_of(records, rows) for rows in (split.train, split.val, split.test)]
    assert sum(map(len, parts)) == patients == len(set.union(*parts))
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(len(records)))
    assert len(parts[2]) >= round(0.2 * patients)
    assert len(parts[1]) >= max(1, round(0.1 * (patients - len(parts[2]))))
    assert set(labels.codes[split.val]) == {0, 1}
    share = labels.codes[split.test].mean() / labels.codes.mean()
    assert 0.5 < share < 1.6  # balanced as well as whole patients allow
    assert f"{len(parts[2])} patients" in split.note


def test_parts_are_a_fifth_and_a_tenth_where_that_holds_both_classes():
    split = split_labels(cohort(), read_labels(cohort(), "label"))
    assert [len(patients_of(cohort(), rows)) for rows in (split.test, split.val, split.train)] == [20, 8, 72]


def test_the_own_split_is_kept_and_unknown_labels_stay_out():
    records = cohort()
    number = records["patient_id"].str[1:].astype(int)
    records["split"] = np.select([number < 60, number < 80, number < 95], ["train", "val", "test"], "manual")
    records.loc[number % 10 == 3, "label"] = np.nan
    split = split_labels(records, read_labels(records, "label"))
    for name in ("train", "val", "test"):
        chosen = records.iloc[getattr(split, name)]
        assert set(chosen["split"]) == {name}
        assert chosen["label"].notna().all()
    assert split.note == ""
    assert len(split.train) == 2 * 54


def test_only_the_part_that_is_missing_is_drawn():
    records = cohort()
    number = records["patient_id"].str[1:].astype(int)
    records["split"] = np.where(number < 70, "train", "test")
    split = split_labels(records, read_labels(records, "label"))
    assert set(records["split"].to_numpy()[split.test]) == {"test"}
    assert len(patients_of(records, split.val)) == 7
    assert "no val part" in split.note
    assert "test:" not in split.note


def test_nobody_is_tested_who_was_pretrained_on():
    records = cohort()
    labels = read_labels(records, "label")
    pretrained = {f"p{number:03d}" for number in range(70)}
    split = split_labels(records, labels, pretrained)
    assert not patients_of(records, split.test) & pretrained
    assert len(patients_of(records, split.test)) == 20
    with pytest.raises(LeakError, match="nobody is left"):
        split_labels(records, labels, set(records["patient_id"]))
    records["split"] = "test"
    with pytest.raises(LeakError, match="70 patients to test on were pretrained on: p000"):
        split_labels(records, labels, pretrained)


def test_one_class_only():
    records = cohort()
    records["split"] = np.where(records["label"] == 1, "train", "test")
    with pytest.raises((DataError, LeakError)):
        split_labels(records, read_labels(records, "label"))


@settings(max_examples=25)
@given(st.integers(40, 150), st.integers(1, 3), st.integers(0, 20))
def test_fractions_are_nested_and_by_patient(patients, images, seed):
    records = cohort(patients, images, 2, seed)
    labels = read_labels(records, "label")
    train = np.flatnonzero(records["patient_id"].str[1:].astype(int) % 5 != 0)
    fractions = (1.0, 0.1, 0.25, 0.5)
    found = nested_fractions(records, labels, train, fractions, seed)
    assert list(found) == sorted(fractions)
    everyone, smaller = patients_of(records, train), set()
    for fraction, rows in found.items():
        chosen = patients_of(records, rows)
        assert smaller <= chosen <= everyone
        assert len(chosen) == max(1, round(fraction * len(everyone)))
        # All images of a patient, or none.
        assert sorted(rows) == [row for row in train if records["patient_id"][row] in chosen]
        smaller = chosen
    assert np.array_equal(found[1.0], train)


def test_seeds_draw_other_patients():
    records = cohort()
    labels, train = read_labels(records, "label"), np.arange(len(records))
    first, again, other = (nested_fractions(records, labels, train, [0.1], seed)[0.1] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert set(first) != set(other)


def test_fractions_that_cannot_be_used():
    records = cohort(positive=50)
    labels, train = read_labels(records, "label"), np.arange(len(records))
    for wrong in ([0.0], [1.5], [-0.1, 0.5], []):
        with pytest.raises(ConfigError, match="above 0 and to 1"):
            nested_fractions(records, labels, train, wrong, 0)
    with pytest.raises(ConfigError, match=r"hold no label=1; 0\.\d+ would do") as error:
        nested_fractions(records, labels, train, [0.01, 1], 0)
    enough = float(str(error.value).split("; ")[1].split()[0])
    assert set(labels.codes[nested_fractions(records, labels, train, [enough], 0)[enough]]) == {0, 1}
