import numpy as np
import pytest
from scipy.optimize import minimize

from densecf.evaluation import linear_probe
from densecf.evaluation.linear_probe import STRENGTHS, fit_linear_probe
from densecf.evaluation.roc import roc_auc


def problem(n, classes=2, seed=0, width=8):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, classes, n)
    codes[:classes] = np.arange(classes)
    features = rng.normal(size=(n, width)) * rng.uniform(0.1, 30, width) + 5
    features[:, 0] += 20 * codes
    features[:, 1] -= 9 * (codes == 1)
    return features.astype(np.float32), codes


def test_it_is_the_balanced_penalised_maximum_likelihood(monkeypatch):
    """Against a general minimiser of the formula: C sum_i w_i log(1 + exp(-y_i f_i)) + |w|^2 / 2."""
    monkeypatch.setattr(linear_probe, "STRENGTHS", (0.05,))
    features, codes = problem(120)
    probe = fit_linear_probe(features, codes, features, codes)
    standard = (features - features.mean(0, dtype=float)) / features.std(0, dtype=float)
    weights = len(codes) / (2 * np.bincount(codes))[codes]

    def objective(w):
        margins = (2 * codes - 1) * (standard @ w[:-1] + w[-1])
        return 0.05 * (weights * np.logaddexp(0, -margins)).sum() + w[:-1] @ w[:-1] / 2

    found = minimize(objective, np.zeros(9), options={"gtol": 1e-9}).x
    np.testing.assert_allclose(probe.weights, found[:-1], atol=2e-3)
    np.testing.assert_allclose(probe(features), standard @ found[:-1] + found[-1], atol=5e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_strength_that_does_best_on_val_is_taken(classes):
    features, codes = problem(60, classes)
    val, val_codes = problem(80, classes, seed=1)
    probe = fit_linear_probe(features, codes, val, val_codes, classes)
    scores = probe(val)
    assert scores.shape == ((80,) if classes == 2 else (80, classes))
    assert probe.val_auc == roc_auc(scores, val_codes)
    assert probe.strength in STRENGTHS
    if classes > 2:
        np.testing.assert_allclose(scores.sum(axis=1), 1)
    test, test_codes = problem(300, classes, seed=2)
    assert roc_auc(probe(test), test_codes) > 0.8


def test_no_alternative_strength_does_better(monkeypatch):
    features, codes = problem(40)
    val, val_codes = problem(50, seed=3)
    chosen = fit_linear_probe(features, codes, val, val_codes)
    for strength in STRENGTHS:
        monkeypatch.setattr(linear_probe, "STRENGTHS", (strength,))
        assert fit_linear_probe(features, codes, val, val_codes).val_auc <= chosen.val_auc + 1e-3


def test_scale_and_dead_features_change_nothing():
    features, codes = problem(60)
    wide = np.concatenate([features * 1000, np.full((60, 1), 7, np.float32)], axis=1)
    first, second = (fit_linear_probe(each, codes, each, codes) for each in (features, wide))
    np.testing.assert_allclose(first(features), second(wide), rtol=1e-2, atol=1e-2)
