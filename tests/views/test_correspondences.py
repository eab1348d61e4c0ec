import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from densecf.errors import DataError
from densecf.views import ViewParameters, geometry, sample_correspondences
from densecf.views.correspondences import common_field_of_view
from densecf.views.draws import draw_geometry
from densecf.views.sampling import sample_at
from densecf.views.warping import warp
from tests.views.ramps import ramp

BAR = 1e-3


def draw_affines(seed, views, input_size, size, records=1, **parameters):
    stream = np.random.RandomState(seed)
    drawn = ViewParameters(**{"flip_prob": 0.5, **parameters})
    affines = [
        [draw_geometry(stream, drawn, input_size).affine(input_size, size) for _ in range(views)]
        for _ in range(records)
    ]
    return torch.from_numpy(np.array(affines))


def to_input(affines, points):
    return points @ affines[..., :2, :2].mT + affines[..., None, :2, 2]


def clip(polygon, normal, offset):
    """Sutherland-Hodgman, one side at a time: the slow oracle."""
    kept = []
    for start, end in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        here, there = normal @ start - offset, normal @ end - offset
        if here <= 0:
            kept.append(start)
        if here * there < 0:
            kept.append(start + (end - start) * here / (here - there))
    return kept


def clipped_area(affines, size, input_size):
    bottom, right = input_size[0] - 1.0, input_size[1] - 1.0
    polygon = [np.array(corner) for corner in ([0, 0], [0, right], [bottom, right], [bottom, 0])]
    for affine in affines:
        sides = geometry.corners(affine, size)
        centre = sides.mean(axis=0)
        for start, end in zip(sides, np.roll(sides, -1, axis=0), strict=True):
            normal = np.array([end[1] - start[1], start[0] - end[0]])
            normal = normal if normal @ (start - centre) > 0 else -normal
            polygon = clip(polygon, normal, normal @ start)
    if len(polygon) < 3:
        return 0.0
    x, y = np.array(polygon).T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@pytest.mark.parametrize("views", [1, 2, 4])
@pytest.mark.parametrize(("input_size", "size"), [((64, 64), (64, 64)), ((65, 80), (49, 32)), ((51, 33), (100, 101))])
def test_the_views_agree_about_every_point(views, input_size, size):
    affines = draw_affines(0, views, input_size, size, records=12)
    points, valid = sample_correspondences(affines, size, 50, torch.Generator().manual_seed(0), input_size=input_size)
    assert points.shape == (12, views, 50, 2)
    assert valid.shape == (12, 50)
    assert valid.any()
    shared = to_input(affines, points)
    assert (shared - shared[:, :1])[valid.any(1)].abs().max() < 1e-9
    last = torch.tensor(input_size) - 1
    assert ((shared >= -1e-6) & (shared <= last + 1e-6))[valid.any(1)].all()


def test_two_views_show_the_same_anatomy_at_their_points():
    """Warped ramps read at the corresponding points give the same coordinates: images, points and matrices agree."""
    size = (65, 80)
    affines = draw_affines(1, 2, size, size, records=8)
    points, valid = sample_correspondences(affines, size, 200, torch.Generator().manual_seed(0))
    for record in range(8):
        if not valid[record].all():
            continue
        views = warp(ramp(size)[None], affines[record].numpy(), size)
        # Bilinear reading needs its four neighbours inside the image.
        shared = to_input(affines, points)[record, 0]
        inner = ((shared > 1.5) & (shared < torch.tensor(size) - 2.5)).all(-1)
        one, two = sample_at(views, points[record])
        assert inner.any()
        assert (one - two)[inner].abs().max() < BAR
        assert (one - shared)[inner].abs().max() < BAR


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    views=st.integers(1, 5),
    input_size=st.tuples(st.integers(6, 70), st.integers(6, 70)),
    size=st.tuples(st.integers(2, 70), st.integers(2, 70)),
    rotation=st.sampled_from([0.0, 15.0, 180.0]),
    scale=st.sampled_from([(0.08, 1.0), (0.01, 0.05), (1.0, 1.0)]),
)
def test_area_and_points_for_any_views(seed, views, input_size, size, rotation, scale):
    affines = draw_affines(seed, views, input_size, size, rotation=rotation, scale=scale)
    expected = clipped_area(affines[0].numpy(), size, input_size)
    area = common_field_of_view(affines, size, input_size)[2]
    np.testing.assert_allclose(area[0], expected, rtol=1e-6, atol=1e-6)
    points, valid = sample_correspondences(
        affines, size, 20, torch.Generator().manual_seed(seed), input_size=input_size, min_area=1.0
    )
    assert torch.isfinite(points).all()
    assert ((points >= 0) & (points <= torch.tensor(size) - 1)).all()
    if abs(expected - 1) > 1e-6:
        assert valid.all() if expected > 1 else not valid.any()
    if valid.all():
        shared = to_input(affines, points)
        assert (shared - shared[:, :1]).abs().max() < 1e-6


