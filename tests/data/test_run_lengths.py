"""Run lengths against a slow oracle, and every way they can be damaged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from densecf.data.chexmask import decode as published_name
from densecf.data.run_lengths import decode, encode
from densecf.errors import DataError


def slow_decode(rle: str, height: int, width: int) -> list[list[bool]]:
    numbers = [int(token) for token in rle.split()]
    inside = set()
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        inside |= set(range(start, start + length))
    return [[row * width + column + 1 in inside for column in range(width)] for row in range(height)]


masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(masks)
def test_decode_is_the_oracle_and_the_inverse_of_encode(mask):
    text = encode(mask)
    decoded = decode(text, *mask.shape)
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, mask)
    assert decoded.tolist() == slow_decode(text, *mask.shape)


def test_starts_count_from_one_along_the_rows():
    mask = decode("2 3 8 1", 2, 4)
    np.testing.assert_array_equal(mask, [[0, 1, 1, 1], [0, 0, 0, 1]])
    assert encode(mask) == "2 3 8 1"
    assert encode(np.ones((2, 3))) == "1 6"  # a run goes on over the end of a row
    assert not decode("", 2, 3).any()
    assert published_name is decode


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ("1 2 3", "3 numbers, expected pairs"),
        ("0 2", "start 0, length 2.*at least 1"),
        ("3 0", "length 0.*at least 1"),
        ("1 4 3 2", r"run 2 .*\(start 3, length 2\) begins before the run ahead of it ends at 4"),
        ("5 1 2 1", "run 2 .*begins before"),
        ("11 3", "ends beyond the 3 x 4 px"),
        ("13 1", "ends beyond"),
        ("-3 2", "'-3', expected whole numbers above 0"),
        ("1.0 2", "'1.0'"),
        ("1 2,3 4", "'2,3'"),
        ("nan", "'nan'"),
        ("1_0 2", "'1_0'"),
        ("٣ 2", "'٣'"),  # int() takes the digits of all scripts
        ("1 99999999999999999999", "a number of 20 digits"),
        (float("nan"), "nan, expected text"),
        (None, "None, expected text"),
    ],
)
def test_damaged_run_lengths(rle, message):
    with pytest.raises(DataError, match=message):
        decode(rle, 3, 4)


@pytest.mark.parametrize("size", [(0, 4), (-1, 4), (3, 0), (2.5, 4), (10**6, 10**6), ("3", 4), (None, 4)])
def test_sizes_that_no_radiograph_has(size):
    with pytest.raises(DataError, match=r"px|height|width"):
        decode("1 2", *size)


@given(st.text("0123456789 -.,na\n\t", max_size=30), st.integers(1, 6), st.integers(1, 6))
def test_any_text_is_decoded_right_or_refused(rle, height, width):
    try:
        mask = decode(rle, height, width)
    except DataError:
        return
    assert mask.tolist() == slow_decode(rle, height, width)
    assert int(mask.sum()) == sum(int(token) for token in rle.split()[1::2])  # nothing overlapped or was cut off
