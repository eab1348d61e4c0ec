"""Names of interventions are taken apart in one way, also where values hold a plus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from densecf.data.intervention_names import settings_of, split_terms
from densecf.training.domains import intervened_parents

words = st.text("AB +.0", min_size=1, max_size=6).filter(lambda text: text == text.strip() and text)


@pytest.mark.parametrize(
    ("name", "parents"),
    [
        ("scanner=other.2+sex=F", {"scanner", "sex"}),
        ("scanner=GE 5000+", {"scanner"}),
        ("scanner=A+B+sex=F", {"scanner", "sex"}),
    ],
)
def test_parents_of_a_stored_intervention(name, parents):
    assert intervened_parents(name) == parents


@given(st.lists(st.tuples(st.sampled_from(["scanner", "sex", "age"]), words), min_size=1, max_size=3))
def test_what_is_joined_comes_apart_again(terms):
    name = "+".join(f"{parent}={value}" for parent, value in terms)
    assert settings_of(name) == terms
    assert "+".join(split_terms(name)) == name
