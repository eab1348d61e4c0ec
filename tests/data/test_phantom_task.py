"""The opacity task: who is in which split, on which scanner, and what is stored with it."""

import functools
import hashlib
import json

import numpy as np
import pytest
from scipy import stats

from densecf.commands.options import PreparePhantomOptions
from densecf.commands.prepare import prepare_phantom
from densecf.counterfactuals.truth import PhantomTruth
from densecf.data import PreparedDataset, phantom, prepare
from densecf.data.phantom import ALL_SCANNERS, SCANNERS, UNSEEN_SCANNER
from densecf.data.phantom.population import FIRST_OF_TASK
from densecf.data.phantom.task import MOST, PREVALENCE, RARE, task_parents
from densecf.data.readers import phantom as reader
from densecf.data.readers.phantom import OPACITY_INTERVENTIONS, OpacitySource
from densecf.data.records import validate
from densecf.errors import DataError

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def table():
    return phantom.opacity_cohort(200, 40, 50, seed=3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    out = tmp_path_factory.mktemp("task") / "data"
    return prepare(OpacitySource(6, 2, 3, seed=1), out, size=32, workers=1, progress=False)


def test_counts_and_scanners_of_the_splits(table):
    assert table["split"].value_counts().to_dict() == {"train": 200, "val": 40, "test": 150}
    for split in ("train", "val"):
        assert set(table[table["split"] == split]["scanner"]) <= set(SCANNERS)
    test = table[table["split"] == "test"]
    assert test["scanner"].value_counts().to_dict() == dict.fromkeys(ALL_SCANNERS, 50)
    assert test.groupby("scanner")["opacity"].sum().to_dict() == dict.fromkeys(ALL_SCANNERS, round(50 * PREVALENCE))
    assert set(table["opacity"]) == {0.0, 1.0}
    assert set(table["mask_kind"]) == {"silver"}
    assert validate(table)["opacity"].equals(table["opacity"])


def test_no_patient_is_in_two_splits_on_two_test_scanners_or_in_another_cohort(table):
    assert table["image"].is_unique
    assert table.groupby("patient_id")["split"].nunique().max() == 1
    test = table[table["split"] == "test"]
    assert test.groupby("patient_id")["scanner"].nunique().max() == 1
    assert table["patient_id"].value_counts().max() == 2
    assert not set(table["patient_id"]) & set(phantom.cohort(60, seed=3)["patient_id"])
    assert not set(table["patient_id"]) & set(phantom.opacity_cohort(60, 10, 10, seed=4)["patient_id"])
    for parent in ("sex", "age"):
        assert table.groupby("patient_id")[parent].nunique().max() == 1


def test_opacity_depends_on_nothing_and_the_second_scanner_is_rare():
    parents = [task_parents(0, n, n) for n in range(FIRST_OF_TASK, FIRST_OF_TASK + 6000)]
    opacity = np.array([p.opacity for p in parents])
    assert stats.binomtest(int(opacity.sum()), len(opacity), PREVALENCE).pvalue > 1e-3
    rare = np.array([p.scanner == SCANNERS[1] for p in parents])
    assert stats.binomtest(int(rare.sum()), len(rare), RARE).pvalue > 1e-3
    for other in (rare, [p.sex == "F" for p in parents], [p.pleural_effusion for p in parents]):
        assert stats.chi2_contingency(np.histogram2d(opacity, np.asarray(other, float), 2)[0]).pvalue > 1e-3
    assert stats.mannwhitneyu(*([p.age for p in parents if p.opacity == k] for k in (0, 1))).pvalue > 1e-3


def test_unseen_scanner_is_never_drawn_for_training():
    for block in (0, 1):
        first = FIRST_OF_TASK + block * MOST
        assert all(task_parents(2, n, n).scanner in SCANNERS for n in range(first, first + 2000))


def test_more_training_images_leave_all_others_as_they_are(table):
    fewer = phantom.opacity_cohort(20, 40, 50, seed=3)
    assert fewer[:20].equals(table[:20])
    assert fewer[20:].reset_index(drop=True).equals(table[200:].reset_index(drop=True))


def test_record_is_the_one_behind_the_row(table):
    for row in (0, 7, 210, 250, 300, 389):
        entry = table.iloc[row]
        parents = phantom.record(3, entry["image"], entry["patient_id"]).parents
        assert all(entry[name] == value for name, value in vars(parents).items())


def test_bad_counts_are_an_error():
    with pytest.raises(DataError, match="-1"):
        phantom.opacity_cohort(10, -1, 5)


def test_stored_counterfactuals_are_the_true_ones(prepared):
    records = prepared.records
    assert prepared.counterfactuals == {"truth": OPACITY_INTERVENTIONS}
    truth = PhantomTruth(prepared, seed=1)
    for row in (0, int(np.flatnonzero(records["scanner"] == UNSEEN_SCANNER)[0])):
        factual = phantom.record(1, records["image"][row], records["patient_id"][row])
        for name in OPACITY_INTERVENTIONS:
            other = phantom.counterfactual(factual, name)
            expected = phantom.render(other.parents, other.noise, 32)
            np.testing.assert_allclose(prepared.counterfactual("truth", name, row), expected, atol=1 / 255)
        # What is not stored is rendered: the unseen scanner's "other" is not the second scanner, nor is opacity kept.
        for changes in ({"scanner": SCANNERS[1]}, {"scanner": SCANNERS[0]}, {"opacity": 1.0 - records["opacity"][row]}):
            changed = records.iloc[row].copy()
            for name, value in changes.items():
                changed[name] = value
            other = phantom.counterfactual(factual, **{k: v if k == "scanner" else int(v) for k, v in changes.items()})
            expected = phantom.render(other.parents, other.noise, 32)
            np.testing.assert_allclose(truth.counterfactual(row, changed), expected, atol=1 / 255)


def test_the_same_bytes_for_any_number_of_workers(prepared, tmp_path):
    again = prepare(OpacitySource(6, 2, 3, seed=1), tmp_path / "out", size=32, workers=3, progress=False)

    def contents(data):
        files = sorted(path for path in data.path.rglob("*") if path.is_file())
        return {path.relative_to(data.path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert contents(again) == contents(prepared)


def test_fingerprint_is_json_and_tells_settings_apart():
    prints = [json.dumps(OpacitySource(*counts).fingerprint()) for counts in ((2, 1, 1), (3, 1, 1), (2, 1, 1, 5))]
    assert len(set(prints)) == 3
    assert json.loads(prints[0])["source"] == "phantom"


def test_the_command_prepares_the_task(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reader, "OpacitySource", functools.partial(OpacitySource, num_val=2, num_test=3))
    data = prepare_phantom(PreparePhantomOptions(task="opacity", images=4, size=32, workers=1, quiet=True))
    assert data.path.as_posix().endswith("data/phantom-opacity")
    assert len(PreparedDataset.open("data/phantom-opacity").records) == 4 + 2 + 9
    said = capsys.readouterr().out
    assert UNSEEN_SCANNER in said
    assert "opacity" in said
