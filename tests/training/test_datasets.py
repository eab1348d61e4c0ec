"""Training samples: pure functions of (seed, epoch, row), with points that mean the same place in every view."""

import numpy as np
import pytest
import torch

from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError
from densecf.methods import METHODS
from densecf.training.datasets import (
    BACKGROUND,
    ContrastDataset,
    ViewDataset,
    choose_counterfactuals,
    pair_views,
)
from densecf.views.geometry import apply
from densecf.views.parameters import ViewParameters

POINTS = 40


@pytest.fixture(scope="module")
def data(phantom) -> PreparedDataset:
    return PreparedDataset.open(phantom)


def contrast_data(data, method: str, seed: int = 0, options: dict | None = None, **parameters) -> ContrastDataset:
    row = METHODS[method]
    stored = choose_counterfactuals(data, "auto", row)
    views = ViewDataset(
        data, ViewParameters(**parameters), counterfactuals=stored, augmentations=1 if stored[1] else 2, seed=seed
    )
    return ContrastDataset(views, row, POINTS, **(options or {}))


def test_counterfactual_methods_see_the_real_image_and_each_counterfactual(data):
    assert contrast_data(data, "s-mvd-cl").views.num_views == 4
    assert contrast_data(data, "vader").views.num_views == 2


def test_without_augmentation_the_views_are_the_stored_arrays(data):
    still = ViewParameters(rotation=0, scale=(1, 1), ratio=(1, 1), jitter_prob=0, blur_prob=0, solarize_prob=0)
    stored = choose_counterfactuals(data, "truth", METHODS["mvd-cl"])
    sample = ViewDataset(data, still, counterfactuals=stored)[0, 3]
    expected = [data.image(3)] + [data.counterfactual("truth", name, 3) for name in stored[1]]
    np.testing.assert_allclose(sample["images"][:, 0].numpy(), np.stack(expected), atol=2e-5)
    np.testing.assert_array_equal(sample["masks"].numpy(), np.stack([data.mask(3)] * 4))


@pytest.mark.parametrize("method", ["s-mvd-cl", "dvd-cl"])
def test_a_sample_depends_on_seed_epoch_and_row_alone(data, method):
    first, again = contrast_data(data, method)[2, 5], contrast_data(data, method)[2, 5]
    assert all(torch.equal(first[key], again[key]) for key in first)
    for other in (contrast_data(data, method)[3, 5], contrast_data(data, method, seed=1)[2, 5]):
        assert not torch.equal(first["images"], other["images"])
        assert not torch.equal(first["points"], other["points"])


def test_shapes_of_both_pairings(data):
    multi, dual = contrast_data(data, "mvd-cl")[0, 1], contrast_data(data, "dvd-cl")[0, 1]
    size = data.size
    assert multi["images"].shape == dual["images"].shape == (4, 1, size, size)
    assert multi["points"].shape == (4, POINTS, 2)
    assert multi["ids"].shape == multi["query"].shape == (4, POINTS)
    assert dual["points"].shape == (3, 2, POINTS, 2)
    assert dual["ids"].shape == (3, 2, POINTS)


def test_location_ids_are_shared_by_views_and_by_no_other_record(data):
    one, two = contrast_data(data, "mvd-cl")[0, 1], contrast_data(data, "mvd-cl")[0, 2]
    assert (one["ids"] == one["ids"][0]).all()
    used = [sample["ids"][sample["ids"] >= 0] for sample in (one, two)]
    assert not set(used[0].tolist()) & set(used[1].tolist())
    assert len(set(used[0].tolist())) == POINTS


def test_class_ids_are_what_the_mask_says_at_the_point(data):
    dataset = contrast_data(data, "s-mvd-cl", scale=(0.5, 1.0))
    sample, views = dataset[0, 4], dataset.views[0, 4]
    for view in range(4):
        for point, label, query in zip(sample["points"][view], sample["ids"][view], sample["query"][view], strict=True):
            row, column = (int(np.floor(v + 0.5)) for v in point.tolist())
            truth = int(views["masks"][view, row, column])
            assert label == (-1 if truth == 255 else truth)
            assert query == (truth not in (BACKGROUND, 255))


