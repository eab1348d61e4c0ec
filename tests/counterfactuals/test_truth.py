import numpy as np
import pytest

from densecf.counterfactuals.truth import FLUID_NOISE, truth_of
from densecf.data import phantom as procedural
from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError


@pytest.fixture(scope="module")
def data(phantom):
    return PreparedDataset.open(phantom)


@pytest.fixture(scope="module")
def truth(data):
    found = truth_of(data)
    assert found is not None
    return found


def changed(data, row, **values):
    record = data.records.iloc[row].copy()
    for name, value in values.items():
        record[name] = value
    return record


def row_with(data, effusion):
    return int(np.flatnonzero(data.records["pleural_effusion"] == effusion)[0])


def test_unchanged_parents_give_the_image_itself(data, truth):
    for row in (0, len(data) - 1):
        np.testing.assert_allclose(truth.counterfactual(row, data.records.iloc[row]), data.image(row), atol=1e-5)


def test_stored_and_rendered_truth_agree(data, truth):
    row = row_with(data, 0)
    other = changed(data, row, pleural_effusion=1.0)
    factual = procedural.record(0, data.records["image"][row], data.records["patient_id"][row])
    rendered = procedural.render(
        procedural.counterfactual(factual, pleural_effusion=1).parents, factual.noise, data.size
    )
    np.testing.assert_allclose(truth.counterfactual(row, other), rendered, atol=1e-5)
    np.testing.assert_array_equal(
        truth.counterfactual(row, other), data.counterfactual("truth", "pleural_effusion=other", row)
    )


def test_what_is_not_stored_is_rendered(data, truth):
    row = row_with(data, 0)
    sex = "F" if data.records["sex"][row] == "M" else "M"
    factual = procedural.record(0, data.records["image"][row], data.records["patient_id"][row])
    expected = procedural.render(procedural.counterfactual(factual, sex=sex, age=30.0).parents, factual.noise, 32)
    np.testing.assert_array_equal(truth.counterfactual(row, changed(data, row, sex=sex, age=30)), expected)


def test_parents_the_phantom_does_not_have_are_refused(data, truth):
    with pytest.raises(DataError, match="phantom"):
        truth.counterfactual(0, changed(data, 0, scanner="Another"))


def test_masks_are_true_ones_also_where_the_dataset_has_silver_ones(data, truth):
    manual = int(np.flatnonzero(data.records["split"] == "manual")[0])
    np.testing.assert_array_equal(truth.mask(manual), data.mask(manual))
    silver = np.flatnonzero((data.records["split"] == "train") & (data.records["pleural_effusion"] == 1))
    assert sum((truth.mask(int(row)) > 0).sum() for row in silver) > sum((data.mask(row) > 0).sum() for row in silver)


def test_fluid_is_added_only_where_there_was_none(data, truth):
    dry, wet = row_with(data, 0), row_with(data, 1)
    assert truth.adds_fluid(dry, changed(data, dry, pleural_effusion=1))
    assert not truth.adds_fluid(dry, data.records.iloc[dry])
    assert not truth.adds_fluid(wet, changed(data, wet, pleural_effusion=0))


def test_the_best_guess_knows_all_but_the_fluid(data, truth):
    dry = row_with(data, 0)
    np.testing.assert_allclose(  # without fluid its noise shows nowhere
        truth.best_guess(dry, data.records.iloc[dry], draws=3), data.image(dry), atol=1e-5
    )


def test_the_best_guess_beats_other_guesses_on_average(data, truth):
    rows = np.flatnonzero(data.records["pleural_effusion"] == 0)[:12]
    table = data.records.iloc[rows].assign(pleural_effusion=1.0)
    true = np.stack([truth.counterfactual(int(r), table.iloc[i]) for i, r in enumerate(rows)])
    best = truth.best_guesses(rows, table)
    single = np.stack([truth.best_guess(int(r), table.iloc[i], draws=1) for i, r in enumerate(rows)])
    nothing = np.stack([data.image(r) for r in rows])
    errors = [np.abs(guess - true).mean() for guess in (best, single, nothing)]
    assert 0 < errors[0] < min(errors[1:])
    np.testing.assert_array_equal(best[3], truth.best_guess(int(rows[3]), table.iloc[3]))  # seeded by the row


def test_the_noise_of_the_fluid_is_all_the_noise_that_the_fluid_uses():
    assert {name for name in procedural.scm.VISIT if "effusion" in name or "fluid" in name or "meniscus" in name} - {
        "silver_fluid"
    } <= set(FLUID_NOISE)


def test_real_data_has_no_truth(data):
    meta = {**data.meta, "fingerprint": {"source": {"reader": "table"}}}
    other = PreparedDataset.open(data.path)
    other.meta = meta
    assert truth_of(other) is None
