import math

import pytest
import torch
import torchvision.transforms.functional as TF

from densecf.views import photometric
from densecf.views.draws import Photometry
from densecf.views.filtering import gaussian_blur


@pytest.fixture
def image():
    return torch.rand(1, 37, 52, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4, 3.0])
def test_brightness_and_contrast_are_torchvision_s(image, factor):
    torch.testing.assert_close(photometric.adjust_brightness(image, factor), TF.adjust_brightness(image, factor))
    torch.testing.assert_close(photometric.adjust_contrast(image, factor), TF.adjust_contrast(image, factor))


@pytest.mark.parametrize("sigma", [0.1, 0.5, 0.51, 1.3, 2.0])
def test_blur_is_torchvision_s(image, sigma):
    size = 2 * math.ceil(2 * sigma) + 1
    expected = TF.gaussian_blur(image, [size, size], [sigma, sigma])
    torch.testing.assert_close(gaussian_blur(image, sigma), expected, atol=1e-6, rtol=1e-5)


def test_blur_wants_an_image_wider_than_its_kernel():
    with pytest.raises(ValueError, match="wider than 4"):
        gaussian_blur(torch.rand(1, 4, 30), 2.0)


def test_solarize_is_torchvision_s(image):
    image[0, 0, 0] = 0.5
    assert torch.equal(photometric.solarize(image, 0.5), TF.solarize(image, 0.5))


@pytest.mark.parametrize("contrast_first", [False, True])
def test_the_chain_runs_in_the_drawn_order(image, contrast_first):
    drawn = Photometry(brightness=1.4, contrast=0.6, contrast_first=contrast_first, sigma=1.2, threshold=0.5)
    steps = [lambda x: TF.adjust_brightness(x, 1.4), lambda x: TF.adjust_contrast(x, 0.6)]
    expected = image
    for step in reversed(steps) if contrast_first else steps:
        expected = step(expected)
    expected = TF.gaussian_blur(expected, [7, 7], [1.2, 1.2])
    flippable = (expected - 0.5).abs() > 1e-5  # where rounding cannot decide about solarising
    expected = TF.solarize(expected, 0.5)
    actual = photometric.apply_photometry(image, drawn)
    torch.testing.assert_close(actual[flippable], expected[flippable], atol=1e-5, rtol=1e-5)


def test_nothing_drawn_changes_nothing_and_inputs_are_never_changed(image):
    before = image.clone()
    assert torch.equal(photometric.apply_photometry(image, Photometry()), before)
    photometric.apply_photometry(image, Photometry(1.3, 0.7, True, 1.0, 0.5))
    assert torch.equal(image, before)
