from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, list_data_collate
from monai.transforms import Compose, EnsureChannelFirstd, RandGaussianNoised, RandScaleIntensityd, Resized

from densecf.errors import ConfigError, DataError
from densecf.views import RandomPhotometricd, RandomViewd, ViewParameters
from densecf.views.geometry import IGNORE
from tests.views.ramps import ramp, ramp_error, sources, visible

BAR = 1e-3


@pytest.mark.parametrize("input_size", [(64, 64), (64, 80), (65, 81), (33, 64)])
@pytest.mark.parametrize("size", [None, 48, (51, 90)])
def test_ramp_through_the_affine(input_size, size):
    transform = RandomViewd("image", size=size, flip_prob=0.5).set_random_state(seed=1)
    for _ in range(4):
        view = transform({"image": ramp(input_size)})["image"]
        assert isinstance(view, MetaTensor)
        assert view.affine.shape == (3, 3)
        assert view.affine.dtype == torch.float64
        assert ramp_error(view.as_tensor(), view.affine.numpy(), input_size) < BAR


@pytest.mark.parametrize("dimensions", [3, 4])
def test_the_input_s_own_affine_comes_first(dimensions):
    """An image stored with 0.5 x 0.25 mm pixels and an offset: the view's affine ends in millimetres."""
    own = np.eye(dimensions)
    own[:2, :2], own[:2, -1] = [[0.5, 0], [0, -0.25]], [7, 9]
    reduced = np.array([[0.5, 0, 7], [0, -0.25, 9], [0, 0, 1]])
    image = MetaTensor(ramp((40, 50)), affine=torch.from_numpy(own), meta={"filename_or_obj": "a.png"})
    view = RandomViewd("image").set_random_state(seed=2)({"image": image})["image"]
    to_pixel = np.linalg.inv(reduced) @ view.affine.numpy()
    assert ramp_error(view.as_tensor(), to_pixel, (40, 50)) < BAR
    assert view.meta["filename_or_obj"] == "a.png"
    np.testing.assert_array_equal(image.affine, own)


def test_composes_with_monai_before_and_after():
    """Resizing before, noise after: one affine still leads back to the first pixel grid."""
    start = (60, 84)
    transform = Compose(
        [
            EnsureChannelFirstd("image", channel_dim=0),
            Resized("image", spatial_size=(40, 63), mode="bilinear"),
            RandomViewd("image", size=(55, 48), flip_prob=0.5),
            RandScaleIntensityd("image", factors=0.0, prob=1.0),
            RandGaussianNoised("image", prob=1.0, mean=0.0, std=1e-6),
        ]
    ).set_random_state(seed=0)
    for _ in range(5):
        view = transform({"image": ramp(start)})["image"]
        expected = sources(view.affine.numpy(), (55, 48))
        seen = visible(expected, start, margin=2.0)  # MONAI's resize clamps at the rim
        error = np.abs(view.numpy().transpose(1, 2, 0) - expected)[seen]
        assert seen.sum() > 100
        assert error.max() < BAR


def test_composing_two_views_multiplies_their_matrices():
    both = Compose([RandomViewd("image", size=(64, 80)), RandomViewd("image", size=50, flip_prob=1.0)])
    view = both.set_random_state(seed=3)({"image": ramp((64, 80))})["image"]
    expected = sources(view.affine.numpy(), (50, 50))
    seen = (view.numpy() > 1).all(0) & visible(expected, (64, 80), margin=1)
    # The second samples the first's samples: still exact on a ramp, but for the zeros at the first's rim.
    error = np.abs(view.numpy().transpose(1, 2, 0) - expected).max(-1)[seen]
    assert np.median(error) < BAR


