import numpy as np
import pandas as pd
import pytest
import torch

from densecf.counterfactuals import judge_training
from densecf.counterfactuals.judge_training import (
    judged_parents,
    masks_of,
    predictor_for,
    segmenter_for,
    without_patients_of,
)
from densecf.counterfactuals.judges import judge_key
from densecf.counterfactuals.parents import Parent, fit_parents
from densecf.counterfactuals.segmenter import segment, train_segmenter
from densecf.counterfactuals.short_training import ShortTraining
from densecf.counterfactuals.soundness import mask_agreement
from densecf.counterfactuals.truth import truth_of
from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError


@pytest.fixture
def data(phantom):
    return PreparedDataset.open(phantom)


def all_rows(data):
    return np.arange(len(data))


def test_the_models_parents_are_judged_and_what_else_can_be_watched(data):
    known = {
        "age": Parent("age", "continuous", mean=1.0, std=2.0),
        "scanner": fit_parents(data.records, ["scanner"])[0]["scanner"],
    }
    parents = judged_parents(data, all_rows(data), known)
    assert parents.names == ("age", "scanner", "sex", "pleural_effusion")
    assert parents["age"].kind == "continuous"
    assert parents["age"].mean == pytest.approx(data.records["age"].mean())  # this dataset's, not the model's
    assert parents["sex"].values == ("F", "M")


def test_rare_and_constant_attributes_are_not_watched(data):
    data.records = data.records.assign(sex="F", pleural_effusion=[1.0] * 9 + [0.0] * (len(data) - 9))
    known = {"scanner": fit_parents(data.records, ["scanner"])[0]["scanner"]}
    assert judged_parents(data, all_rows(data), known).names == ("scanner",)


def test_unknown_values_are_no_class_that_anything_is_judged_by(data):
    data.records = data.records.assign(sex=["", *data.records["sex"][1:]])
    known = {"scanner": fit_parents(data.records, ["scanner"])[0]["scanner"]}
    assert judged_parents(data, all_rows(data), known)["sex"].known_values == ("F", "M")


def test_a_parent_that_cannot_be_learnt_here_is_an_error(data):
    known = {"scanner": fit_parents(data.records, ["scanner"])[0]["scanner"]}
    data.records = data.records.assign(scanner="A")
    with pytest.raises(DataError, match="scanner"):
        judged_parents(data, all_rows(data), known)


def test_judges_are_kept_and_a_damaged_file_is_made_anew(data, tmp_path, monkeypatch):
    parents = fit_parents(data.records, ["scanner"])[0]
    rows = all_rows(data)[:8]

    def get(**changes):
        return predictor_for(data, rows, parents, tmp_path, **{"seed": 0, "epochs": 1, "progress": False} | changes)

    first = get()
    with monkeypatch.context() as patch:
        patch.setattr(judge_training, "train_predictor", lambda *a, **k: pytest.fail("trained again"))
        again = get()
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    get(seed=1)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    files[0].write_bytes(b"damaged")
    get(), get(seed=1)
    assert len(list(tmp_path.iterdir())) == 2
    assert files[0].stat().st_size > 1_000_000


def test_the_key_tells_rows_and_settings_apart(data):
    rows = all_rows(data)
    keys = {judge_key(data, rows, seed=0), judge_key(data, rows[1:], seed=0), judge_key(data, rows, seed=1)}
    assert len(keys) == 3
    assert judge_key(data, rows, seed=0, epochs=3) == judge_key(data, rows.copy(), epochs=3, seed=0)


def test_on_the_phantom_true_masks_are_learnt_and_elsewhere_those_there_are(data):
    truth = truth_of(data)
    mask_of, masked = masks_of(data, truth)
    assert masked.all()
    np.testing.assert_array_equal(mask_of(0), truth.mask(0))
    mask_of, masked = masks_of(data, None)
    np.testing.assert_array_equal(mask_of(0), data.mask(0))
    data.records = data.records.assign(mask_kind="")
    assert not masks_of(data, None)[1].any()


def test_without_masks_there_is_no_segmenter_but_a_reason(data, tmp_path):
    data.records = data.records.assign(mask_kind="")
    network, why = segmenter_for(data, all_rows(data), None, tmp_path, seed=0, progress=False)
    assert network is None
    assert "0 of the training images have masks" in why


@pytest.mark.slow
def test_a_segmenter_learns_and_is_kept(data, tmp_path, monkeypatch):
    truth, rows = truth_of(data), all_rows(data)
    settings = ShortTraining(epochs=8, batch_size=16, min_steps=1)
    network = train_segmenter(data, rows, truth.mask, seed=0, settings=settings, progress=False)
    images = np.stack([data.image(row) for row in rows])
    masks = np.stack([truth.mask(int(row)) for row in rows])
    assert mask_agreement(segment(network, images), masks, 3).mean() > 0.8
    np.testing.assert_array_equal(segment(network, images[:5], batch_size=2), segment(network, images[:5]))

    first, why = segmenter_for(data, rows, truth, tmp_path, seed=0, epochs=1, progress=False)
    assert why == ""
    monkeypatch.setattr(judge_training, "train_segmenter", lambda *a, **k: pytest.fail("trained again"))
    again, _ = segmenter_for(data, rows, truth, tmp_path, seed=0, epochs=1, progress=False)
    np.testing.assert_array_equal(segment(first, images[:4]), segment(again, images[:4]))


def test_no_patient_is_on_both_sides(data):
    data.records = pd.DataFrame({"patient_id": ["1", "2", "1", "3"]})
    assert without_patients_of(data, np.array([0, 1, 3]), np.array([2])).tolist() == [1, 3]
