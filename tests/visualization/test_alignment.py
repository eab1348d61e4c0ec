import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from densecf.visualization.alignment import chance_distance, closest_turn, mean_distance

discs = arrays(np.float64, st.tuples(st.integers(1, 40), st.just(2)), elements=st.floats(-1, 1, width=32))


def turn_by(angle: float, mirrored: bool) -> np.ndarray:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([1.0, -1.0]) if mirrored else turn


@given(discs, st.floats(0, 7), st.booleans())
def test_a_turned_or_mirrored_copy_comes_back(reference, angle, mirrored):
    copy = reference @ turn_by(angle, mirrored)
    np.testing.assert_allclose(copy @ closest_turn(copy, reference), reference, atol=1e-6)


@given(discs, st.integers(0, 99))
def test_radii_and_distances_never_change(places, seed):
    turn = closest_turn(places, np.random.default_rng(seed).uniform(-1, 1, places.shape))
    turned = places @ turn
    np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(np.hypot(*turned.T), np.hypot(*places.T), atol=1e-9)


def test_no_other_turn_is_nearer():
    rng = np.random.default_rng(0)
    reference = rng.uniform(-1, 1, (200, 2))
    places = reference @ turn_by(2.0, True) + 0.3 * rng.standard_normal((200, 2))
    found = ((places @ closest_turn(places, reference) - reference) ** 2).sum()
    tried = [
        ((places @ turn_by(angle, mirrored) - reference) ** 2).sum()
        for angle in np.linspace(0, 2 * np.pi, 721)
        for mirrored in (False, True)
    ]
    assert min(tried) * 0.999 < found <= min(tried) + 1e-9


def test_distances_of_known_places():
    reference = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert mean_distance(reference, reference) == 0
    assert mean_distance(reference * 0.5, reference) == pytest.approx(0.5)
    assert mean_distance(-reference, reference) == pytest.approx(2)


def test_random_pairs_lie_as_far_apart_as_strangers():
    rng = np.random.default_rng(1)
    places, strangers = rng.uniform(-0.7, 0.7, (2, 4000, 2))
    assert chance_distance(places, places) == pytest.approx(mean_distance(places, strangers), rel=0.03)
    assert chance_distance(places, places, seed=0) == chance_distance(places, places, seed=0)


def test_collapsed_discs_have_a_turn_too():
    nothing = np.zeros((5, 2))
    np.testing.assert_allclose(np.abs(np.linalg.det(closest_turn(nothing, np.ones((5, 2))))), 1)
    with pytest.raises(ValueError, match="shape"):
        closest_turn(nothing, nothing[:3])