def test_identical_views_see_the_whole_image():
    """Every side coincides with another's: no crossing is unique."""
    affines = torch.eye(3, dtype=torch.float64).expand(2, 4, 3, 3)
    points, valid = sample_correspondences(affines, (30, 40), 5000, torch.Generator().manual_seed(0))
    assert valid.all()
    assert torch.equal(points[:, 0], points[:, 3])
    assert common_field_of_view(affines, (30, 40), (30, 40))[2].tolist() == pytest.approx([29 * 39] * 2)
    assert points[..., 0].min() < 0.1
    assert points[..., 1].max() > 38.9


def test_nearly_parallel_sides():
    turns = [geometry.rotation(degrees, (64, 64)) for degrees in (0, 1e-12, 1e-9, 1e-6)]
    affines = torch.from_numpy(np.stack(turns))[None]
    area = common_field_of_view(affines, (64, 64), (64, 64))[2].item()
    assert area == pytest.approx(63 * 63, rel=1e-6)


def test_points_are_uniform_in_input_pixels():
    """Each of 6 x 6 cells of the shared polygon's bounding box is hit in proportion to its area."""
    size = (80, 100)
    affines = draw_affines(3, 3, size, size, scale=(0.5, 0.9))
    points, valid = sample_correspondences(affines, size, 40_000, torch.Generator().manual_seed(0))
    assert valid.all()
    shared = to_input(affines, points)[0, 0].numpy()
    low, high = shared.min(0), shared.max(0)
    # The oracle: rejection from the bounding box.
    tried = np.random.default_rng(0).uniform(low, high, (400_000, 2))
    seen = geometry.inside(tried, size)
    for affine in affines[0].numpy():
        seen &= geometry.inside(geometry.apply(np.linalg.inv(affine), tried), size)
    edges = [np.linspace(low[axis], high[axis], 7) for axis in (0, 1)]
    expected = np.histogram2d(tried[seen, 0], tried[seen, 1], bins=edges)[0]
    observed = np.histogram2d(shared[:, 0], shared[:, 1], bins=edges)[0]
    used = expected > 200
    assert used.sum() > 20
    assert stats.chi2_contingency(np.stack([expected[used], observed[used]])).pvalue > 1e-4


def test_nothing_in_common_is_invalid_finite_and_in_range():
    size = (64, 64)
    left, right = (geometry.resized_crop(0, column, 64, 20, size) for column in (0, 40))
    good = geometry.resized_crop(0, 10, 64, 20, size)
    affines = torch.from_numpy(np.array([[left, right], [left, good]]))
    points, valid = sample_correspondences(affines, size, 10, torch.Generator().manual_seed(0))
    assert valid.tolist() == [[False] * 10, [True] * 10]
    assert torch.isfinite(points).all()
    assert ((points >= 0) & (points <= 63)).all()


