import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode

from densecf.errors import DataError
from densecf.views import geometry
from densecf.views.draws import Geometry
from densecf.views.warping import warp
from tests.views.ramps import sources, visible

lengths = st.integers(2, 90)
sizes = st.tuples(lengths, lengths)
angles = st.floats(-180, 180)
BILINEAR = InterpolationMode.BILINEAR


@st.composite
def views(draw):
    """A drawn geometry with the sizes of its input and output."""
    input_size, size = draw(sizes), draw(sizes)
    height, width = draw(st.integers(1, input_size[0])), draw(st.integers(1, input_size[1]))
    top, left = draw(st.integers(0, input_size[0] - height)), draw(st.integers(0, input_size[1] - width))
    return Geometry(draw(angles), top, left, height, width, draw(st.booleans())), input_size, size


def test_rotation_of_a_quarter_turn_is_numpy_rot90():
    image = torch.arange(25.0).view(1, 5, 5)
    turned = warp(image, geometry.rotation(90, (5, 5)), (5, 5))
    np.testing.assert_allclose(turned[0], np.rot90(image[0].numpy()), atol=1e-4)


@given(size=sizes, degrees=angles, points=st.lists(st.tuples(st.floats(-50, 99), st.floats(-50, 99)), min_size=2))
def test_rotation_keeps_distances_and_the_centre(size, degrees, points):
    affine = geometry.rotation(degrees, size)
    moved = geometry.apply(affine, points)
    before = np.linalg.norm(np.diff(points, axis=0), axis=1)
    np.testing.assert_allclose(np.linalg.norm(np.diff(moved, axis=0), axis=1), before, atol=1e-9)
    centre = (np.array(size) - 1) / 2
    np.testing.assert_allclose(geometry.apply(affine, centre), centre, atol=1e-10)


@pytest.mark.parametrize("size", [(64, 80), (65, 81), (97, 31)])
@pytest.mark.parametrize("degrees", [-15, 7.3, 120])
def test_rotation_agrees_with_torchvision(size, degrees):
    image = torch.rand(1, *size, generator=torch.Generator().manual_seed(0))
    affine = geometry.rotation(degrees, size)
    # Torchvision blends the rim with zeros: compare where all four neighbours exist.
    inner = visible(sources(affine, size), size)
    expected = TF.rotate(image, degrees, BILINEAR)
    assert (warp(image, affine, size) - expected)[0][torch.from_numpy(inner)].abs().max() < 1e-3


def test_crop_agrees_with_torchvision():
    image = torch.rand(1, 41, 60, generator=torch.Generator().manual_seed(0))
    affine = geometry.resized_crop(5, 9, 30, 22, (64, 48))
    # The library clamps at the crop's edge where we go on into the image: compare inside the crop.
    inner = visible(sources(affine, (64, 48)) - [5, 9], (30, 22))
    expected = TF.resized_crop(image, 5, 9, 30, 22, [64, 48], BILINEAR, antialias=False)
    assert inner.mean() > 0.9
    assert (warp(image, affine, (64, 48)) - expected)[0][torch.from_numpy(inner)].abs().max() < 1e-5


def test_crop_lays_outer_edges_on_outer_edges():
    affine = geometry.resized_crop(10, 20, 30, 60, (15, 20))
    np.testing.assert_allclose(geometry.apply(affine, [[-0.5, -0.5], [14.5, 19.5]]), [[9.5, 19.5], [39.5, 79.5]])


def test_flip_swaps_first_and_last_column():
    np.testing.assert_array_equal(geometry.apply(geometry.flip((4, 7)), [[2, 0], [2, 6]]), [[2, 6], [2, 0]])


@given(views())
def test_a_view_is_its_steps_one_after_the_other(view):
    drawn, input_size, size = view
    points = np.array([[0.0, 0.0], [3.25, 1.5], [size[0] - 1, size[1] - 1]])
    unflipped = geometry.apply(geometry.flip(size), points) if drawn.flip else points
    crop = geometry.resized_crop(drawn.top, drawn.left, drawn.height, drawn.width, size)
    expected = geometry.apply(geometry.rotation(drawn.degrees, input_size), geometry.apply(crop, unflipped))
    np.testing.assert_allclose(geometry.apply(drawn.affine(input_size, size), points), expected, atol=1e-9)


@settings(max_examples=30)
@given(views(), views(), views())
def test_compose_is_associative_and_applies_the_last_first(one, two, three):
    a, b, c = (view[0].affine(view[1], view[2]) for view in (one, two, three))
    np.testing.assert_allclose(geometry.compose(geometry.compose(a, b), c), geometry.compose(a, b, c), rtol=1e-9)
    point = np.array([1.5, 2.0])
    expected = geometry.apply(a, geometry.apply(b, point))
    np.testing.assert_allclose(geometry.apply(geometry.compose(a, b), point), expected, rtol=1e-9, atol=1e-9)


def test_corners_of_a_crop():
    affine = geometry.resized_crop(10, 20, 8, 6, (8, 6))
    np.testing.assert_array_equal(geometry.corners(affine, (8, 6)), [[10, 20], [10, 25], [17, 25], [17, 20]])


def test_inside_is_between_the_outer_pixel_centres():
    points = [[0.0, 0.0], [9.0, 4.0], [-0.01, 2.0], [9.01, 2.0], [5.0, 4.01], [5.0, -0.01]]
    assert geometry.inside(points, (10, 5)).tolist() == [True, True, False, False, False, False]


def test_bad_arguments_are_named():
    for size in (0, (5, 0), 2.5):
        with pytest.raises(DataError, match="at least 1"):
            geometry.as_size(size)  # type: ignore[arg-type]
    assert geometry.as_size(7) == (7, 7)
    assert geometry.as_size((7, 3)) == (7, 3)
