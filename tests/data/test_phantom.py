"""The phantom: determinism, geometry, the identities a true counterfactual must satisfy."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from densecf.data import phantom
from densecf.data.phantom import SCANNERS, Parents, Record
from densecf.data.phantom.silver import dice

SIZE = 64


def draw(number: int, **parents: object) -> Record:
    record = Record(phantom.draw_parents(5, number, number), phantom.draw_noise(5, number, number))
    return replace(record, parents=replace(record.parents, **parents))


def image(record: Record, size: int = SIZE) -> np.ndarray:
    return phantom.render(record.parents, record.noise, size)


def mask(record: Record, size: int = SIZE) -> np.ndarray:
    return phantom.masks(record.parents, record.noise, size)


def silver(record: Record, size: int = SIZE) -> np.ndarray:
    return phantom.silver_masks(record.parents, record.noise, size)


def box_mean(values: np.ndarray, factor: int) -> np.ndarray:
    n = len(values) // factor
    return values.reshape(n, factor, n, factor).mean((1, 3))


@pytest.mark.parametrize("number", range(6))
def test_render_is_a_finite_image_and_the_same_every_time(number):
    record = draw(number)
    first, again = image(record), image(pickle.loads(pickle.dumps(record)))
    assert first.shape == (SIZE, SIZE)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.min() >= 0
    assert first.max() <= 1
    assert first.std() > 0.15
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("size", [33, 50, 97])
def test_any_size_renders(size):
    record = draw(1, pleural_effusion=1)
    assert image(record, size).shape == mask(record, size).shape == silver(record, size).shape == (size, size)


def test_another_seed_patient_or_record_is_another_image():
    parents = Parents("M", 60.0, SCANNERS[0], 0)
    images = [
        phantom.render(parents, phantom.draw_noise(*key), SIZE) for key in ((0, 1, 1), (1, 1, 1), (0, 2, 1), (0, 1, 2))
    ]
    for k, one in enumerate(images):
        for other in images[k + 1 :]:
            assert np.abs(one - other).mean() > 0.01


def test_two_images_of_a_patient_share_the_body():
    one, two = phantom.draw_noise(0, 3, 7), phantom.draw_noise(0, 3, 8)
    assert one.body == two.body
    assert one.body_seed == two.body_seed
    assert one.visit != two.visit


@pytest.mark.parametrize("scanner", SCANNERS)
@pytest.mark.parametrize("effusion", [0, 1])
def test_size_changes_sampling_not_the_patient(scanner, effusion):
    record = draw(2, scanner=scanner, pleural_effusion=effusion)
    small, large = image(record, 64), box_mean(image(record, 128), 2)
    inner = slice(8, -8)
    assert np.abs(small - large)[inner, inner].mean() < 0.02
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.985
    for label in (1, 2):
        fine = box_mean((mask(record, 128) == label).astype(float), 2)
        assert np.abs(fine - (mask(record, 64) == label)).mean() < 0.015


def test_null_counterfactual_is_the_image_and_twice_is_the_identity():
    for number in range(4):
        record = draw(number)
        np.testing.assert_array_equal(image(phantom.counterfactual(record)), image(record))
        same = phantom.counterfactual(
            record, scanner=record.parents.scanner, pleural_effusion=record.parents.pleural_effusion
        )
        np.testing.assert_array_equal(image(same), image(record))
        for what in ("scanner=other", "pleural_effusion=other", "scanner=other+pleural_effusion=other", "sex=other"):
            there = phantom.counterfactual(record, what)
            assert there.parents != record.parents
            assert np.abs(image(there) - image(record)).max() > 0.05
            np.testing.assert_array_equal(image(phantom.counterfactual(there, what)), image(record))


def test_joint_intervention_is_both_in_any_order():
    record = draw(3)
    both = phantom.counterfactual(record, "scanner=other+pleural_effusion=other")
    in_turn = phantom.counterfactual(phantom.counterfactual(record, "pleural_effusion=other"), "scanner=other")
    np.testing.assert_array_equal(image(both), image(in_turn))


def test_unknown_interventions_are_refused():
    record = draw(0)
    for bad in ("weather=other", "age=other", "scanner=Unknown"):
        with pytest.raises(ValueError):
            phantom.counterfactual(record, bad)
    with pytest.raises(ValueError, match="age"):
        Parents("M", 200.0, SCANNERS[0], 0)


@pytest.mark.parametrize("number", range(8))
def test_true_masks_ignore_scanner_and_effusion(number):
    record = draw(number)
    for what in ("scanner=other", "pleural_effusion=other"):
        np.testing.assert_array_equal(mask(phantom.counterfactual(record, what)), mask(record))


@pytest.mark.parametrize("number", range(12))
def test_patients_left_lung_lies_on_the_images_right(number):
    truth = mask(draw(number), 96)
    assert truth.dtype == np.uint8
    assert set(np.unique(truth)) == {0, 1, 2}
    left, right = np.argwhere(truth == 1), np.argwhere(truth == 2)
    assert left[:, 1].mean() > 52 > 44 > right[:, 1].mean()
    for points in (left, right):
        assert 0.04 < len(points) / 96**2 < 0.26
    assert 0.6 < len(right) / len(left) < 1.9
    edge = np.concatenate([truth[0], truth[-1], truth[:, 0], truth[:, -1]])
    assert (edge > 0).mean() < 0.02


def test_masks_agree_with_the_dark_field():
    for number in range(6):
        record = draw(number, pleural_effusion=0)
        picture, truth = image(record, 96), mask(record, 96) > 0
        assert picture[truth].mean() + 0.2 < picture[40:75, 44:52].mean()


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("scanner", SCANNERS)
def test_effusion_brightens_the_affected_lung_and_little_else(number, scanner):
    dry = draw(number, pleural_effusion=0, scanner=scanner)
    wet = phantom.counterfactual(dry, pleural_effusion=1)
    change = image(wet, 96) - image(dry, 96)
    truth, side = mask(dry, 96), phantom.effusion_side(dry.noise)
    affected = np.isin(truth, {"left": [1], "right": [2], "both": [1, 2]}[side])
    assert change[affected].max() > 0.2
    assert change[affected].mean() > 0.01
    from scipy.ndimage import binary_dilation

    near = binary_dilation(affected, iterations=9)
    assert np.abs(change[~near]).mean() < 0.012
    # What the fluid hides is in the lower half of the lung.
    rows = np.argwhere(affected & (change > 0.5 * change.max()))[:, 0]
    assert rows.mean() > np.argwhere(affected)[:, 0].mean()


def test_silver_masks_lose_the_fluid_and_truth_does_not():
    hidden = []
    for number in range(20):
        wet = draw(number, pleural_effusion=1)
        side = phantom.effusion_side(wet.noise)
        labels = {"left": [1], "right": [2], "both": [1, 2]}[side]
        dry_silver = silver(phantom.counterfactual(wet, pleural_effusion=0))
        truth = np.isin(mask(wet), labels).sum()
        hidden.append(1 - np.isin(silver(wet), labels).sum() / truth)
        assert np.isin(silver(wet), labels).sum() <= np.isin(dry_silver, labels).sum()
    assert np.mean(hidden) > 0.15


def test_silver_masks_are_near_the_truth_without_fluid_but_not_it():
    scores = [dice(silver(draw(k, pleural_effusion=0)), mask(draw(k))) for k in range(30)]
    assert 0.90 < np.median(scores) < 0.985
    assert max(scores) < 1


def test_quality_follows_the_true_dice_noisily():
    records = [draw(k) for k in range(80)]
    truth = [dice(silver(r), mask(r)) for r in records]
    quality = [phantom.mask_quality(r.parents, r.noise) for r in records]
    assert 0.8 < stats.spearmanr(truth, quality).statistic < 0.999
    assert np.mean(np.array(quality) >= 0.7) > 0.8


def test_scanners_look_different():
    first = np.stack([image(draw(k, scanner=SCANNERS[0], pleural_effusion=0)) for k in range(8)])
    second = np.stack([image(draw(k, scanner=SCANNERS[1], pleural_effusion=0)) for k in range(8)])
    lungs = np.stack([mask(draw(k)) > 0 for k in range(8)])
    assert first[lungs].mean() > second[lungs].mean() + 0.08
    assert np.abs(first - second).mean() > 0.05


def test_age_raises_the_chance_of_effusion():
    assert phantom.effusion_probability(30) < phantom.effusion_probability(60) < phantom.effusion_probability(85)