def test_points_of_all_views_are_one_place(data):
    dataset = contrast_data(data, "mvd-cl")
    sample, affines = dataset[0, 4], dataset.views[0, 4]["affines"]
    points = torch.cat([sample["points"].double(), torch.ones(4, POINTS, 1, dtype=torch.float64)], dim=-1)
    source = torch.einsum("vij,vnj->vni", affines, points)[..., :2]
    torch.testing.assert_close(source, source[:1].expand_as(source), rtol=0, atol=1e-4)


def test_positions_of_common_points_are_equal_in_all_views(data):
    plain, placed = (contrast_data(data, "mvd-cl", options={"positions": p}) for p in (False, True))
    sample, affines = placed[0, 4], placed.views[0, 4]["affines"]
    assert set(sample) == {*plain[0, 4], "positions"}
    assert all(torch.equal(value, sample[name]) for name, value in plain[0, 4].items())
    positions = sample["positions"]
    assert positions.shape == (4, POINTS, 2)
    assert (positions == positions[:1]).all()
    assert ((positions >= 0) & (positions < 1)).all()
    np.testing.assert_allclose(
        positions[2].numpy() * data.size, apply(affines[2], sample["points"][2].numpy()), rtol=0, atol=1e-4
    )


def test_points_anywhere_are_the_same_whole_pixels_of_every_view(data):
    dataset = contrast_data(data, "mvd-cl", options={"positions": True, "sampling": "anywhere"}, rotation=30.0)
    samples = [dataset[0, row] for row in range(12)]
    for row, sample in enumerate(samples):
        points, affines = sample["points"], dataset.views[0, row]["affines"]
        assert (points == points[:1]).all()
        assert (points == points.round()).all()
        assert (sample["ids"] >= 0).all()
        for view in range(4):
            expected = apply(affines[view], points[view].numpy()) / data.size
            np.testing.assert_allclose(sample["positions"][view].numpy(), expected, rtol=0, atol=1e-6)
    points = torch.cat([sample["points"][0] for sample in samples])
    assert (points.amin(0) == 0).all()
    assert (points.amax(0) == data.size - 1).all()
    assert (points.mean(0) - (data.size - 1) / 2).abs().max() < 4 * data.size / 12**0.5 / len(points) ** 0.5
    # As in the authors' code, rotated-in corners take part.
    positions = torch.cat([sample["positions"] for sample in samples])
    assert ((positions < 0) | (positions > 1)).any()
    again = contrast_data(data, "mvd-cl", options={"positions": True, "sampling": "anywhere"}, rotation=30.0)[0, 3]
    assert all(torch.equal(samples[3][name], again[name]) for name in again)


@pytest.mark.parametrize("method", ["s-mvd-cl", "s-dvd-cl"])
def test_background_queries_are_the_only_difference(data, method):
    without, with_them = (contrast_data(data, method, options={"background_queries": b})[0, 4] for b in (False, True))
    background = without["ids"] == BACKGROUND
    assert background.any()
    assert torch.equal(with_them["query"], without["query"] | background)
    assert all(torch.equal(without[name], with_them[name]) for name in without if name != "query")


@pytest.mark.parametrize(
    ("method", "options"),
    [("mvd-cl", {"sampling": "anywhere"}), ("dvd-cl", {"positions": True}), ("s-mvd-cl", {"positions": True})],
)
def test_what_has_no_meaning_is_refused(data, method, options):
    with pytest.raises(ValueError, match="positions"):
        contrast_data(data, method, options=options)


def test_views_are_paired_with_the_anchor():
    views = torch.arange(4)
    assert pair_views(views, "multi").tolist() == [[0, 1, 2, 3]]
    assert pair_views(views, "dual").tolist() == [[0, 1], [0, 2], [0, 3]]


def test_counterfactuals_are_chosen_by_source(data):
    names = data.counterfactuals["truth"]
    assert choose_counterfactuals(data, "auto", METHODS["dvd-cl"]) == ("truth", names)
    assert choose_counterfactuals(data, "none", METHODS["dvd-cl"]) == ("", ())
    assert choose_counterfactuals(data, "auto", METHODS["vader"]) == ("", ())
    with pytest.raises(DataError, match="truth, or none"):
        choose_counterfactuals(data, "hvae", METHODS["dvd-cl"])


def test_a_dataset_without_counterfactuals_says_what_to_do(data):
    bare = PreparedDataset.open(data.path)
    bare.counterfactuals = {}
    with pytest.raises(DataError, match="--counterfactuals none"):
        choose_counterfactuals(bare, "auto", METHODS["s-mvd-cl"])
