"""Interventions are read as documented, expand to each other value, and change what they name and nothing else."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from densecf.counterfactuals.interventions import parse_interventions, with_texts
from densecf.counterfactuals.parents import Parent, Parents, fit_parents, value_text
from densecf.data import phantom
from densecf.errors import ConfigError

PARENTS = Parents(
    (
        Parent("scanner", "categorical", ("Aurora DR", "B+", "C")),
        Parent("sex", "binary", ("F", "M")),
        Parent("pleural_effusion", "binary", ("0", "1")),
        Parent("age", "continuous", mean=55.0, std=10.0),
        Parent("view", "categorical", ("AP", "PA", "unknown")),
    )
)
RECORDS = pd.DataFrame(
    {
        "image": ["a", "b", "c"],
        "patient_id": ["1", "2", "3"],
        "scanner": ["Aurora DR", "B+", "C"],
        "sex": ["F", "M", "F"],
        "pleural_effusion": [0.0, 1.0, 1.0],
        "age": [40.0, 50.0, 60.0],
        "view": ["AP", "PA", ""],
    },
    index=[7, 3, 5],
)


def names(*texts):
    return [intervention.name for intervention in parse_interventions(texts, PARENTS)]


def applied(text):
    (intervention,) = parse_interventions([text], PARENTS)
    return intervention.apply(RECORDS, PARENTS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sex=other", ["sex=other"]),
        ("sex=other.1", ["sex=other"]),
        ("scanner=other", ["scanner=other.1", "scanner=other.2"]),
        ("scanner=other.2", ["scanner=other.2"]),
        ("scanner=Aurora DR", ["scanner=Aurora DR"]),
        ("scanner=B+", ["scanner=B+"]),
        ("scanner=B++sex=F", ["scanner=B++sex=F"]),
        (" sex = m + pleural_effusion = 1.0 ", ["sex=M+pleural_effusion=1"]),
        ("view=other", ["view=other"]),  # unknown is no target
        ("age=60.0", ["age=60"]),
        ("age=-2.5", ["age=-2.5"]),
        ("pleural_effusion=other+sex=F", ["pleural_effusion=other+sex=F"]),
        ("scanner=other+sex=other", ["scanner=other.1+sex=other", "scanner=other.2+sex=other"]),
    ],
)
def test_names(text, expected):
    assert names(text) == expected


def test_combinations_are_products_and_repetitions_are_read_once():
    parents = Parents((Parent("a", "categorical", ("x", "y", "z")), Parent("b", "categorical", ("p", "q", "r", "s"))))
    found = parse_interventions(["a=other+b=other", "a=other.2+b=other.3"], parents)
    assert len({intervention.name for intervention in found}) == len(found) == 2 * 3
    assert found[-1].terms == (("a", "other.2"), ("b", "other.3"))
    assert parse_interventions([], parents) == ()


def test_other_goes_round_the_values():
    assert applied("scanner=other.1")["scanner"].tolist() == ["B+", "C", "Aurora DR"]
    assert applied("scanner=other.2")["scanner"].tolist() == ["C", "Aurora DR", "B+"]
    assert applied("pleural_effusion=other")["pleural_effusion"].tolist() == [1.0, 0.0, 0.0]


def test_other_of_an_unknown_value_is_known():
    assert applied("view=other")["view"].tolist() == ["PA", "AP", "AP"]


@given(st.integers(2, 6), st.integers(0, 5))
def test_each_other_value_is_visited_once(count, own):
    values = tuple("abcdef"[:count])
    parents = Parents((Parent("p", "binary" if count == 2 else "categorical", values),))
    own %= count
    records = pd.DataFrame({"image": ["i"], "p": [values[own]]})
    found = parse_interventions(["p=other"], parents)
    reached = [intervention.apply(records, parents)["p"].iloc[0] for intervention in found]
    assert sorted([*reached, values[own]]) == list(values)


def test_only_what_is_named_changes_and_the_records_stay():
    before = RECORDS.copy()
    after = applied("scanner=C+age=61")
    pd.testing.assert_frame_equal(RECORDS, before)
    assert after["scanner"].tolist() == ["C"] * 3
    assert after["age"].tolist() == [61.0] * 3
    others = [name for name in RECORDS if name not in ("scanner", "age")]
    pd.testing.assert_frame_equal(after[others], before[others])
    assert after.dtypes.equals(before.dtypes)
    assert after.index.equals(before.index)


def test_the_phantom_agrees():
    """`phantom.intervene` is the truth for what an intervention does to parents that are roots."""
    records = phantom.cohort(40)
    parents, _ = fit_parents(records, ["scanner", "sex", "age", "pleural_effusion"])
    texts = ["scanner=other", "sex=F", "age=70.5", "scanner=other+pleural_effusion=other", "pleural_effusion=1"]
    for intervention in parse_interventions(texts, parents):
        changed = intervention.apply(records, parents)
        for (_, row), (_, new) in zip(records.iterrows(), changed.iterrows(), strict=True):
            true = phantom.Parents(row.sex, row.age, row.scanner, row.pleural_effusion)
            true = phantom.intervene(true, intervention.name)
            assert (new.sex, new.age, new.scanner, new.pleural_effusion) == (
                true.sex,
                true.age,
                true.scanner,
                true.pleural_effusion,
            )


@pytest.mark.parametrize(
    ("column", "texts", "expected"),
    [
        (pd.Series([1, 2]), ["2", "2"], pd.Series([2, 2])),
        (pd.Series([1, 2]), ["1", "2.5"], pd.Series([1.0, 2.5])),
        (pd.Series([True, False]), ["False", "False"], pd.Series([False, False])),
        (pd.Series([0.1 + 0.2, np.nan]), ["0.30000000000000004", "unknown"], pd.Series([0.1 + 0.2, np.nan])),
        (pd.Series(["M", ""], dtype="str"), ["F", "unknown"], pd.Series(["F", ""], dtype="str")),
    ],
)
def test_columns_keep_their_type(column, texts, expected):
    pd.testing.assert_series_equal(with_texts(column, texts), expected)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_of_a_number_loses_nothing(number):
    assert float(value_text(number)) == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read.*scanner, sex"),
        ("sex", "cannot be read"),
        ("sex=", "cannot be read"),
        ("hospital=other", "no parent 'hospital'; the parents are: scanner, sex"),
        ("scanner=D", r"values of scanner are Aurora DR, B\+, C"),
        ("scanner=other.3", r"other.1 to other.2"),
        ("scanner=other.0", r"other.1 to other.2"),
        ("view=unknown", "unknown cannot be set"),
        ("age=other", "age=55"),
        ("age=nan", "set to a number"),
        ("sex=F+sex=M", "twice"),
        ("sex=F+age", "values of sex are F, M"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_interventions([text], PARENTS)


def test_a_value_that_cannot_be_stored_can_still_be_reached():
    parents = Parents((Parent("scanner", "categorical", ("GE/Revolution", "Philips", "Siemens")),))
    with pytest.raises(ConfigError, match=r"cannot name a counterfactual.*other\.1"):
        parse_interventions(["scanner=GE/Revolution"], parents)
    records = pd.DataFrame({"image": ["a"], "scanner": ["Philips"]})
    reached = parse_interventions(["scanner=other"], parents)[1].apply(records, parents)
    assert reached["scanner"].tolist() == ["GE/Revolution"]
