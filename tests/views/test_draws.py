import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from densecf.views.draws import Geometry, draw_geometry, draw_photometry, view_seed
from densecf.views.parameters import ViewParameters

PAPER = ViewParameters()
DRAWS = 3000


@pytest.fixture(scope="module")
def geometries():
    stream = np.random.RandomState(0)
    return [draw_geometry(stream, PAPER, (200, 240)) for _ in range(DRAWS)]


@pytest.fixture(scope="module")
def photometries():
    stream = np.random.RandomState(0)
    return [draw_photometry(stream, PAPER) for _ in range(DRAWS)]


def uniform(values, low, high):
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_rotation_is_uniform_within_15_degrees(geometries):
    assert uniform([drawn.degrees for drawn in geometries], -15, 15)


def test_nothing_is_flipped_unless_asked(geometries):
    assert not any(drawn.flip for drawn in geometries)
    stream = np.random.RandomState(0)
    flips = [draw_geometry(stream, ViewParameters(flip_prob=0.5), (50, 50)).flip for _ in range(1000)]
    assert 0.45 < np.mean(flips) < 0.55


def test_crops_lie_in_the_image_and_within_the_paper_s_ranges(geometries):
    for drawn in geometries:
        assert 0 <= drawn.top <= 200 - drawn.height
        assert 0 <= drawn.left <= 240 - drawn.width
        assert 0.078 <= drawn.height * drawn.width / (200 * 240) <= 1
        assert 0.73 <= drawn.width / drawn.height <= 1.36


def test_shapes_are_log_uniform():
    """Wide and tall are equally likely; small crops of a large image always fit and hardly round."""
    stream = np.random.RandomState(0)
    parameters = ViewParameters(scale=(0.1, 0.3))
    drawn = [draw_geometry(stream, parameters, (2000, 2000)) for _ in range(DRAWS)]
    assert uniform([np.log(one.width / one.height) for one in drawn], np.log(3 / 4), np.log(4 / 3))


def test_ratio_is_width_over_height():
    stream = np.random.RandomState(0)
    drawn = [draw_geometry(stream, ViewParameters(ratio=(0.4, 0.5)), (500, 500)) for _ in range(50)]
    assert all(0.39 < one.width / one.height < 0.51 for one in drawn)


@pytest.mark.parametrize("size", [(200, 240), (90, 400)])
def test_crops_are_distributed_as_torchvision_s(size):
    """(90, 400) needs torchvision's fallback for many draws."""
    torch.manual_seed(0)
    image = torch.empty(1, *size)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(DRAWS)])
    stream = np.random.RandomState(1)
    ours = [draw_geometry(stream, PAPER, size) for _ in range(DRAWS)]
    for column, name in enumerate(("top", "left", "height", "width")):
        values = [getattr(drawn, name) for drawn in ours]
        assert stats.ks_2samp(values, theirs[:, column]).pvalue > 1e-3, name


@pytest.mark.parametrize(
    ("size", "expected"),
    [((10, 100), (10, 13, 0, 43)), ((100, 10), (13, 10, 43, 0)), ((30, 30), (30, 30, 0, 0))],
)
def test_a_crop_that_never_fits_falls_back_to_the_centre(size, expected):
    class Never(np.random.RandomState):
        """Draws areas that no image holds."""

        def uniform(self, low=0.0, high=1.0, size=None):
            return 1e6 if low == PAPER.scale[0] else super().uniform(low, high, size)

    drawn = draw_geometry(Never(0), PAPER, size)
    assert (drawn.height, drawn.width, drawn.top, drawn.left) == expected


def test_photometry_has_the_paper_s_ranges_and_probabilities(photometries):
    jittered = [drawn for drawn in photometries if drawn.brightness != 1]
    blurred = [drawn.sigma for drawn in photometries if drawn.sigma is not None]
    assert abs(len(jittered) / DRAWS - 0.8) < 0.03
    assert uniform([drawn.brightness for drawn in jittered], 0.6, 1.4)
    assert uniform([drawn.contrast for drawn in jittered], 0.6, 1.4)
    assert abs(np.mean([drawn.contrast_first for drawn in jittered]) - 0.5) < 0.04
    assert abs(len(blurred) / DRAWS - 0.5) < 0.04
    assert uniform(blurred, 0.1, 2.0)
    assert abs(np.mean([drawn.threshold is not None for drawn in photometries]) - 0.2) < 0.03
    assert {drawn.threshold for drawn in photometries} == {0.5, None}


def test_brightness_beyond_one_never_turns_negative():
    stream = np.random.RandomState(0)
    drawn = [draw_photometry(stream, ViewParameters(brightness=3.0, contrast=3.0)) for _ in range(200)]
    assert min(min(one.brightness, one.contrast) for one in drawn) >= 0
    assert max(one.brightness for one in drawn) > 3


def test_switching_one_thing_off_changes_nothing_else():
    def both(parameters, **keywords):
        stream = np.random.RandomState(5)
        return draw_geometry(stream, parameters, (64, 64)), draw_photometry(stream, parameters, **keywords)

    plain_geometry, plain = both(ViewParameters(solarize_prob=1.0, jitter_prob=1.0, blur_prob=1.0))
    geometry, photometry = both(
        ViewParameters(flip_prob=1.0, jitter_prob=0.0, blur_prob=1.0, solarize_prob=1.0), may_solarize=False
    )
    assert geometry == Geometry(**{**vars(plain_geometry), "flip": True})
    assert photometry.sigma == plain.sigma
    assert photometry.brightness == 1.0 != plain.brightness
    assert photometry.threshold is None
    assert plain.threshold == 0.5


def test_view_seeds_are_pure_distinct_and_fixed_for_ever():
    assert view_seed(0, 1, 2, 3) == 3898271682
    seeds = {view_seed(*key) for key in np.ndindex(3, 5, 40, 4)}
    assert len(seeds) == 3 * 5 * 40 * 4
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_neighbouring_seeds_draw_unrelated_views():
    degrees = [
        draw_geometry(np.random.RandomState(view_seed(0, 0, i, 0)), PAPER, (64, 64)).degrees for i in range(1500)
    ]
    assert uniform(degrees, -15, 15)
    assert abs(np.corrcoef(degrees[:-1], degrees[1:])[0, 1]) < 0.08
