"""Samples of the image-level methods: pure functions of (seed, epoch, row)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from densecf.config import DistillationConfig
from densecf.data.prepared import PreparedDataset
from densecf.errors import ConfigError
from densecf.training.domains import DomainImages
from densecf.training.image_datasets import CropDataset, ImagePairDataset, block_mask, local_size
from densecf.views.parameters import ViewParameters

STILL = ViewParameters(rotation=0, scale=(1, 1), ratio=(1, 1), jitter_prob=0, blur_prob=0, solarize_prob=0)


@pytest.fixture(scope="module")
def data(phantom) -> PreparedDataset:
    return PreparedDataset.open(phantom)


def images(data, use="pair") -> DomainImages:
    return DomainImages(data, ("truth", ("scanner=other",)), use, seed=0)


def test_without_augmentation_views_are_the_drawn_images(data):
    pairs, drawn = ImagePairDataset(images(data), STILL), images(data)
    for epoch in range(4):
        sample = pairs[epoch, 5]
        for view, image in enumerate(drawn(epoch, 5)):
            np.testing.assert_allclose(sample["images"][view, 0].numpy(), image, atol=2e-5)
        assert sample["ids"].tolist() == [5, 5]


def test_half_of_the_crops_show_the_other_domain(data):
    config = DistillationConfig(
        local_crops=5, local_scale=(1, 1), local_size=32, blur_probs=(0, 0, 0), solarize_probs=(0, 0, 0)
    )
    crops, drawn = CropDataset(images(data), STILL, config, patch=8), images(data)
    epoch = next(epoch for epoch in range(20) if not np.array_equal(*drawn(epoch, 3)))
    sample, (first, second) = crops[epoch, 3], drawn(epoch, 3)
    for crop, expected in zip(sample["large"], (first, second), strict=True):
        np.testing.assert_allclose(crop[0].numpy(), expected, atol=2e-5)
    for crop, expected in zip(sample["small"], (first, first, first, second, second), strict=True):
        np.testing.assert_allclose(crop[0].numpy(), expected, atol=2e-5)


def test_crops_have_the_sizes_asked_for_and_one_masked_large_one(data):
    config = DistillationConfig(local_crops=3)
    crops = CropDataset(images(data), ViewParameters(), config, patch=8)
    shares = []
    for epoch in range(30):
        sample = crops[epoch, 1]
        assert sample["large"].shape == (2, 1, 32, 32)
        assert sample["small"].shape == (3, 1, 16, 16)
        masked = sample["mask"].flatten(1).float().mean(1)
        assert sample["mask"].shape == (2, 4, 4)
        assert (masked > 0).sum() == 1
        shares.append(float(masked.max()))
    assert min(shares) >= 1 / 16
    assert max(shares) <= 0.5
    assert "mask" not in CropDataset(images(data), ViewParameters(), config, patch=0)[0, 0]


def test_small_crops_divide_into_patches_with_a_mask_or_without(data):
    crops = CropDataset(images(data), ViewParameters(), DistillationConfig(ibot=0.0), patch=14)
    assert crops.local_size == 14
    assert "mask" not in crops[0, 0]
    with pytest.raises(ConfigError, match=r"local_size: crops of 20 px .* patches of 8 px"):
        CropDataset(images(data), ViewParameters(), DistillationConfig(local_size=20), patch=8)


@pytest.mark.parametrize("sigma", [15.5, 15.6])
def test_a_blur_wider_than_the_views_is_refused_before_any_is_drawn(data, sigma):
    parameters = ViewParameters(blur_sigma=(sigma, sigma), blur_prob=1.0)
    if sigma > 15.5:
        with pytest.raises(ConfigError, match=r"blur_sigma: .* at most 15.5"):
            ImagePairDataset(images(data), parameters)
    else:
        assert ImagePairDataset(images(data), parameters)[0, 1]["images"].shape == (2, 1, 32, 32)


def test_a_sample_depends_on_seed_epoch_and_row_alone(data):
    for make in (
        lambda: ImagePairDataset(images(data), ViewParameters()),
        lambda: CropDataset(images(data), ViewParameters(), DistillationConfig(), patch=8),
    ):
        first, again, other = make()[1, 2], make()[1, 2], make()[2, 2]
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert any(not torch.equal(first[key], other[key]) for key in first)


def test_blur_and_solarising_are_those_of_each_crop(data):
    config = DistillationConfig(blur_probs=(1.0, 0.1, 0.5), solarize_probs=(0.0, 0.2, 0.0))
    crops = CropDataset(images(data), ViewParameters(), config, patch=8)
    kinds = [make.parameters for make in (*crops.make_large, crops.make_small)]
    assert [kind.blur_prob for kind in kinds] == [1.0, 0.1, 0.5]
    assert [kind.solarize_prob for kind in kinds] == [0.0, 0.2, 0.0]
    assert kinds[2].scale == (0.05, 0.32)


@given(st.integers(2, 14), st.floats(0.01, 1), st.integers(0, 2**31))
def test_masks_hold_exactly_the_share_asked_for(grid, share, seed):
    mask = block_mask(grid, share, np.random.default_rng(seed))
    assert mask.shape == (grid, grid)
    assert mask.sum() == min(max(1, round(share * grid**2)), grid**2 - 1)


def test_small_crops_are_three_sevenths_in_whole_patches():
    assert local_size(224, 16) == 96
    assert local_size(64, 8) == 24
    assert local_size(64, 16) == 32
    assert local_size(224, 0) == 96
    assert local_size(32, 16) == 16
