import numpy as np
import pytest

from densecf.visualization.neighbours import nearest


def slow_nearest(queries, keys, count):
    distances = ((queries[:, None].astype(np.float64) - keys[None]) ** 2).sum(axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(distances, order, axis=1)


def test_equals_a_full_sort():
    rng = np.random.default_rng(0)
    queries, keys = rng.standard_normal((1100, 7), np.float32), rng.standard_normal((90, 7), np.float32)
    indices, squared = nearest(queries, keys, 6)
    expected, distances = slow_nearest(queries, keys, 6)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(squared, distances, rtol=1e-5)


def test_self_is_left_out_even_among_duplicates():
    keys = np.repeat(np.random.default_rng(1).standard_normal((300, 5), np.float32), 2, axis=0)
    indices, squared = nearest(keys, keys, 3, exclude_self=True)
    assert (indices != np.arange(600)[:, None]).all()
    np.testing.assert_array_equal(squared[:, 0], 0)
    np.testing.assert_array_equal(indices[:, 0], np.arange(600) ^ 1)


def test_distances_stay_exact_far_from_the_origin():
    rng = np.random.default_rng(2)
    keys = (1000 + rng.standard_normal((50, 4))).astype(np.float32)
    squared = nearest(keys, keys, 2, exclude_self=True)[1]
    slow = slow_nearest(keys, keys, 3)[1][:, 1:]
    assert np.median(np.abs(squared / slow - 1)) < 0.01


def test_more_neighbours_than_keys_is_an_error():
    keys = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="3 neighbours"):
        nearest(keys, keys, 3, exclude_self=True)
