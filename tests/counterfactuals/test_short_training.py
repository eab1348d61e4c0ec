import numpy as np
import pytest
from torch import nn

from densecf.counterfactuals.short_training import ShortTraining, jitter, train_shortly
from densecf.errors import DensecfError


def test_maps_move_with_their_image_and_other_targets_stay():
    rng = np.random.default_rng(0)
    images = rng.random((6, 32, 32), np.float32)
    settings = ShortTraining(shift=0.1, tone=0.0)
    moved, targets = jitter(images, {"map": images.copy(), "label": np.arange(6)}, settings, rng)
    np.testing.assert_allclose(moved, targets["map"], atol=1e-6)  # no change of tone
    assert targets["label"].tolist() == list(range(6))
    assert not np.array_equal(moved, images)


def test_a_shift_is_a_translation_by_at_most_the_share_asked_for():
    images = np.random.default_rng(1).random((20, 20, 20), np.float32)
    moved, _ = jitter(images, {}, ShortTraining(shift=0.1, tone=0.0), np.random.default_rng(2))
    inside = slice(2, -2)
    for before, after in zip(images, moved, strict=True):
        candidates = [np.roll(before, (r, c), (0, 1)) for r in range(-2, 3) for c in range(-2, 3)]
        assert any(np.allclose(after[inside, inside], other[inside, inside], atol=1e-6) for other in candidates)


def test_tone_stays_in_the_range_of_an_image():
    images = np.ones((50, 4, 4), np.float32)
    moved, _ = jitter(images, {}, ShortTraining(shift=0.0, tone=0.1), np.random.default_rng(3))
    assert moved.max() <= 1
    assert 0.84 <= moved.min() < 0.95
    assert moved.dtype == np.float32


def test_a_spoilt_training_is_an_error():
    def load(chosen):
        return np.full((len(chosen), 4, 4), np.nan, np.float32), {}

    with pytest.raises(DensecfError, match="judge: the loss is nan"):
        train_shortly(
            lambda: nn.Conv2d(1, 1, 1),
            load,
            lambda network, images, _: network(images).mean(),
            4,
            ShortTraining(epochs=1),
            seed=0,
            title="judge",
            progress=False,
        )


def test_the_number_of_steps_is_bounded_by_epochs_and_by_steps():
    seen = []

    def load(chosen):
        seen.append(chosen)
        return np.zeros((len(chosen), 4, 4), np.float32), {}

    def run(**settings):
        seen.clear()
        train_shortly(
            lambda: nn.Conv2d(1, 1, 1),
            load,
            lambda network, images, _: network(images).square().mean(),
            10,
            ShortTraining(**settings),
            seed=0,
            title="",
            progress=False,
        )
        return len(seen)

    assert run(epochs=3, batch_size=5, min_steps=1) == 6
    assert sorted(np.concatenate(seen[:2])) == list(range(10))  # an epoch is every image once
    assert run(epochs=3, batch_size=5, min_steps=1, max_steps=4) == 4
    assert run(epochs=1, batch_size=32, min_steps=1) == 1
    assert run(epochs=1, batch_size=5, min_steps=9) == 9
