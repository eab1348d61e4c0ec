"""Counterfactual parents: the action, then every descendant by its mechanism and its own noise."""

import json

import numpy as np
import pandas as pd
import pytest

from densecf.counterfactuals.interventions import parse_interventions
from densecf.counterfactuals.parents import fit_parents
from densecf.counterfactuals.scm import StructuralCausalModel, fit_scm
from densecf.data import phantom
from densecf.errors import CheckpointError, ConfigError, DataError

NAMES = ("scanner", "sex", "age", "pleural_effusion")


@pytest.fixture(scope="module")
def records():
    table = phantom.cohort(2000)
    return table[table["split"] == "train"]


@pytest.fixture(scope="module")
def model(records):
    parents, known = fit_parents(records, NAMES)
    return fit_scm(records[known], parents, ["age->pleural_effusion"])


def intervene(model, records, text, **options):
    (intervention,) = parse_interventions([text], model.parents)
    return model.intervene(records, intervention, **options)


def test_without_edges_parents_are_roots(records):
    parents, _ = fit_parents(records, NAMES)
    model = fit_scm(records, parents)
    assert model == StructuralCausalModel(parents)
    changed = intervene(model, records, "age=90")
    pd.testing.assert_frame_equal(changed, records.assign(age=90.0))
    np.testing.assert_array_equal(model.encode(records), parents.encode(records))


@pytest.mark.parametrize("age", [35, 60, 80])
def test_descendants_follow_the_true_interventional_distribution(model, records, age):
    changed = intervene(model, records, f"age={age}")
    assert changed["pleural_effusion"].mean() == pytest.approx(phantom.effusion_probability(age), abs=0.045)
    assert changed["pleural_effusion"].dtype == records["pleural_effusion"].dtype


def test_a_null_intervention_changes_nothing(model, records):
    for value, part in records.groupby("age"):
        pd.testing.assert_frame_equal(intervene(model, part, f"age={value}"), part)
    women = records[records["sex"] == "F"]
    pd.testing.assert_frame_equal(intervene(model, women, "sex=F"), women)


def test_what_is_no_descendant_stays(model, records):
    changed = intervene(model, records, "scanner=other")
    rest = [name for name in records if name != "scanner"]
    pd.testing.assert_frame_equal(changed[rest], records[rest])
    assert (changed["scanner"] != records["scanner"]).all()
    pd.testing.assert_series_equal(intervene(model, records, "pleural_effusion=other")["age"], records["age"])


def test_a_descendant_changes_through_its_noise_only(model, records):
    """One noise a record: growing older never takes fluid away, in whatever order the ages are tried."""
    at = {age: intervene(model, records, f"age={age}")["pleural_effusion"] for age in (90, 30, 60, 75)}
    assert (at[30] <= at[60]).all()
    assert (at[60] <= at[75]).all()
    assert (at[75] <= at[90]).all()
    older = records["age"] < 90
    assert (at[90][older] >= records["pleural_effusion"][older]).all()
    pd.testing.assert_series_equal(intervene(model, records, "age=60+sex=other")["pleural_effusion"], at[60])


def test_noise_is_the_seeds_and_the_records(model, records):
    whole = intervene(model, records, "age=85", seed=1)
    part = records.sample(100, random_state=0)
    pd.testing.assert_frame_equal(intervene(model, part, "age=85", seed=1), whole.loc[part.index])
    other = intervene(model, records, "age=85", seed=2)
    assert (other["pleural_effusion"] != whole["pleural_effusion"]).any()


def test_an_intervened_child_ignores_its_causes(model, records):
    changed = intervene(model, records, "age=90+pleural_effusion=0")
    assert (changed["pleural_effusion"] == 0).all()
    assert (changed["age"] == 90).all()
    flipped = intervene(model, records, "pleural_effusion=other+age=30")["pleural_effusion"]
    pd.testing.assert_series_equal(flipped, 1 - records["pleural_effusion"])


