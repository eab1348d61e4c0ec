import numpy as np
import pytest
import torch
from scipy import ndimage

from densecf.views import geometry
from densecf.views.draws import Geometry
from densecf.views.geometry import IGNORE
from densecf.views.warping import inside_grid, source_grid, swap_classes, warp
from tests.views.ramps import ramp, ramp_error, sources, visible

SHAPES = [(64, 64), (64, 80), (65, 81), (65, 80), (33, 97)]
BAR = 1e-3  # pixels


def view_of(input_size, degrees, flip, fraction=0.7):
    height, width = (round(length * fraction) for length in input_size)
    return Geometry(degrees, (input_size[0] - height) // 3, (input_size[1] - width) // 2, height, width, flip)


@pytest.mark.parametrize("input_size", SHAPES)
@pytest.mark.parametrize("size", [None, (48, 48), (49, 61), (101, 128)])
@pytest.mark.parametrize("degrees", [0.0, 15.0, -11.3, 90.0])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_ramp(input_size, size, degrees, flip, fraction):
    size = size or input_size
    affine = view_of(input_size, degrees, flip, fraction).affine(input_size, size)
    assert ramp_error(warp(ramp(input_size), affine, size), affine, input_size) < BAR


def test_the_ramp_notices_a_hundredth_of_a_pixel():
    affine = view_of((64, 80), 10.0, True).affine((64, 80), (64, 80))
    off = affine.copy()
    off[1, 2] += 0.01
    assert ramp_error(warp(ramp((64, 80)), off, (64, 80)), affine, (64, 80)) > BAR


def test_ramp_of_a_large_image():
    size = (1500, 2000)
    affine = view_of(size, 15.0, True).affine(size, (120, 100))
    assert ramp_error(warp(ramp(size), affine, (120, 100)), affine, size) < BAR


@pytest.mark.parametrize("size", [(50, 70), (51, 71)])
def test_images_and_masks_agree_with_scipy(size):
    numbers = np.random.default_rng(0)
    image = numbers.random((60, 81)).astype(np.float32)
    mask = numbers.integers(0, 3, (60, 81)).astype(np.uint8)
    affine = view_of((60, 81), 12.0, True).affine((60, 81), size)
    seen = visible(sources(affine, size), (60, 81))
    expected = ndimage.affine_transform(image, affine, output_shape=size, order=1)
    np.testing.assert_allclose(
        warp(torch.from_numpy(image)[None], affine, size)[0].numpy()[seen], expected[seen], atol=1e-4
    )
    expected = ndimage.affine_transform(mask, affine, output_shape=size, order=0)
    np.testing.assert_array_equal(
        warp(torch.from_numpy(mask)[None], affine, size, "nearest")[0].numpy()[seen], expected[seen]
    )


def test_outside_is_zero_in_images_and_ignore_in_masks_and_exactly_there():
    size = (64, 80)
    affine = view_of(size, 15.0, False, 1.0).affine(size, size)
    seen = visible(sources(affine, size), size)
    assert 0.05 < (~seen).mean() < 0.3
    image = warp(torch.ones(1, *size), affine, size)[0].numpy()
    mask = warp(torch.ones(1, *size, dtype=torch.uint8), affine, size, "nearest")[0].numpy()
    np.testing.assert_allclose(image[seen], 1.0, atol=1e-6)
    assert (image[~seen] == 0).all()
    assert (mask[seen] == 1).all()
    assert (mask[~seen] == IGNORE).all()


@pytest.mark.parametrize("flip", [False, True])
def test_the_identity_changes_nothing_and_sees_everything(flip):
    image = torch.rand(1, 31, 44)
    affine = Geometry(0.0, 0, 0, 31, 44, flip).affine((31, 44), (31, 44))
    assert inside_grid(*source_grid(affine[None], (31, 44)), (31, 44)).all()
    expected = image.flip(-1) if flip else image
    assert (warp(image, affine, (31, 44)) - expected).abs().max() < 1e-5


def test_masks_are_never_interpolated_and_keep_their_type():
    mask = torch.randint(0, 2, (1, 40, 40), dtype=torch.int32) * 7
    warped = warp(mask, geometry.rotation(10, (40, 40)), (40, 40), "nearest")
    assert warped.dtype == torch.int32
    assert set(warped.unique().tolist()) == {0, 7, IGNORE}


def test_many_views_at_once_equal_one_at_a_time():
    images = torch.rand(3, 2, 30, 41)
    affines = np.stack([view_of((30, 41), degrees, degrees > 5).affine((30, 41), (20, 20)) for degrees in (0, 9, -14)])
    together = warp(images, affines, (20, 20))
    one_for_all = warp(images[:1], affines, (20, 20))
    for view in range(3):
        assert torch.equal(together[view], warp(images[view], affines[view], (20, 20)))
        assert torch.equal(one_for_all[view], warp(images[0], affines[view], (20, 20)))


def test_a_smaller_view_does_not_alias():
    """A fine checkerboard shrinks to its mean, not to a pattern; the sampled one keeps its full contrast."""
    board = (torch.arange(120)[:, None] + torch.arange(120)).remainder(2).float()[None]
    affine = geometry.resized_crop(0, 0, 120, 120, (40, 40))
    shrunk = warp(board, affine, (40, 40))[0, 4:-4, 4:-4]
    assert abs(shrunk.mean() - 0.5) < 0.01
    assert shrunk.std() < 0.02
    assert board[0, 1::3, 1::3].std() > 0.4


def test_smoothing_stays_within_the_range_of_the_image():
    image = (torch.rand(1, 90, 70, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    shrunk = warp(image, geometry.resized_crop(0, 0, 90, 70, (20, 20)), (20, 20))
    assert shrunk.min() >= -1e-6
    assert shrunk.max() <= 1 + 1e-6


def test_swap_classes():
    mask = torch.tensor([0, 1, 2, 3, 4, 5, IGNORE], dtype=torch.uint8)
    assert swap_classes(mask, ((1, 2), (4, 5))).tolist() == [0, 2, 1, 3, 5, 4, IGNORE]
    assert mask.tolist() == [0, 1, 2, 3, 4, 5, IGNORE]
