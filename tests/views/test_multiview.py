import numpy as np
import pytest
import torch

from densecf.errors import DataError
from densecf.views import MultiView, RandomPhotometricd, RandomViewd, ViewParameters
from densecf.views.geometry import IGNORE
from densecf.views.multiview import view_seed
from tests.views.ramps import ramp_error, sources, visible

GEOMETRY_ONLY = {"jitter_prob": 0.0, "blur_prob": 0.0, "solarize_prob": 0.0}


@pytest.fixture
def record():
    numbers = np.random.default_rng(0)
    images = [numbers.random((48, 60)).astype(np.float32) for _ in range(4)]
    return images, numbers.integers(0, 3, (48, 60)).astype(np.uint8)


def seeds(record=0, epoch=0, views=4):
    return [view_seed(0, epoch, record, view) for view in range(views)]


def test_shapes_and_types(record):
    views = MultiView((40, 44))(*record, seeds())
    assert views["images"].shape == (4, 1, 40, 44)
    assert views["images"].dtype == torch.float32
    assert views["masks"].shape == (4, 40, 44)
    assert views["masks"].dtype == torch.uint8
    assert views["affines"].shape == (4, 3, 3)
    assert views["affines"].dtype == torch.float64
    assert 0 <= views["images"].min() <= views["images"].max() <= 1


@pytest.mark.parametrize("size", [(48, 60), (49, 33)])
def test_ramp(size):
    rows, columns = np.indices((48, 60), dtype=np.float32)
    multiview = MultiView(size, ViewParameters(flip_prob=0.5, **GEOMETRY_ONLY))
    for number in range(5):
        by_row = multiview([rows] * 2, None, seeds(number, views=2))
        by_column = multiview([columns] * 2, None, seeds(number, views=2))
        for view in range(2):
            both = torch.cat([by_row["images"][view], by_column["images"][view]])
            assert ramp_error(both, by_row["affines"][view].numpy(), (48, 60)) < 1e-3


def test_equals_the_monai_transforms_with_the_same_seed(record):
    """One implementation of draws, matrices, resampling and intensities behind both."""
    images, mask = record
    parameters = ViewParameters(flip_prob=0.5)
    views = MultiView(40, parameters, flip_pairs=((1, 2),))(images, mask, seeds())
    geometric = RandomViewd("image", "mask", size=40, flip_prob=0.5, flip_pairs=((1, 2),))
    photometric = RandomPhotometricd("image", parameters)
    for view, seed in enumerate(seeds()):
        geometric.set_random_state(seed=seed)
        photometric.set_random_state(state=geometric.R)
        expected = photometric(geometric({"image": images[view][None], "mask": mask[None]}))
        seen = expected["mask"][0] != IGNORE
        assert torch.equal(views["affines"][view], expected["image"].affine)
        assert torch.equal(views["masks"][view], expected["mask"][0].as_tensor())
        torch.testing.assert_close(views["images"][view][0][seen], expected["image"].as_tensor()[0][seen])


def test_outside_stays_zero_whatever_the_photometry(record):
    images, mask = record
    parameters = ViewParameters(rotation=45, scale=(0.9, 1), jitter_prob=1, blur_prob=1, solarize_prob=1)
    views = MultiView(48, parameters)(images, mask, seeds())
    for view in range(4):
        seen = visible(sources(views["affines"][view].numpy(), (48, 48)), (48, 60))
        assert 0 < seen.mean() < 1
        assert (views["images"][view, 0].numpy()[~seen] == 0).all()
        assert (views["masks"][view].numpy() == IGNORE).tolist() == (~seen).tolist()


def test_views_share_the_mask_each_through_its_own_matrix(record):
    images, mask = record
    views = MultiView((48, 60), ViewParameters(**GEOMETRY_ONLY))(images, mask, seeds())
    assert len({tuple(affine.flatten().tolist()) for affine in views["affines"]}) == 4
    for view in range(4):
        where = sources(views["affines"][view].numpy(), (48, 60))
        seen = visible(where, (48, 60))
        nearest = mask[tuple(np.rint(where).astype(int).clip(0, [47, 59]).transpose(2, 0, 1))]
        np.testing.assert_array_equal(views["masks"][view].numpy(), np.where(seen, nearest, IGNORE))


