"""Parents are typed as the records say, encoded as documented, and come back from JSON unchanged."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from densecf.counterfactuals.parents import Parent, Parents, fit_parents, value_text
from densecf.errors import CheckpointError, ConfigError, DataError

RECORDS = pd.DataFrame(
    {
        "image": ["a", "b", "c", "d", "e", "f"],
        "patient_id": ["1", "1", "2", "3", "4", "5"],
        "scanner": ["X", "Y", "X", "Z", "", "Y"],
        "sex": ["M", "F", "F", "", "M", "M"],
        "age": [50.0, 60.0, np.nan, 70.0, 40.0, 55.0],
        "pleural_effusion": [1.0, 0.0, 0.0, 1.0, 1.0, np.nan],
        "view": ["0", "1", "2", "2", "1", "0"],
        "weight": ["70.5", "81", "64", "", "90", "55"],
        "stage": [1, 2, 10, 2, 1, 10],
        "portable": [True, False, False, True, True, False],
        "country": ["ES"] * 6,
    },
    index=[3, 1, 4, 15, 9, 2],
)


def kinds_of(*names, **options):
    parents, _ = fit_parents(RECORDS, names, **options)
    return {parent.name: parent.kind for parent in parents.entries}


def test_types_come_from_the_records():
    names = ("scanner", "sex", "age", "pleural_effusion", "view", "weight", "stage", "portable")
    each = {name: kinds_of(name)[name] for name in names}
    assert each == {
        "scanner": "categorical",
        "sex": "binary",
        "age": "continuous",
        "pleural_effusion": "binary",
        "view": "categorical",  # text by definition, though it looks like a number
        "weight": "continuous",  # a number, though read as text
        "stage": "continuous",
        "portable": "binary",
    }


def test_values_are_text_and_sorted_as_numbers_where_they_are():
    parents, _ = fit_parents(RECORDS, ["stage", "pleural_effusion", "portable"], kinds={"stage": "categorical"})
    assert parents["stage"].values == ("1", "2", "10")
    assert parents["pleural_effusion"].values == ("0", "1")
    assert parents["portable"].values == ("False", "True")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (np.float32(2.5), "2.5"), ("M ", "M"), (np.int64(3), "3"), (True, "True"), (float("nan"), "unknown")],
)
def test_value_text(value, text):
    assert value_text(value) == text


def test_dropping_leaves_out_every_record_with_an_unknown_parent():
    parents, known = fit_parents(RECORDS, ["scanner", "sex", "age"])
    assert known.tolist() == [True, True, False, False, False, True]
    assert parents["scanner"] == Parent("scanner", "binary", ("X", "Y"))  # Z stands only where the sex is unknown
    assert parents["age"].mean == pytest.approx(55)
    assert parents["age"].std == pytest.approx(np.std([50, 60, 55]))


def test_missing_values_as_a_category_of_their_own():
    parents, known = fit_parents(RECORDS, ["scanner", "sex", "age", "view"], missing="category")
    assert known.tolist() == [True, True, False, True, True, True]  # an unknown number is no category
    assert parents["scanner"].values == ("X", "Y", "Z", "unknown")
    assert parents["scanner"].known_values == ("X", "Y", "Z")
    assert (parents["sex"].kind, parents["sex"].values) == ("categorical", ("F", "M", "unknown"))
    assert parents["view"].values == ("0", "1", "2")  # nothing is unknown here
    rows = parents.encode(RECORDS[known])[:, parents.columns("scanner")]
    assert rows.argmax(1).tolist() == [0, 1, 2, 3, 1]
    assert (rows.sum(1) == 1).all()


def test_the_encoding():
    parents, known = fit_parents(RECORDS, ["age", "scanner", "pleural_effusion"], kinds={"scanner": "categorical"})
    kept = RECORDS[known]
    assert kept["image"].tolist() == ["a", "b", "d"]
    mean, std = 60.0, np.std([50, 60, 70])
    expected = [[(50 - mean) / std, 1, 0, 0, 1], [0, 0, 1, 0, -1], [(70 - mean) / std, 0, 0, 1, 1]]
    encoded = parents.encode(kept)
    assert encoded.dtype == np.float32
    assert parents.width == 5
    np.testing.assert_allclose(encoded, expected, rtol=1e-6)
    assert [parents.columns(name) for name in parents.names] == [slice(0, 1), slice(1, 4), slice(4, 5)]
    np.testing.assert_array_equal(parents.only(["pleural_effusion", "age"]).encode(kept), encoded[:, [4, 0]])


def test_an_integer_and_a_float_column_are_the_same_parent():
    parents, _ = fit_parents(RECORDS, ["stage"], kinds={"stage": "categorical"})
    as_float = RECORDS.assign(stage=RECORDS["stage"].astype(float))
    np.testing.assert_array_equal(parents.encode(RECORDS), parents.encode(as_float))


@pytest.mark.parametrize("missing", ["drop", "category"])
def test_json_gives_the_same_parents_back(missing):
    parents, _ = fit_parents(RECORDS, ["scanner", "sex", "age", "weight", "pleural_effusion"], missing=missing)
    assert Parents.from_dict(json.loads(json.dumps(parents.to_dict()))) == parents


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=20, unique=True))
def test_numbers_are_standardised(values):
    records = pd.DataFrame({"image": [str(i) for i in range(len(values))], "x": values})
    parents, _ = fit_parents(records, ["x"], kinds={"x": "continuous"})
    encoded = parents.encode(records).astype(np.float64)
    back = encoded[:, 0] * parents["x"].std + parents["x"].mean
    np.testing.assert_allclose(back, values, atol=1e-5 * parents["x"].std + 1e-9, rtol=1e-5)


@pytest.mark.parametrize(
    ("names", "options", "error", "message"),
    [
        (["hospital"], {}, ConfigError, "no column 'hospital'.*scanner, sex, age"),
        (["image"], {}, ConfigError, "no column 'image'"),
        ([], {}, ConfigError, "at least one parent"),
        (["sex", "sex"], {}, ConfigError, "twice"),
        (["sex"], {"missing": "guess"}, ConfigError, "'drop' or 'category'"),
        (["sex"], {"kinds": {"sex": "colour"}}, ConfigError, "binary, categorical, continuous"),
        (["sex"], {"kinds": {"age": "continuous"}}, ConfigError, "kind of 'age'"),
        (["scanner"], {"kinds": {"scanner": "continuous"}}, ConfigError, "'X' is not a number"),
        (["scanner"], {"kinds": {"scanner": "binary"}}, ConfigError, "X, Y, Z"),
        (["country"], {}, DataError, "country is ES in all 6 records"),
    ],
)
def test_requests_that_cannot_be_met_say_why(names, options, error, message):
    with pytest.raises(error, match=message):
        fit_parents(RECORDS, names, **options)


def test_nothing_left_counts_what_is_unknown():
    records = RECORDS.assign(sex="", age=np.nan)
    with pytest.raises(DataError, match=r"None of the 6 records.*sex in 6, scanner in 1"):
        fit_parents(records, ["sex", "scanner"])


def test_encoding_refuses_what_the_model_does_not_know():
    parents, known = fit_parents(RECORDS, ["scanner", "age"], kinds={"scanner": "categorical"})
    with pytest.raises(DataError, match=r"scanner has to be one of X, Y, Z, and is not in 1 records: e \(unknown\)"):
        parents.encode(RECORDS.assign(age=50.0))
    with pytest.raises(DataError, match=r"age has to be a number.*c \(unknown\)"):
        parents.encode(RECORDS.assign(scanner="X"))
    with pytest.raises(DataError, match="no column 'age'"):
        parents.encode(RECORDS[known].drop(columns="age"))
    with pytest.raises(ConfigError, match="no parent 'sex'; the parents are: scanner, age"):
        parents["sex"]


@pytest.mark.parametrize(
    "damaged",
    [
        {"name": "x"},
        [{"name": "x", "kind": "ordinal", "values": ["a", "b"]}],
        [{"name": "x", "kind": "binary", "values": ["a"]}],
        [{"name": "x", "kind": "categorical", "values": ["a", "a"]}],
        [{"name": "x", "kind": "continuous", "mean": 0.0, "std": 0.0}],
        [{"name": "x", "kind": "continuous", "mean": None, "std": 1.0}],
        [{"kind": "binary", "values": ["a", "b"]}],
        [{"name": "x", "kind": "binary", "values": ["a", "b"]}] * 2,
    ],
)
def test_damaged_descriptions_are_refused(damaged):
    with pytest.raises(CheckpointError):
        Parents.from_dict(damaged)


def test_free_text_is_no_category():
    notes = pd.DataFrame({"image": [str(i) for i in range(100)], "notes": [f"note {i % 25}" for i in range(100)]})
    with pytest.raises(DataError, match="notes has 25 values in 100 records"):
        fit_parents(notes, ["notes"])
    assert len(fit_parents(pd.concat([notes, notes]), ["notes"])[0]["notes"].values) == 25