@pytest.fixture(scope="module")
def chain():
    """age -> weight -> scanner (three of them), and sex -> weight; one scanner in five is unknown."""
    rng = np.random.default_rng(0)
    count = 3000
    age, sex = rng.normal(60, 10, count), rng.choice(["F", "M"], count)
    weight = 50 + 0.5 * age + 10 * (sex == "M") + rng.normal(0, 5, count)
    scores = np.stack([np.zeros(count), (weight - 85) / 5, (85 - weight) / 10], 1) + rng.gumbel(size=(count, 3))
    scanner = np.array(["A", "B", "C"])[scores.argmax(1)]
    scanner[rng.random(count) < 0.2] = ""
    images = [f"i{row}" for row in range(count)]
    return pd.DataFrame({"image": images, "age": age, "sex": sex, "weight": weight, "scanner": scanner})


def test_changes_run_down_the_graph(chain):
    parents, _ = fit_parents(chain, ["scanner", "weight", "age", "sex"], missing="category")
    model = fit_scm(chain, parents, ["weight -> scanner", "age->weight", "sex->weight", "age->weight"])
    assert model.edges == ("age->weight", "sex->weight", "weight->scanner")
    changed = intervene(model, chain, "age=80")
    # weight = 50 + 0.5 age + ... + noise, and the noise stays
    np.testing.assert_allclose(changed["weight"] - chain["weight"], 0.5 * (80 - chain["age"]), atol=2.5)
    unknown = chain["scanner"] == ""
    assert (changed["scanner"][unknown] == "").all()
    assert (changed["scanner"] != chain["scanner"])[~unknown].mean() > 0.1
    # the same change of weight, set by hand, leads to the same scanners
    heavier = chain.assign(age=80.0, weight=changed["weight"])
    mechanism = model.mechanisms[1]
    known = chain[~unknown]
    by_hand = mechanism.predict(mechanism.abduct(known, 0), heavier[~unknown])
    assert changed["scanner"][~unknown].tolist() == by_hand
    # cut at weight, age reaches nothing
    cut = intervene(model, chain, "weight=85+age=80")["scanner"]
    pd.testing.assert_series_equal(cut, intervene(model, chain, "weight=85")["scanner"])
    assert (intervene(model, chain, "scanner=B+age=80")["scanner"] == "B").all()
    assert StructuralCausalModel.from_dict(json.loads(json.dumps(model.to_dict(), sort_keys=True))) == model


def test_json_gives_the_same_model_back(model, records):
    again = StructuralCausalModel.from_dict(json.loads(json.dumps(model.to_dict(), sort_keys=True)))
    assert again == model
    pd.testing.assert_frame_equal(intervene(again, records, "age=80"), intervene(model, records, "age=80"))


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (["age"], "cause->child"),
        (["age->"], "cause->child"),
        (["age->sex->scanner"], "cause->child"),
        (["smoking->pleural_effusion"], "no parent 'smoking'; the parents are: scanner, sex"),
        (["age->hospital"], "no parent 'hospital'"),
        (["age->age"], "circle: age->age"),
        (["age->sex", "sex->scanner", "scanner->age"], "circle: .*(age->sex|sex->scanner->age)"),
    ],
)
def test_graphs_that_cannot_be(records, edges, message):
    parents, _ = fit_parents(records, NAMES)
    with pytest.raises(ConfigError, match=message):
        fit_scm(records, parents, edges)


def test_unknown_causes_are_refused(model, records):
    with pytest.raises(DataError, match="age has to be a number"):
        intervene(model, records.assign(age=np.nan), "scanner=other")


def test_damaged_models_are_refused(model):
    entry = model.to_dict()
    (mechanism,) = entry["mechanisms"]
    backwards = {
        "child": "age",
        "causes": [{"name": "pleural_effusion", "knots": []}],
        "mean": [0.0, 1.0],
        "log_spread": [0.0, 0.0],
    }
    StructuralCausalModel.from_dict(entry | {"mechanisms": [backwards]})
    for damaged in (None, {}, entry | {"parents": None}, entry | {"mechanisms": [mechanism, backwards]}):
        with pytest.raises(CheckpointError):
            StructuralCausalModel.from_dict(damaged)