def test_without_a_mask_everything_is_ignored(record):
    assert (MultiView(32)(record[0], None, seeds())["masks"] == IGNORE).all()


def test_flip_swaps_classes_only_where_a_view_is_flipped(record):
    images, mask = record
    parameters = ViewParameters(flip_prob=0.5, **GEOMETRY_ONLY)
    swapped = MultiView(40, parameters, flip_pairs=((1, 2),))(images, mask, seeds())
    kept = MultiView(40, parameters)(images, mask, seeds())
    flipped = swapped["affines"][:, 1, 1] < 0
    assert 0 < flipped.sum() < 4
    table = torch.arange(256, dtype=torch.uint8)
    table[1], table[2] = 2, 1
    for view in range(4):
        expected = table[kept["masks"][view].long()] if flipped[view] else kept["masks"][view]
        assert torch.equal(swapped["masks"][view], expected)


@pytest.mark.parametrize("anchor", [True, False])
def test_the_anchor_may_be_spared_solarising(anchor):
    bright = np.full((32, 32), 0.9, dtype=np.float32)
    parameters = ViewParameters(jitter_prob=0, blur_prob=0, solarize_prob=1, solarize_anchor=anchor, rotation=0)
    views = MultiView(32, parameters)([bright] * 3, None, seeds(views=3))["images"]
    highest = views.amax(dim=(1, 2, 3))
    torch.testing.assert_close(highest, torch.tensor([0.1 if anchor else 0.9, 0.1, 0.1]))


def test_a_record_s_views_depend_on_its_seeds_alone(record):
    images, mask = record
    one, other = MultiView(32), MultiView(32)
    order = [one(images, mask, seeds(number)) for number in range(6)]
    reverse = [other(images, mask, seeds(number)) for number in reversed(range(6))][::-1]
    for left, right in zip(order, reverse, strict=True):
        for name in ("images", "masks", "affines"):
            assert torch.equal(left[name], right[name])
    assert not torch.equal(order[0]["affines"], one(images, mask, seeds(0, epoch=1))["affines"])


class Records(torch.utils.data.Dataset):
    def __init__(self, images, mask):
        self.images, self.mask = images, mask

    def __len__(self):
        return 4

    def __getitem__(self, number):
        return MultiView(24)(self.images, self.mask, seeds(number))


def test_the_same_in_workers_as_without(record):
    data = Records(*record)
    batches = [list(torch.utils.data.DataLoader(data, batch_size=2, num_workers=workers)) for workers in (0, 2)]
    for alone, worker in zip(*batches, strict=True):
        for name in ("images", "masks", "affines"):
            assert torch.equal(alone[name], worker[name])


def test_read_only_arrays_are_neither_changed_nor_warned_about(record, recwarn):
    images, mask = record
    for array in (*images, mask):
        array.setflags(write=False)
    copies = [image.copy() for image in images]
    MultiView(32, ViewParameters(flip_prob=1.0), flip_pairs=((1, 2),))(images, mask, seeds())
    assert not recwarn.list
    for image, copy in zip(images, copies, strict=True):
        np.testing.assert_array_equal(image, copy)


def test_bad_inputs_are_named(record):
    images, mask = record
    multiview = MultiView(32)
    with pytest.raises(DataError, match="3 seeds"):
        multiview(images, mask, seeds(views=3))
    with pytest.raises(DataError, match=r"\(48, 59\)"):
        multiview(images, mask[:, :-1], seeds())
    with pytest.raises(DataError, match="aligned"):
        multiview([image[None] for image in images], None, seeds())
    with pytest.raises(DataError, match="aligned"):
        multiview([], None, [])