def test_one_draw_for_all_keys_and_a_new_one_each_call():
    transform = RandomViewd(["image", "other"], "mask").set_random_state(seed=0)
    record: dict[str, Any] = {
        "image": ramp((50, 50)),
        "other": ramp((50, 50)) * 2,
        "mask": ramp((50, 50))[:1].byte(),
        "name": "x",
    }
    first, second = transform(record), transform(record)
    assert torch.equal(first["image"].affine, first["mask"].affine)
    torch.testing.assert_close(first["other"].as_tensor(), first["image"].as_tensor() * 2)
    assert not torch.equal(first["image"].affine, second["image"].affine)
    assert first["name"] == "x"
    assert torch.equal(record["image"], ramp((50, 50)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_mask_is_ignore_in_rotated_corners_and_never_interpolated(dtype):
    transform = RandomViewd("image", "mask", rotation=45, scale=(1, 1), ratio=(1, 1)).set_random_state(seed=0)
    result = transform({"image": torch.ones(1, 64, 64), "mask": torch.ones(1, 64, 64, dtype=dtype)})
    seen = visible(sources(result["mask"].affine.numpy(), (64, 64)), (64, 64))
    assert not seen[0, 0]
    assert result["mask"].dtype == dtype
    np.testing.assert_array_equal(result["mask"][0].numpy(), np.where(seen, 1, IGNORE))
    np.testing.assert_array_equal(result["image"][0].numpy() > 0, seen)


def test_flip_swaps_left_and_right_and_leaves_the_rest():
    mask = torch.zeros(1, 40, 40, dtype=torch.uint8)
    mask[:, 10:30, 22:38] = 1  # the patient's left is on the image's right
    mask[:, 10:30, 2:18] = 2
    mask[:, :4] = 3
    arguments = {"rotation": 0, "scale": (1, 1), "ratio": (1, 1)}
    flipped = RandomViewd((), "mask", flip_prob=1.0, flip_pairs=((1, 2),), **arguments)({"mask": mask})["mask"]
    assert torch.equal(flipped.as_tensor(), mask)  # mirrored twice over: position and name
    unswapped = RandomViewd((), "mask", flip_prob=1.0, **arguments)({"mask": mask})["mask"]
    assert torch.equal(unswapped.as_tensor(), mask.flip(-1))
    unflipped = RandomViewd((), "mask", flip_pairs=((1, 2),), **arguments)({"mask": mask})["mask"]
    assert torch.equal(unflipped.as_tensor(), mask)


def test_a_seed_decides_everything():
    def views(seed):
        chain = Compose([RandomViewd("image", "mask"), RandomPhotometricd("image")]).set_random_state(seed=seed)
        record = {"image": ramp((40, 40))[:1] / 40, "mask": ramp((40, 40))[:1].byte()}
        return [chain(record) for _ in range(4)]

    for one, two in zip(views(7), views(7), strict=True):
        assert torch.equal(one["image"], two["image"])
        assert torch.equal(one["mask"], two["mask"])
    assert not torch.equal(views(7)[0]["image"].affine, views(8)[0]["image"].affine)


def test_global_random_state_is_not_touched():
    np.random.seed(0)
    torch.manual_seed(0)
    expected = np.random.RandomState(0).rand(), torch.rand(1, generator=torch.Generator().manual_seed(0))
    Compose([RandomViewd("image"), RandomPhotometricd("image")])(
        {"image": torch.rand(1, 32, 32, generator=torch.Generator())}
    )
    assert (np.random.rand(), torch.rand(1)) == expected


def test_batches_collate_with_their_affines():
    data = Dataset(
        [{"image": ramp((40, 50))} for _ in range(4)], RandomViewd("image", size=32).set_random_state(seed=0)
    )
    batch = next(iter(DataLoader(data, batch_size=4, collate_fn=list_data_collate)))
    assert batch["image"].shape == (4, 2, 32, 32)
    assert batch["image"].affine.shape == (4, 3, 3)


def test_photometric_keeps_the_affine_and_may_leave_out_solarising():
    image = MetaTensor(torch.full((1, 20, 20), 0.9), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0])))
    parameters = ViewParameters(jitter_prob=0, blur_prob=0, solarize_prob=1)
    result = RandomPhotometricd("image", parameters)({"image": image})["image"]
    assert torch.equal(result.affine, image.affine)
    torch.testing.assert_close(result.as_tensor(), torch.full((1, 20, 20), 0.1))
    kept = RandomPhotometricd("image", parameters, solarize=False)({"image": image})["image"]
    torch.testing.assert_close(kept.as_tensor(), image.as_tensor())


def test_bad_inputs_are_named():
    transform = RandomViewd("image", "mask")
    with pytest.raises(DataError, match="EnsureChannelFirstd"):
        transform({"image": torch.rand(8, 8), "mask": torch.zeros(1, 8, 8, dtype=torch.uint8)})
    with pytest.raises(DataError, match="aligned and of one size"):
        transform({"image": torch.rand(1, 8, 9), "mask": torch.zeros(1, 8, 8, dtype=torch.uint8)})
    with pytest.raises(DataError, match="cannot hold 255"):
        transform({"image": torch.rand(1, 8, 8), "mask": torch.zeros(1, 8, 8, dtype=torch.bool)})
    with pytest.raises(KeyError):
        transform({"image": torch.rand(1, 8, 8)})
    with pytest.raises(ConfigError, match="rotation"):
        RandomViewd("image", rotation=-5)


def test_missing_keys_are_skipped_where_allowed():
    result = RandomViewd("image", "mask", allow_missing_keys=True)({"image": ramp((20, 20))})
    assert set(result) == {"image"}
