"""Positives by nearness against a double loop, closed forms, and the loss by ids where both say the same."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from densecf.losses import contrast, contrast_chance_level, nearby, nearby_chance_level, nearby_contrast
from densecf.losses.nearby import near_sums
from tests.losses.oracle import slow_nearby
from tests.losses.test_info_nce import assert_exact, random_rows
from tests.losses.test_pairing import location_ids

BATCH, VIEWS, POINTS, DIM = 2, 3, 5, 4


def places(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    """Most rows take part."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed + 50)) < 0.8


def everyone(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.bool)


def assert_equals_slow(embeddings, positions, part, **options) -> None:
    fast = nearby_contrast(embeddings, positions, part, **options)
    slow = slow_nearby(embeddings, positions, part, **options)
    assert_exact(fast, slow)
    gradient = torch.autograd.grad(slow, embeddings)[0] if slow.requires_grad else torch.zeros_like(embeddings)
    assert_exact(torch.autograd.grad(fast, embeddings)[0], gradient)


@pytest.mark.parametrize("temperature", [0.01, 0.7])
@pytest.mark.parametrize("radius", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("part", [everyone, some])
def test_equals_the_double_loop(radius, temperature, part):
    shape = (BATCH, VIEWS, POINTS)
    assert_equals_slow(random_rows(*shape, DIM), places(*shape), part(*shape), radius=radius, temperature=temperature)


@settings(max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
    radius=st.floats(0.01, 1.5),
    seed=st.integers(0, 10**6),
)
def test_any_shapes_and_radii(shape, radius, seed):
    assert_equals_slow(
        random_rows(*shape, 3, seed=seed),
        places(*shape, seed=seed),
        some(*shape, seed=seed),
        radius=radius,
        temperature=0.5,
    )


@pytest.mark.parametrize("rows", [1, 4, 7])
def test_some_rows_at_a_time(monkeypatch, rows):
    monkeypatch.setattr(nearby, "tile_rows", lambda keys, device: rows)
    shape = (BATCH, VIEWS, POINTS)
    assert_equals_slow(random_rows(*shape, DIM), places(*shape), some(*shape), radius=0.3, temperature=0.2)


def test_gradcheck():
    positions, part = places(2, 2, 3), some(2, 2, 3)
    assert torch.autograd.gradcheck(
        lambda rows: nearby_contrast(rows, positions, part, radius=0.5, temperature=0.3), (random_rows(2, 2, 3, 3),)
    )


@pytest.mark.parametrize("temperature", [0.01, 0.7])
def test_a_tiny_radius_is_the_same_location(temperature):
    """Exact correspondences: the same place in every view, no two points in one place."""
    embeddings, ids = random_rows(BATCH, VIEWS, POINTS, DIM), location_ids(BATCH, VIEWS, POINTS)
    ids[1, :, 2] = -1
    positions = places(BATCH, 1, POINTS).expand(BATCH, VIEWS, POINTS, 2)
    near = nearby_contrast(embeddings, positions, ids >= 0, radius=1e-9, temperature=temperature)
    same = contrast(embeddings, ids, pairing="multi", temperature=temperature)
    assert_exact(near, same)
    assert_exact(*(torch.autograd.grad(loss, embeddings)[0] for loss in (near, same)))
    torch.testing.assert_close(
        nearby_chance_level(positions, ids >= 0, radius=1e-9), contrast_chance_level(ids, pairing="multi")
    )


def test_three_in_a_row_are_no_class():
    """The middle is near both ends, the ends are not near each other: by ids this cannot be said."""
    rows = random_rows(1, 1, 3, DIM)
    positions = torch.tensor([[[[0.0, 0.0], [0.0, 0.5], [0.0, 1.0]]]], dtype=torch.float64)
    s = torch.nn.functional.normalize(rows[0, 0], dim=1)
    s = s @ s.T / 0.7
    ends = [torch.logsumexp(s[i, [1, 2 - i]], 0) - s[i, 1] for i in (0, 2)]
    middle = torch.logsumexp(s[1, [0, 2]], 0) - s[1, [0, 2]].mean()
    expected = (ends[0] + ends[1] + middle) / 3
    assert_exact(nearby_contrast(rows, positions, everyone(1, 1, 3), radius=0.6, temperature=0.7), expected)


def test_the_radius_itself_is_not_near():
    positions = torch.tensor([[[0.0, 0.0], [0.0, 0.5]]], dtype=torch.float64)
    ones = torch.ones(1, 2, 1, dtype=torch.float64)
    for radius, count in ((0.5, 0), (0.5 + 1e-9, 1)):
        assert near_sums(ones, positions, everyone(1, 2), radius).flatten().tolist() == [count] * 2


def test_other_images_and_absent_rows_are_no_positives():
    positions = torch.zeros(2, 1, 3, 2)
    part = torch.tensor([[[True, True, False]], [[True, False, False]]])
    ones = torch.ones(2, 3, 1)
    sums = near_sums(ones, positions.flatten(1, 2), part.flatten(1, 2), 0.1)
    assert sums[..., 0].tolist() == [[1, 1, 0], [0, 0, 0]]


def test_chance_is_the_loss_of_equal_embeddings():
    shape = (BATCH, VIEWS, POINTS)
    positions, part = places(*shape), some(*shape)
    level = nearby_chance_level(positions, part, radius=0.3)
    assert level.item() == pytest.approx(math.log(int(part.sum()) - 1))
    loss = nearby_contrast(torch.ones(*shape, DIM), positions, part, radius=0.3, temperature=0.7)
    torch.testing.assert_close(loss, level)


def test_nobody_near_costs_nothing():
    embeddings, positions = random_rows(1, 1, 3, DIM), places(1, 1, 3)
    loss = nearby_contrast(embeddings, positions, everyone(1, 1, 3), radius=1e-9, temperature=0.7)
    assert loss == 0
    assert not torch.autograd.grad(loss, embeddings)[0].any()
    assert nearby_chance_level(positions, everyone(1, 1, 3), radius=1e-9) == 0


def test_zero_vectors_and_half_precision():
    shape = (BATCH, VIEWS, POINTS)
    positions, part, rows = places(*shape), everyone(*shape), random_rows(*shape, DIM).detach()
    rows[0, 0, 0] = 0
    rows.requires_grad_()
    loss = nearby_contrast(rows, positions, part, radius=0.3, temperature=0.7)
    gradient = torch.autograd.grad(loss, rows)[0]
    assert gradient.isfinite().all()
    assert not gradient[0, 0, 0].any()
    half = rows.detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = nearby_contrast(half, positions, part, radius=0.3, temperature=0.7)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(
        mixed, nearby_contrast(half.float(), positions, part, radius=0.3, temperature=0.7), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positions": torch.zeros(1, 1, 3, 3)}, "positions"),
        ({"takes_part": torch.ones(1, 1, 3)}, "bool"),
        ({"radius": 0.0}, "radius"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_misuse_is_refused(change, words):
    given = {
        "embeddings": torch.zeros(1, 1, 3, 4),
        "positions": torch.zeros(1, 1, 3, 2),
        "takes_part": everyone(1, 1, 3),
        "radius": 0.1,
        "temperature": 0.7,
    }
    with pytest.raises(ValueError, match=words):
        nearby_contrast(**{**given, **change})
