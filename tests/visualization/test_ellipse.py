import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densecf.errors import DataError
from densecf.visualization.ellipse import enclosing_ellipse


def radii(ellipse, points):
    """Radius (N,) of each point (N, 2) in the disc: at most 1 inside the ellipse."""
    return np.linalg.norm(ellipse.to_disc(points), axis=1)


def semi_axes(ellipse):
    """Lengths (2,) of the semi-axes, the longer first, in the unit of the points."""
    return 1.0 / np.sqrt(np.linalg.eigvalsh(ellipse.shape))


def points_on_ellipse(axes, angle, centre, count=40):
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (np.column_stack([np.cos(turns), np.sin(turns)]) * axes) @ rotation.T + centre


def test_recovers_the_ellipse_its_points_lie_on():
    points = points_on_ellipse((7.0, 2.0), 0.6, (3.0, -5.0))
    ellipse = enclosing_ellipse(points)
    np.testing.assert_allclose(semi_axes(ellipse), [7.0, 2.0], rtol=1e-5)
    np.testing.assert_allclose(ellipse.centre, [3.0, -5.0], atol=1e-5)
    np.testing.assert_allclose(radii(ellipse, points), 1.0, atol=1e-5)
    direction = np.array([np.cos(0.6), np.sin(0.6)])
    assert direction @ ellipse.shape @ direction == pytest.approx(1 / 49, rel=1e-5)


def test_equilateral_triangle_has_its_circumscribed_circle():
    points = points_on_ellipse((2.0, 2.0), 0.0, (1.0, 1.0), count=3)
    ellipse = enclosing_ellipse(points)
    np.testing.assert_allclose(semi_axes(ellipse), [2.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(ellipse.centre, [1.0, 1.0], atol=1e-6)


def test_square_has_its_circumscribed_circle_and_inner_points_do_not_matter():
    square = np.array([[0, 0], [0, 2], [2, 0], [2, 2.0]])
    inner = np.random.default_rng(0).uniform(0.2, 1.8, (500, 2))
    np.testing.assert_allclose(semi_axes(enclosing_ellipse(square)), np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(
        enclosing_ellipse(np.concatenate([inner, square])).shape, enclosing_ellipse(square).shape, atol=1e-5
    )


@pytest.mark.parametrize("seed", range(5))
def test_encloses_all_points_and_touches_at_least_three(seed):
    points = np.random.default_rng(seed).standard_normal((2000, 2)) @ np.array([[3.0, 1.0], [0.0, 0.5]])
    ellipse = enclosing_ellipse(points)
    far = radii(ellipse, points)
    assert far.max() <= 1 + 1e-6
    assert (far > 1 - 1e-4).sum() >= 3
    # No smaller ellipse: the volume cannot be beaten by a numerically optimised one (John's conditions hold).
    touching = ellipse.to_disc(points[far > 1 - 1e-4])
    lifted = np.column_stack([touching[:, 0] ** 2, touching[:, 1] ** 2, touching[:, 0] * touching[:, 1], touching])
    from scipy.optimize import nnls

    weights, residual = nnls(lifted.T, np.array([0.5, 0.5, 0.0, 0.0, 0.0]))
    assert residual < 1e-3
    assert weights.sum() == pytest.approx(1, abs=1e-3)


finite = st.floats(-3, 3).filter(lambda value: abs(value) > 0.05)


@settings(max_examples=40)
@given(st.integers(0, 10_000), finite, st.floats(-3, 3), finite, st.floats(-100, 100), st.floats(-100, 100))
def test_affine_equivariance(seed, a, b, d, x, y):
    points = np.random.default_rng(seed).standard_normal((60, 2))
    matrix, shift = np.array([[a, b], [0.0, d]]), np.array([x, y])
    plain, moved = enclosing_ellipse(points), enclosing_ellipse(points @ matrix.T + shift)
    np.testing.assert_allclose(radii(moved, points @ matrix.T + shift), radii(plain, points), atol=1e-4)
    np.testing.assert_allclose(moved.centre, matrix @ plain.centre + shift, atol=1e-3)


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (1.0, -2.0)])
def test_points_on_a_line_get_a_thin_ellipse(direction):
    steps = np.array([-3.0, -1.0, 0.5, 5.0])
    points = steps[:, None] * np.array(direction) + 7.0
    ellipse = enclosing_ellipse(points)
    np.testing.assert_allclose(radii(ellipse, points), np.abs(steps - 1) / 4, atol=1e-6)
    major, minor = semi_axes(ellipse)
    assert major == pytest.approx(4 * np.linalg.norm(direction))
    assert minor == pytest.approx(major / 1000)


def test_two_points_and_one_and_duplicates():
    two = enclosing_ellipse(np.array([[0.0, 0.0], [2.0, 0.0]]))
    np.testing.assert_allclose(two.centre, [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(radii(two, np.array([[0.0, 0.0], [2.0, 0.0]])), 1.0)
    for same in (np.array([[4.0, 9.0]]), np.full((50, 2), 0.1)):
        ellipse = enclosing_ellipse(same)
        np.testing.assert_allclose(radii(ellipse, same), 0.0, atol=1e-9)
        np.testing.assert_allclose(semi_axes(ellipse), 1.0)


def test_duplicates_change_nothing():
    points = np.random.default_rng(3).standard_normal((20, 2))
    np.testing.assert_allclose(
        enclosing_ellipse(np.repeat(points, 5, axis=0)).shape, enclosing_ellipse(points).shape, rtol=1e-4
    )


def test_scale_of_the_points_does_not_matter():
    points = np.random.default_rng(4).standard_normal((100, 2))
    for scale in (1e-6, 1e6):
        scaled = radii(enclosing_ellipse(points * scale), points * scale)
        np.testing.assert_allclose(scaled, radii(enclosing_ellipse(points), points), atol=1e-5)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.array([[0.0, np.nan], [1.0, 1.0]]), "1 of 2"),
        (np.array([[0.0, np.inf], [1.0, 1.0]]), "1 of 2"),
        (np.zeros((0, 2)), r"\(0, 2\)"),
        (np.zeros((5, 3)), r"\(5, 3\)"),
    ],
)
def test_bad_points_are_an_error(points, message):
    with pytest.raises(DataError, match=message):
        enclosing_ellipse(points)
