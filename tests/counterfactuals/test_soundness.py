import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from densecf.counterfactuals.soundness import (
    absolute_error,
    balanced_share,
    explained_share,
    mask_agreement,
    mean_or_none,
)
from densecf.evaluation.segmentation import case_metrics


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_one_group_of_targets_gives_balanced_accuracy(pairs):
    target, predicted = np.array(pairs).T
    classes = set(target)
    kept = np.array([p if p in classes else -1 for p in predicted])  # scikit-learn warns of values never wanted
    expected = np.mean([(kept[target == c] == c).mean() for c in classes])
    assert balanced_share(predicted == target, [target]) == pytest.approx(expected)
    if set(predicted) <= classes and len(classes) > 1:
        assert balanced_share(predicted == target, [target]) == pytest.approx(
            balanced_accuracy_score(target, predicted)
        )


def test_combinations_are_groups_however_rare():
    scanner, effusion = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1])
    right = np.array([True, True, False, False, True])
    assert balanced_share(right, [scanner, effusion]) == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_nothing_to_measure_is_none():
    assert balanced_share(np.zeros(0, bool), [np.zeros(0, int)]) is None
    assert explained_share(np.ones(2), np.full(2, np.nan)) is None
    assert mean_or_none(np.array([np.nan])) is None
    assert mean_or_none(np.array([np.nan, 2.0, 4.0])) == 3.0


def test_explained_share_is_r2_for_a_standardised_population():
    rng = np.random.default_rng(0)
    wanted = rng.standard_normal(500)
    wanted = (wanted - wanted.mean()) / wanted.std()
    predicted = wanted + rng.normal(0, 0.5, 500)
    r2 = 1 - np.square(predicted - wanted).sum() / np.square(wanted - wanted.mean()).sum()
    assert explained_share(predicted, wanted) == pytest.approx(r2)
    assert explained_share(np.zeros(500), wanted) == pytest.approx(0)
    assert explained_share(np.full(3, 2.0), np.full(3, 1.5)) == pytest.approx(0.75)  # all set to one value


def test_absolute_error_is_one_number_an_image():
    images = np.zeros((2, 4, 4), np.float32)
    others = images.copy()
    others[1, 0] = 1
    assert absolute_error(images, others).tolist() == [0, 0.25]


def test_mask_agreement_is_the_dice_of_the_segmentation_measures():
    rng = np.random.default_rng(0)
    masks, others = rng.integers(0, 3, (2, 5, 8, 8))
    others[0][others[0] == 2] = 1
    masks[0][masks[0] == 2] = 1  # the second structure is in neither
    others[1][others[1] == 1] = 0  # the first structure is only in one
    found = mask_agreement(masks, others, 3)
    expected = [
        case_metrics(m, o, ("background", "left", "right"))["dsc"] / 100 for m, o in zip(masks, others, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_two_empty_masks_have_no_dice():
    assert np.isnan(mask_agreement(np.zeros((1, 4, 4)), np.zeros((1, 4, 4)), 3)).all()
