"""Abducted noise gives every record its own child back, and new causes the child that the mechanism would give."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from densecf.counterfactuals.mechanisms import (
    AffineMechanism,
    CategoricalMechanism,
    Causes,
    fit_mechanism,
    mechanism_from_dict,
    natural_spline,
)
from densecf.counterfactuals.parents import Parent, Parents, fit_parents
from densecf.data import phantom
from densecf.errors import CheckpointError

AGE = Parent("age", "continuous", mean=60.0, std=15.0)
VIEW = Parent("view", "categorical", ("AP", "LL", "PA"))
SEX = Parent("sex", "binary", ("F", "M"))
EFFUSION = Parent("pleural_effusion", "binary", ("0", "1"))
# Views by age and sex, and effusion by age, with weights chosen by hand.
VIEWS = CategoricalMechanism(
    VIEW, Causes(Parents((AGE, SEX)), ((), ())), ((0.3, 1.5, -0.4), (-0.5, -0.2, 1.0), (0.0, 0.0, 0.0))
)
EFFUSIONS = CategoricalMechanism(EFFUSION, Causes(Parents((AGE,)), ((),)), ((0.0, 0.0), (-1.0, 0.9)))
HEARTS = AffineMechanism(
    Parent("heart", "continuous", mean=12.0, std=2.0),
    Causes(Parents((AGE, SEX)), ((-1.0, 0.0, 0.5, 1.0), ())),
    (0.1, 0.8, 0.5, -2.0, 0.6),
    (-0.7, 0.3, 0.1, 0.2, -0.4),
)


def table(count, seed=0, **columns):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "image": [f"image-{row}" for row in range(count)],
            "age": rng.normal(60, 15, count),
            "sex": rng.choice(["F", "M"], count),
        }
        | columns
    )


def sampled(mechanism, records, seed=0):
    """The records with a child drawn from the mechanism."""
    rng = np.random.default_rng(seed)
    p = np.exp(mechanism.log_probabilities(records))
    chosen = (p.cumsum(1) < rng.random((len(p), 1))).sum(1)
    return records.assign(**{mechanism.child.name: [mechanism.child.values[value] for value in chosen]})


def test_the_natural_spline_spans_the_natural_splines():
    knots = np.array([-1.5, -0.2, 0.6, 1.1])
    x = np.linspace(-1.5, 1.1, 200)
    basis = np.concatenate([np.ones((200, 1)), natural_spline(x, knots)], axis=1)
    assert basis.shape == (200, 4)
    for heights in np.eye(4):
        target = CubicSpline(knots, heights, bc_type="natural")(x)
        weights = np.linalg.lstsq(basis, target, rcond=None)[0]
        np.testing.assert_allclose(basis @ weights, target, atol=1e-9)


def test_the_natural_spline_is_straight_outside():
    x = np.array([-9.0, -8.0, -7.0, 5.0, 6.0, 7.0])
    columns = natural_spline(x, (-1.5, -0.2, 0.6, 1.1))
    np.testing.assert_allclose(columns[0] + columns[2], 2 * columns[1], atol=1e-9)
    np.testing.assert_allclose(columns[3] + columns[5], 2 * columns[4], atol=1e-9)
    np.testing.assert_array_equal(natural_spline(x, (0.0, 1.0)), x[:, None])


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(-20, 20), st.floats(-20, 20), st.sampled_from(["AP", "LL", "PA"]))
def test_the_observed_value_comes_back(seed, intercept, slope, view):
    """Even an observation the mechanism holds for all but impossible."""
    mechanism = CategoricalMechanism(VIEW, EFFUSIONS.causes, ((intercept, slope), (0.0, 0.0), (-intercept, 1.0)))
    records = table(40, seed % 7, view=view)
    assert mechanism.predict(mechanism.abduct(records, seed), records) == [view] * 40


@pytest.mark.parametrize("observed", [0, 1, 2])
def test_the_posterior_of_the_noise_is_the_prior_given_what_was_observed(observed):
    """Oracle: draw Gumbel noise, keep what explains the observation, look at what it says under other causes."""
    count = 20_000
    real = table(count, age=50.0, sex="F", view=VIEW.values[observed])
    other = real.assign(age=75.0, sex="M")
    log_p, log_q = VIEWS.log_probabilities(real)[0], VIEWS.log_probabilities(other)[0]
    gumbel = np.random.default_rng(1).gumbel(size=(400_000, 3))
    kept = gumbel[(log_p + gumbel).argmax(1) == observed]
    expected = np.bincount((log_q + kept).argmax(1), minlength=3) / len(kept)
    found = pd.Series(VIEWS.predict(VIEWS.abduct(real, 0), other)).value_counts(normalize=True)
    assert (
        expected > 0.05
    ).sum() == observed + 1  # AP gains most, then LL: neither is left for a value that gains less
    np.testing.assert_allclose(found.reindex(VIEW.values, fill_value=0.0), expected, atol=4 * 0.5 / np.sqrt(count))


@pytest.mark.parametrize(("age", "seed"), [(40.0, 0), (75.0, 1)])
def test_binary_counterfactuals_have_their_closed_form(age, seed):
    """Of two values, Gumbel-max is monotone: P(1 under do | was 0) = (q - p) / (1 - p) for q > p, and 0 otherwise."""
    count = 20_000
    real = table(count, age=60.0)
    changed = real.assign(age=age)
    p, q = (np.exp(EFFUSIONS.log_probabilities(each))[0, 1] for each in (real, changed))
    for observed, stays in (("0", min(1, (1 - q) / (1 - p))), ("1", min(1, q / p))):
        records = real.assign(pleural_effusion=observed)
        values = np.array(EFFUSIONS.predict(EFFUSIONS.abduct(records, seed), changed))
        assert (values == observed).mean() == pytest.approx(stays, abs=4 * 0.5 / np.sqrt(count))


def test_over_many_records_counterfactuals_follow_the_interventional_distribution():
    records = sampled(VIEWS, table(20_000))
    changed = records.assign(age=80.0)
    expected = np.exp(VIEWS.log_probabilities(changed)).mean(0)
    found = pd.Series(VIEWS.predict(VIEWS.abduct(records, 3), changed)).value_counts(normalize=True)
    np.testing.assert_allclose(found.reindex(VIEW.values), expected, atol=4 * 0.5 / np.sqrt(20_000))


def test_a_value_that_only_gains_is_kept():
    """Counterfactual stability (Oberst & Sontag 2019, definition 2)."""
    records = sampled(EFFUSIONS, table(3000))
    older = records.assign(age=records["age"] + 10)
    after = EFFUSIONS.predict(EFFUSIONS.abduct(records, 0), older)
    had = (records["pleural_effusion"] == "1").to_numpy()
    assert (np.array(after)[had] == "1").all()
    assert (np.array(after)[~had] == "1").any()


def test_noise_belongs_to_the_image_and_the_seed():
    records = sampled(VIEWS, table(50))
    noise = VIEWS.abduct(records, 0)
    shuffled = records.sample(frac=1, random_state=0)
    np.testing.assert_array_equal(VIEWS.abduct(shuffled, 0), noise[shuffled.index])
    np.testing.assert_array_equal(VIEWS.abduct(records[10:20], 0), noise[10:20])
    assert (VIEWS.abduct(records, 1) != noise).all()
    assert (VIEWS.abduct(records.assign(image=records["image"] + "b"), 0) != noise).all()


def test_effusion_by_age_is_learnt_from_the_phantom():
    records = phantom.cohort(2000)
    records = records[records["split"] == "train"]  # the manual split is chosen by effusion
    parents, _ = fit_parents(records, ["age", "pleural_effusion"])
    mechanism = fit_mechanism(records, parents["pleural_effusion"], parents.only(["age"]))
    ages = np.arange(25.0, 91.0, 5.0)
    found = np.exp(mechanism.log_probabilities(pd.DataFrame({"age": ages})))[:, 1]
    truth = [phantom.effusion_probability(age) for age in ages]
    np.testing.assert_allclose(found, truth, atol=0.05)
    assert (np.diff(found) > 0).all()


def test_several_causes_of_a_value_are_learnt():
    records = sampled(VIEWS, table(20_000))
    parents, _ = fit_parents(records, ["age", "sex", "view"])
    mechanism = fit_mechanism(records, parents["view"], parents.only(["age", "sex"]))
    np.testing.assert_allclose(
        np.exp(mechanism.log_probabilities(records)), np.exp(VIEWS.log_probabilities(records)), atol=0.04
    )


def test_a_value_never_seen_is_unlikely_but_not_impossible():
    records = table(200, view=["PA"] * 150 + ["LL"] * 50)
    p = np.exp(fit_mechanism(records, VIEW, Parents((AGE,))).log_probabilities(records))
    assert p.shape == (200, 3)
    assert 0 < p[:, 0].min() < p[:, 0].max() < 0.02


def test_unknown_children_are_no_outcome():
    child = Parent("view", "categorical", ("LL", "PA", "unknown"))
    records = table(300, view=["PA"] * 100 + ["LL"] * 100 + [""] * 100)
    p = np.exp(fit_mechanism(records, child, Parents((AGE,))).log_probabilities(records))
    assert p.shape == (300, 2)
    assert p.mean(0) == pytest.approx([0.5, 0.5], abs=0.1)


def test_the_affine_mechanism_inverts():
    records = table(500)
    noise = np.random.default_rng(2).normal(size=500)
    made = records.assign(heart=[float(text) for text in HEARTS.predict(noise, records)])
    np.testing.assert_allclose(HEARTS.abduct(made), noise, rtol=1e-12, atol=1e-12)
    again = [float(text) for text in HEARTS.predict(HEARTS.abduct(made), made)]
    np.testing.assert_allclose(again, made["heart"], rtol=1e-14)


def test_the_affine_mechanism_in_closed_form():
    straight = AffineMechanism(HEARTS.child, Causes(Parents((AGE,)), ((),)), (0.5, 1.0), (np.log(0.5), np.log(2.0)))
    record = pd.DataFrame({"image": ["a"], "age": [75.0], "heart": [19.0]})
    # At 75, one deviation above the mean age: mean 12 + 2 * 1.5 = 15, spread 2 * 0.5 * 2 = 2, so the noise is 2.
    assert straight.abduct(record) == pytest.approx(2.0)
    # At 45: mean 12 + 2 * (-0.5) = 11, spread 2 * 0.5 / 2 = 0.5.
    assert float(straight.predict(np.array([2.0]), record.assign(age=45.0))[0]) == pytest.approx(12.0)


def test_mean_and_spread_are_learnt():
    records = table(20_000)
    noise = np.random.default_rng(4).normal(size=len(records))
    records["heart"] = [float(text) for text in HEARTS.predict(noise, records)]
    parents, _ = fit_parents(records, ["age", "sex", "heart"])
    found = fit_mechanism(records, parents["heart"], parents.only(["age", "sex"]))
    inside = records[records["age"].between(35, 85)]
    mean, spread = found.moments(inside)
    true_mean, true_spread = HEARTS.moments(inside)
    np.testing.assert_allclose(mean, true_mean, atol=0.25)  # of a deviation of about 2
    np.testing.assert_allclose(spread / true_spread, 1, atol=0.08)
    left = found.abduct(records)
    assert left.mean() == pytest.approx(0, abs=0.02)
    assert left.std() == pytest.approx(1, abs=0.02)


def test_a_child_without_chance_keeps_a_small_spread():
    records = table(200)
    records["heart"] = 2 * records["age"]
    parents, _ = fit_parents(records, ["age", "heart"])
    mechanism = fit_mechanism(records, parents["heart"], parents.only(["age"]))
    mean, spread = mechanism.moments(records)
    np.testing.assert_allclose(mean, records["heart"], atol=0.05 * records["heart"].std())
    assert (spread > 0).all()
    assert (spread < 0.05 * records["heart"].std()).all()


PARENTS = Parents((AGE, SEX, VIEW, EFFUSION, HEARTS.child))


@pytest.mark.parametrize("mechanism", [VIEWS, EFFUSIONS, HEARTS])
def test_json_gives_the_same_mechanism_back(mechanism):
    text = json.dumps(mechanism.to_dict(), sort_keys=True)
    assert mechanism_from_dict(json.loads(text), PARENTS) == mechanism


@pytest.mark.parametrize(
    "change",
    [
        {"child": "hospital"},
        {"causes": [{"name": "age", "knots": []}]},
        {"causes": [{"name": "age", "knots": [1.0, 1.0, 2.0]}, {"name": "sex", "knots": []}]},
        {"weights": [[0.0, 0.0, 0.0]] * 2},
        {"weights": [[0.0, 0.0, float("nan")]] * 3},
        {"weights": None},
    ],
)
def test_damaged_mechanisms_are_refused(change):
    with pytest.raises(CheckpointError, match="mechanism"):
        mechanism_from_dict(VIEWS.to_dict() | change, PARENTS)
