"""The default cohort and its source."""

import json
import pickle

import numpy as np
import pytest

from densecf.data import phantom
from densecf.data.readers.phantom import INTERVENTIONS, PhantomSource
from densecf.errors import DataError


@pytest.fixture(scope="module")
def table():
    return phantom.cohort(300, seed=3)


def test_counts(table):
    manual = table[table.split == "manual"]
    assert (table.split == "train").sum() == 300
    assert manual.pleural_effusion.value_counts().to_dict() == {1: 50, 0: 20}
    assert set(manual.mask_kind) == {"manual"}
    assert set(table[table.split == "train"].mask_kind) == {"silver"}
    assert manual.patient_id.is_unique
    assert table.image.is_unique


def test_no_patient_is_in_both_splits_and_some_come_twice(table):
    pretrain, manual = (table[table.split == s] for s in ("train", "manual"))
    assert not set(pretrain.patient_id) & set(manual.patient_id)
    images = pretrain.patient_id.value_counts()
    assert images.max() == 2
    assert 0.1 < (images == 2).mean() < 0.3
    for parent in ("sex", "age"):
        assert pretrain.groupby("patient_id")[parent].nunique().max() == 1


def test_marginals():
    table = phantom.cohort(700, seed=1)
    pretrain = table[table.split == "train"]
    assert 0.24 < pretrain.pleural_effusion.mean() < 0.36
    assert 0.42 < (pretrain.scanner == phantom.SCANNERS[0]).mean() < 0.58
    assert 0.40 < (pretrain.sex == "F").mean() < 0.56
    assert pretrain.age.between(18, 95).all()
    assert 52 < pretrain.age.mean() < 64
    with_fluid = pretrain[pretrain.pleural_effusion == 1]
    assert with_fluid.age.mean() > pretrain[pretrain.pleural_effusion == 0].age.mean() + 4
    assert set(with_fluid.effusion_side) == {"left", "right", "both"}
    assert set(pretrain[pretrain.pleural_effusion == 0].effusion_side) == {""}
    assert (pretrain.mask_quality >= 0.7).mean() > 0.85
    assert pretrain.mask_quality.between(0, 1).all()
    assert set(table[table.split == "manual"].scanner) == set(phantom.SCANNERS)


def test_more_pretraining_images_keep_the_first_ones_and_the_manual_split(table):
    fewer = phantom.cohort(40, seed=3)
    columns = ["image", "patient_id", "age", "scanner", "pleural_effusion", "mask_quality"]
    assert fewer[:40][columns].equals(table[:40][columns])
    assert fewer[40:][columns].reset_index(drop=True).equals(table[300:][columns].reset_index(drop=True))
    assert not phantom.cohort(40, seed=4)[columns].equals(fewer[columns])


def test_negative_count_is_an_error():
    with pytest.raises(DataError, match="-1"):
        phantom.cohort(-1)


def test_source_loads_truth_and_counterfactuals():
    source = PhantomSource(num_pretraining=6, seed=2)
    again = pickle.loads(pickle.dumps(source))
    assert source.class_names == ("background", "left_lung", "right_lung")
    assert source.counterfactual_source == "truth"
    assert source.counterfactual_names == INTERVENTIONS
    for row in (0, 6, 40):
        sample, copy = source.load(row, 48), again.load(row, 48)
        entry = source.records.iloc[row]
        np.testing.assert_array_equal(sample.image, copy.image)
        np.testing.assert_array_equal(sample.mask, copy.mask)
        assert sample.image.shape == (48, 48)
        assert tuple(sample.counterfactuals) == INTERVENTIONS
        record = phantom.record(2, entry.image, entry.patient_id)
        assert record.parents.pleural_effusion == entry.pleural_effusion
        other = phantom.counterfactual(record, pleural_effusion=1 - entry.pleural_effusion)
        expected = phantom.render(other.parents, other.noise, 48)
        np.testing.assert_array_equal(sample.counterfactuals["pleural_effusion=other"], expected)
        truth = phantom.masks(record.parents, record.noise, 48)
        assert np.array_equal(sample.mask, truth) == (entry.mask_kind == "manual")
        np.testing.assert_array_equal(sample.affine, np.eye(3))
        assert sample.pixel_spacing == pytest.approx(350 / 48)


def test_fingerprint_is_json_and_tells_settings_apart():
    prints = [json.dumps(PhantomSource(n, s).fingerprint()) for n, s in ((2, 0), (3, 0), (2, 1))]
    assert len(set(prints)) == 3
