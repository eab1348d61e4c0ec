"""Quantised embeddings: the bound holds for every pair, whatever the embeddings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densecf.visualization.quantise import measured_error, quantise


def exact(features: list[np.ndarray]) -> np.ndarray:
    """Every cosine similarity, by its definition."""
    vectors = np.concatenate([image.reshape(len(image), -1).T for image in features]).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    return unit @ unit.T


def coarse(quantised) -> np.ndarray:
    count = len(quantised.codes)
    vectors = np.concatenate([quantised.vectors(i).reshape(len(quantised.steps), -1).T for i in range(count)])
    return vectors @ vectors.T


def some_features(seed: int, dimension: int, rank: int, scale: float) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dimension, rank))
    shapes = [(5, 7), (4, 4)]
    low = [np.tensordot(mixing, rng.standard_normal((rank, *shape)), axes=1) for shape in shapes]
    return [((image + 0.05 * rng.standard_normal(image.shape)) * scale).astype(np.float32) for image in low]


@given(
    seed=st.integers(0, 10_000),
    dimension=st.integers(1, 40),
    rank=st.integers(1, 8),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    tolerance=st.sampled_from([0.005, 0.05, 0.3]),
)
@settings(max_examples=60, derandomize=True)
def test_every_pair_keeps_the_bound(seed, dimension, rank, scale, tolerance):
    features = some_features(seed, dimension, rank, scale)
    quantised = quantise(features, tolerance)
    error = np.abs(coarse(quantised) - exact(features)).max()
    assert error <= quantised.bound <= tolerance
    assert len(quantised.steps) <= dimension


def test_few_directions_need_few_axes_and_one_byte():
    rng = np.random.default_rng(0)
    features = np.tensordot(rng.standard_normal((64, 3)), rng.standard_normal((3, 12, 12)), axes=1)
    quantised = quantise([features], 0.05)
    assert len(quantised.steps) == 3
    assert quantised.codes[0].dtype == np.int8
    assert len(quantise([features], 0.3).steps) <= 3


def test_many_directions_take_two_bytes_rather_than_break_the_bound():
    features = np.eye(64)[:, :, None] * np.sign(np.random.default_rng(0).standard_normal((1, 1, 2)))
    features = features + 0.2 * np.random.default_rng(1).standard_normal(features.shape)
    quantised = quantise([features], 0.01)
    assert quantised.codes[0].dtype == np.int16
    assert np.abs(coarse(quantised) - exact([features])).max() <= quantised.bound <= 0.01


def test_collapsed_and_zero_embeddings():
    same = np.ones((8, 3, 3), np.float32)
    assert np.allclose(quantise([same], 0.05).similarities(0, 1, 1)[0], 1, atol=0.05)
    same[:, 0, 0] = 0
    found = quantise([same], 0.05).similarities(0, 0, 0)[0]
    assert np.allclose(found, 0, atol=0.05)


def test_padding_does_not_count():
    features = some_features(0, 16, 2, 1.0)
    mask = np.ones((5, 7), bool)
    mask[0] = False
    spoilt = [features[0].copy(), features[1]]
    spoilt[0][:, 0] = np.nan
    one, other = (quantise(each, 0.05, [mask, None]) for each in (features, spoilt))
    assert np.array_equal(one.codes[0], other.codes[0])
    assert (one.codes[0][:, 0] == 0).all()
    assert measured_error(spoilt, other, [mask, None], pairs=1000)[1] <= other.bound


def test_measured_error_is_that_of_the_pairs():
    features = some_features(3, 20, 5, 1.0)
    quantised = quantise(features, 0.1)
    mean, largest = measured_error(features, quantised, pairs=200_000)
    errors = np.abs(coarse(quantised) - exact(features))
    assert mean == pytest.approx(errors.mean(), rel=0.05)
    assert largest == pytest.approx(errors.max(), abs=1e-6)


@pytest.mark.parametrize("spoil", ["nan", "nothing valid", "lengths", "tolerance"])
def test_what_cannot_be_quantised(spoil):
    features, valid, tolerance = some_features(0, 4, 2, 1.0), None, 0.05
    if spoil == "nan":
        features[0][0, 0, 0] = np.nan
    elif spoil == "nothing valid":
        valid = [np.zeros((5, 7), bool), np.zeros((4, 4), bool)]
    elif spoil == "lengths":
        features[1] = features[1][:2]
    else:
        tolerance = 0.0
    with pytest.raises(ValueError):
        quantise(features, tolerance, valid)