def test_a_sliver_counts_only_from_min_area():
    """Crops of 64 x 20 pixels share 63 x ~1.7 square pixels between their outer pixel centres."""
    size = (64, 64)
    affines = torch.from_numpy(np.array([[geometry.resized_crop(0, c, 64, 20, size) for c in (0, 18)]]))
    area = common_field_of_view(affines, size, size)[2].item()
    assert 60 < area < 126
    assert sample_correspondences(affines, size, 5, min_area=area - 0.1)[1].all()
    assert not sample_correspondences(affines, size, 5, min_area=area + 0.1)[1].any()


def test_points_on_the_rim_do_not_leave_it_by_rounding():
    """Two crops that share one line of pixel centres: every point lies on the rim of both."""
    crops = [geometry.resized_crop(20, left, 20, 12, (20, 12)) for left in (20, 31)]
    turns = [geometry.rotation(degrees, (64, 64)) for degrees in np.linspace(-15, 15, 40)]
    affines = torch.from_numpy(np.array([[turn @ crop for crop in crops] for turn in turns]))
    points, valid = sample_correspondences(
        affines, (20, 12), 50, torch.Generator().manual_seed(0), input_size=64, min_area=0.0
    )
    assert valid.all()
    assert (points[:, 0, :, 1] - 11).abs().max() < 1e-6
    assert (points >= 0).all()
    assert (points <= torch.tensor([19, 11])).all()


def test_a_matrix_without_inverse_is_invalid_and_finite():
    points, valid = sample_correspondences(torch.zeros(1, 2, 3, 3, dtype=torch.float64), 64, 5)
    assert not valid.any()
    assert torch.isfinite(points).all()


def test_rotated_in_corners_are_never_drawn():
    affine = torch.from_numpy(geometry.rotation(45, (60, 60)))[None, None]
    points, valid = sample_correspondences(affine, 60, 20_000, torch.Generator().manual_seed(0))
    assert valid.all()
    from_centre = (points[0, 0] - 29.5).abs().sum(-1)  # the image is a diamond in this view
    assert from_centre.max() <= 29.5 * 2**0.5 + 1e-6
    assert from_centre.max() > 41


def test_repeatable_from_the_generator_and_records_do_not_mix():
    affines = draw_affines(5, 2, (50, 50), (50, 50), records=3)
    draw = [sample_correspondences(affines, 50, 30, torch.Generator().manual_seed(s))[0] for s in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    swapped = affines.clone()
    swapped[1] = torch.eye(3, dtype=torch.float64)
    again = sample_correspondences(swapped, 50, 30, torch.Generator().manual_seed(1))[0]
    assert torch.equal(again[[0, 2]], draw[0][[0, 2]])
    assert not torch.equal(again[1], draw[0][1])


def test_the_authors_views_often_share_enough():
    """With the paper's parameters nearly all pairs, and most quadruples, of views overlap."""
    pairs = sample_correspondences(draw_affines(0, 2, (224, 224), (224, 224), 400, flip_prob=0), 224, 1)[1]
    fours = sample_correspondences(draw_affines(0, 4, (224, 224), (224, 224), 400, flip_prob=0), 224, 1)[1]
    assert 0.94 < pairs.double().mean() < 1
    assert 0.8 < fours.double().mean() < pairs.double().mean()


def test_bad_arguments_are_named():
    with pytest.raises(DataError, match="records, views, 3, 3"):
        sample_correspondences(torch.eye(3)[None], 10, 5)
    with pytest.raises(DataError, match="num_points"):
        sample_correspondences(torch.eye(3)[None, None], 10, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_host_never_waits_for_the_device():
    affines = draw_affines(0, 4, (64, 64), (64, 64), records=4).cuda()
    generator = torch.Generator("cuda").manual_seed(0)
    sample_correspondences(affines, 64, 100, generator)
    torch.cuda.set_sync_debug_mode("error")
    try:
        points, valid = sample_correspondences(affines, 64, 100, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    shared = to_input(affines, points)
    assert (shared - shared[:, :1])[valid.any(1)].abs().max() < 1e-9
