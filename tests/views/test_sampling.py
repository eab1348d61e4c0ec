import numpy as np
import pytest
import torch
from scipy import ndimage

from densecf.errors import DataError
from densecf.views.geometry import IGNORE
from densecf.views.sampling import labels_at, sample_at
from tests.views.ramps import ramp


@pytest.mark.parametrize("size", [(20, 31), (33, 12)])
def test_ramps_give_the_points_back(size):
    points = torch.rand(2, 40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = points * (torch.tensor(size) - 1)
    values = sample_at(ramp(size).expand(2, 2, *size), points)
    assert values.shape == (2, 40, 2)
    assert (values - points).abs().max() < 1e-4


def test_agrees_with_scipy():
    features = torch.rand(2, 3, 9, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = torch.rand(2, 25, 2, dtype=torch.float64) * torch.tensor([8.0, 13.0])
    values = sample_at(features, points)
    assert values.dtype == torch.float64
    for record in range(2):
        for channel in range(3):
            expected = ndimage.map_coordinates(features[record, channel].numpy(), points[record].numpy().T, order=1)
            np.testing.assert_allclose(values[record, :, channel], expected, atol=1e-12)


def test_whole_positions_are_the_pixels_themselves():
    features = torch.rand(1, 4, 6, 7)
    corners = torch.tensor([[[0.0, 0.0], [5.0, 6.0], [0.0, 6.0], [2.0, 3.0]]])
    expected = features[0, :, [0, 5, 0, 2], [0, 6, 6, 3]].T
    torch.testing.assert_close(sample_at(features, corners)[0], expected)


def test_gradients():
    features = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    points = torch.tensor([[[1.3, 2.6], [3.8, 0.4]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sample_at, (features, points))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_are_read_at_exact_positions(dtype):
    """A step edge far from the origin: bfloat16 positions would miss it by half a pixel."""
    features = torch.zeros(1, 1, 4, 224, dtype=dtype)
    features[..., 200:] = 1
    values = sample_at(features, torch.tensor([[[1.0, 199.25], [1.0, 199.75]]], dtype=torch.float64))
    assert values.dtype == torch.float32
    torch.testing.assert_close(values[0, :, 0], torch.tensor([0.25, 0.75]), atol=1e-4, rtol=0)


def test_labels_are_the_nearest_pixel_s_and_ignore_stays():
    mask = torch.tensor([[[0, 1, 2], [2, 0, IGNORE]]], dtype=torch.uint8)
    points = torch.tensor([[[0.4, 1.4], [0.6, 0.2], [0.9, 1.6], [0.0, 2.0], [-0.3, 2.4]]])
    labels = labels_at(mask, points)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [[1, 2, IGNORE, 2, 2]]


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(DataError, match=r"\(B, C, H, W\)"):
        sample_at(torch.rand(2, 3, 4, 4), torch.rand(1, 5, 2))
    with pytest.raises(DataError, match=r"\(B, H, W\)"):
        labels_at(torch.zeros(2, 1, 4, 4), torch.rand(2, 5, 2))
