import math

import pytest
import torch

from densecf.losses import contrast, contrast_chance_level, info_nce
from densecf.losses.pairing import anchor_pairs
from tests.losses.oracle import slow_contrast
from tests.losses.test_info_nce import assert_exact, random_rows

BATCH, VIEWS, POINTS, DIM = 2, 3, 4, 5


def location_ids(batch: int, views: int, points: int) -> torch.Tensor:
    return torch.arange(batch * points).reshape(batch, 1, points).repeat(1, views, 1)


def class_ids(*shape: int) -> torch.Tensor:
    """Some rows of IGNORE, -1, and some of background, 0."""
    return torch.randint(-1, 3, shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pairing", ["dual", "multi"])
@pytest.mark.parametrize("same", ["location", "class"])
@pytest.mark.parametrize("temperature", [0.01, 0.7])
def test_views_equal_the_double_loop(pairing, same, temperature):
    embeddings = random_rows(BATCH, VIEWS, POINTS, DIM)
    ids = location_ids(BATCH, VIEWS, POINTS) if same == "location" else class_ids(BATCH, VIEWS, POINTS)
    mask = None if same == "location" else ids > 0
    options = {"pairing": pairing, "temperature": temperature, "query_mask": mask}
    fast, slow = contrast(embeddings, ids, **options), slow_contrast(embeddings, ids, **options)
    assert_exact(fast, slow)
    assert_exact(*(torch.autograd.grad(loss, embeddings)[0] for loss in (fast, slow)))


@pytest.mark.parametrize("direction_reduction", ["mean", "sum"])
def test_pairs_equal_the_double_loop(direction_reduction):
    embeddings, ids = random_rows(BATCH, 2, 2, POINTS, DIM), class_ids(BATCH, 2, 2, POINTS)
    options = {"pairing": "dual", "temperature": 0.7, "query_mask": ids > 0, "direction_reduction": direction_reduction}
    fast, slow = contrast(embeddings, ids, **options), slow_contrast(embeddings, ids, **options)
    assert_exact(fast, slow)
    assert_exact(*(torch.autograd.grad(loss, embeddings)[0] for loss in (fast, slow)))


def test_views_are_pairs_with_the_anchor():
    views, ids = random_rows(BATCH, VIEWS, POINTS, DIM), location_ids(BATCH, VIEWS, POINTS)
    pairs = anchor_pairs(views)
    assert pairs.shape == (BATCH, VIEWS - 1, 2, POINTS, DIM)
    assert torch.equal(pairs[:, 1, 0], views[:, 0])
    assert torch.equal(pairs[:, 1, 1], views[:, 2])
    assert_exact(
        contrast(views, ids, pairing="dual", temperature=0.7),
        contrast(pairs, anchor_pairs(ids), pairing="dual", temperature=0.7),
    )


def test_dual_with_two_views_is_the_mean_of_both_directions():
    views, ids = random_rows(BATCH, 2, POINTS, DIM), location_ids(BATCH, 2, POINTS)
    anchor, target = views[:, 0].reshape(-1, DIM), views[:, 1].reshape(-1, DIM)
    flat = ids[:, 0].reshape(-1)
    there = info_nce(anchor, target, flat, flat, temperature=0.7)
    back = info_nce(target, anchor, flat, flat, temperature=0.7)
    mean = contrast(views, ids, pairing="dual", temperature=0.7)
    assert_exact(mean, (there + back) / 2)
    summed = contrast(views, ids, pairing="dual", temperature=0.7, direction_reduction="sum")
    assert_exact(summed, there + back)


@pytest.mark.parametrize(
    ("pairing", "direction_reduction", "expected"),
    [
        ("multi", "mean", math.log(BATCH * VIEWS * POINTS - 1)),
        ("dual", "mean", math.log(BATCH * POINTS)),
        ("dual", "sum", 2 * math.log(BATCH * POINTS)),
    ],
)
def test_chance_level_is_the_loss_of_equal_embeddings(pairing, direction_reduction, expected):
    ids = location_ids(BATCH, VIEWS, POINTS)
    options = {"pairing": pairing, "direction_reduction": direction_reduction}
    assert contrast_chance_level(ids, **options).item() == pytest.approx(expected)
    loss = contrast(torch.ones(*ids.shape, DIM), ids, temperature=0.7, **options)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_chance_level_heeds_rows_that_take_no_part():
    ids = class_ids(BATCH, VIEWS, POINTS)
    for pairing in ("dual", "multi"):
        level = contrast_chance_level(ids, pairing=pairing, query_mask=ids > 0)
        loss = contrast(torch.ones(*ids.shape, DIM), ids, pairing=pairing, temperature=0.7, query_mask=ids > 0)
        torch.testing.assert_close(level, loss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "ids_shape", "options", "message"),
    [
        ((2, 3, 4, 5), (2, 3, 5), {"pairing": "multi"}, "one id an embedding"),
        ((2, 1, 4, 5), (2, 1, 4), {"pairing": "dual"}, "V >= 2"),
        ((2, 3, 3, 4, 5), (2, 3, 3, 4), {"pairing": "dual"}, r"\(B, P, 2, N, D\)"),
        ((2, 3, 2, 4, 5), (2, 3, 2, 4), {"pairing": "multi"}, r"multi pairing needs embeddings \(B, V, N, D\)"),
        ((2, 3, 4, 5), (2, 3, 4), {"pairing": "triple"}, "'triple'"),
        ((2, 3, 4, 5), (2, 3, 4), {"pairing": "dual", "direction_reduction": "max"}, "'max'"),
        ((2, 3, 4, 5), (2, 3, 4), {"pairing": "dual", "query_mask": torch.ones(2, 3, dtype=torch.bool)}, "query_mask"),
    ],
)
def test_misuse_says_what_does_not_fit(shape, ids_shape, options, message):
    with pytest.raises(ValueError, match=message):
        contrast(torch.ones(shape), torch.zeros(ids_shape, dtype=torch.int64), temperature=0.7, **options)
