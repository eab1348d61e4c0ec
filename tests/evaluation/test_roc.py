import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densecf.evaluation.roc import group_aucs, mean_and_se, roc_auc


def slow_auc(scores, truth):
    """Pairs of a positive and a negative in which the positive scores higher; ties count half."""
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p, positive in zip(scores, truth, strict=True)
        for n, other in zip(scores, truth, strict=True)
        if positive and not other
    ]
    return sum(wins) / len(wins)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_ordered_pairs(pairs):
    scores, truth = (np.array(column) for column in zip(*pairs, strict=True))
    found = roc_auc(scores.astype(float), truth.astype(int))
    if truth.all() or not truth.any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(slow_auc(scores, truth))


def test_several_classes_are_each_against_the_rest():
    rng = np.random.default_rng(0)
    scores, codes = rng.random((60, 3)), rng.integers(0, 3, 60)
    expected = np.mean([slow_auc(scores[:, k], codes == k) for k in range(3)])
    assert roc_auc(scores, codes) == pytest.approx(expected)
    two = codes != 1  # a class that is absent takes no part
    expected = np.mean([slow_auc(scores[two, k], codes[two] == k) for k in (0, 2)])
    assert roc_auc(scores[two], codes[two]) == pytest.approx(expected)
    assert math.isnan(roc_auc(scores[codes == 1], codes[codes == 1]))


def test_groups_and_their_gap():
    scores = np.array([0.9, 0.1, 0.8, 0.2, 0.3, 0.7, 0.5])
    codes = np.array([1, 0, 1, 0, 1, 0, 1])
    strata = {
        "scanner": np.array(["A", "A", "A", "A", "B", "B", "C"], dtype=object),
        "sex": np.array(["F", "F", "M", "M", "M", "M", ""], dtype=object),
    }
    found = {each.group: each for each in group_aucs(scores, codes, strata, gaps=("sex",))}
    assert list(found) == ["all", "scanner=A", "scanner=B", "scanner=C", "sex=F", "sex=M", "sex gap"]
    assert found["scanner=A"].auc == 1
    assert found["scanner=B"].auc == 0
    assert math.isnan(found["scanner=C"].auc)
    assert (found["all"].n, found["all"].positives, found["scanner=C"].n) == (7, 4, 1)
    assert found["sex gap"].auc == pytest.approx(found["sex=F"].auc - found["sex=M"].auc)
    assert found["sex=F"].n == 2  # unknown belongs to nobody


def test_a_gap_to_a_stratum_without_auc_is_not_known():
    found = group_aucs(np.arange(4.0), np.array([0, 1, 1, 1]), {"sex": np.array(list("FFMM"), object)}, ("sex",))
    assert math.isnan(found[-1].auc)


def test_standard_error():
    mean, error = mean_and_se(np.array([0.7, 0.8, 0.9]))
    assert (mean, error) == (pytest.approx(0.8), pytest.approx(0.1 / math.sqrt(3)))
    assert math.isnan(mean_and_se(np.array([0.7]))[1])
