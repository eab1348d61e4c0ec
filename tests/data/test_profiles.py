"""The geometry of both profiles is exact, and masks lie where their images do."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from densecf.data.profiles import PROFILES, get_profile, load_image, spacing_of
from densecf.data.raw_image import RawImage
from densecf.data.resampling import _row_pieces, resample, resample_nearest
from densecf.data.tones import field_of_view
from densecf.errors import ConfigError, DataError
from tests.data.making import save

sides = st.integers(16, 300)
sizes = st.integers(16, 160)
profiles = st.sampled_from(list(PROFILES.values()))


def positions(affine, size):
    """Original (row, column) of every prepared pixel, each (S, S)."""
    rows, columns = np.mgrid[:size, :size]
    points = np.stack([rows, columns, np.ones_like(rows)]).reshape(3, -1)
    return (affine @ points)[:2].reshape(2, size, size)


@given(profiles, sides, sides, sizes)
@settings(max_examples=60)
def test_a_coordinate_ramp_comes_out_where_the_affine_says(profile, height, width, size):
    affine = profile.affine(height, width, size)
    expected = positions(affine, size)
    reach = np.maximum(1, np.diag(affine)[:2]) + 1
    interior = np.all(
        [(p >= r) & (p <= n - 1 - r) for p, r, n in zip(expected, reach, (height, width), strict=True)], axis=0
    )
    for axis, ramp in enumerate(np.mgrid[:height, :width].astype(np.float32)):
        error = np.abs(resample(ramp, affine, size) - expected[axis])[interior]
        # Original pixels. The filter is PIL's: exact for whole-number steps, worst for steps just above one.
        assert error.max(initial=0) < (1e-3 if float(affine[axis, axis]).is_integer() else 0.09)
        nearest = np.abs(resample_nearest(ramp, affine, size) - expected[axis])[interior]
        assert nearest.max(initial=0) <= 0.5 + 1e-4


@given(profiles, sides, sides, sizes)
@settings(max_examples=60)
def test_the_mask_of_an_object_lies_on_its_image(profile, height, width, size):
    labels = np.zeros((height, width), np.uint8)
    labels[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 1
    image, _ = profile.image(RawImage(labels * np.float32(1000)), size)
    mask = profile.mask(labels, size, 2)
    # Nearest-neighbour masks may differ from the half-covered border by half a step on either side.
    border = np.abs(image - 0.5) < 0.5 - 1e-3 if not profile.vote else np.abs(image - 0.5) < 1e-3
    np.testing.assert_array_equal((image > 0.5)[~border], (mask == 1)[~border])


@given(sides, sides, sizes)
@settings(max_examples=40)
def test_robust_keeps_the_whole_field_in_the_middle(height, width, size):
    affine = PROFILES["robust"].affine(height, width, size)
    assert affine[0, 0] == affine[1, 1]
    corners = np.linalg.inv(affine) @ np.array([[-0.5, height - 0.5], [-0.5, width - 0.5], [1, 1]])
    assert (corners[:2] >= -0.5 - 1e-6).all()
    assert (corners[:2] <= size - 0.5 + 1e-6).all()
    np.testing.assert_allclose(corners[:2].mean(axis=1), (size - 1) / 2, atol=1e-6)


@given(sides, sides, sizes)
@settings(max_examples=40)
def test_authors_fill_the_square(height, width, size):
    affine = PROFILES["authors"].affine(height, width, size)
    expected = positions(affine, size)
    assert expected.min() >= -0.5
    assert (expected[0] <= height - 0.5).all()
    assert (expected[1] <= width - 0.5).all()
    assert resample(np.ones((height, width), np.float32), affine, size).min() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("height", "width", "size"), [(100, 77, 32), (301, 417, 64), (40, 50, 64), (64, 64, 64)])
def test_authors_equal_torchvision(height, width, size):
    import torch
    from torchvision.transforms import functional

    pixels = np.random.default_rng(0).random((height, width)).astype(np.float32)
    image, _ = PROFILES["authors"].image(RawImage(pixels), size)
    tensor = torch.from_numpy(pixels / pixels.max())[None]
    expected = functional.center_crop(functional.resize(tensor, [size], antialias=True), [size])[0]
    np.testing.assert_allclose(image, expected.numpy(), atol=1e-5)


def test_resampling_equals_pil():
    pixels = np.random.default_rng(0).random((90, 120)).astype(np.float32)
    affine = np.array([[3, 0, 1.0], [0, 4, 1.5], [0, 0, 1]])
    expected = np.asarray(Image.fromarray(pixels).resize((30, 30), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(resample(pixels, affine, 30), expected, atol=1e-5)


def test_outside_is_black_and_background():
    raw = RawImage(np.random.default_rng(0).random((64, 32)).astype(np.float32) + 1)
    image, _ = PROFILES["robust"].image(raw, 64)
    mask = PROFILES["robust"].mask(np.ones((64, 32), np.uint8), 64, 2)
    assert image[:, :16].max() == image[:, 48:].max() == 0
    assert mask[:, :16].max() == mask[:, 48:].max() == 0
    assert mask[:, 16:48].min() == 1


def test_halving_does_not_shift_masks():
    labels = np.zeros((64, 64), np.uint8)
    labels[20:44, 10:54] = 1
    mask = PROFILES["robust"].mask(labels, 32, 2)
    rows, columns = np.nonzero(mask)
    assert rows.mean() == columns.mean() == 15.5  # the centre, to the last digit


def test_robust_window_ignores_borders_and_outliers():
    pixels = np.zeros((100, 100), np.float32)
    pixels[20:80, 20:80] = np.linspace(1000, 2000, 3600).reshape(60, 60)
    pixels[50, 50] = 60000
    image = PROFILES["robust"].intensity(RawImage(pixels))
    assert field_of_view(RawImage(pixels)) == (slice(20, 80), slice(20, 80))
    assert image[20, 20] == 0
    assert image[79, 79] == 1
    assert 0.4 < image[50, 20] < 0.6


def test_monochrome1_is_turned_around_by_robust_only():
    ramp = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    plain, inverted = RawImage(ramp), RawImage(ramp, inverted=True)
    robust, authors = PROFILES["robust"], PROFILES["authors"]
    np.testing.assert_allclose(robust.intensity(inverted), 1 - robust.intensity(plain))
    np.testing.assert_array_equal(authors.intensity(inverted), authors.intensity(plain))
    assert authors.intensity(plain).max() == 1


def test_a_nearly_constant_image_still_has_content():
    pixels = np.zeros((64, 64), np.float32)
    pixels[30:32, 30:32] = 5
    pixels[0, 0] = pixels[-1, -1] = 1
    image = PROFILES["robust"].intensity(RawImage(pixels))
    assert image[30, 30] == 1
    assert image[10, 10] == 0


def test_stripes_have_no_border():
    stripes = np.tile(np.arange(20.0), (20, 1))
    assert field_of_view(RawImage(stripes)) == (slice(0, 20), slice(0, 20))


@given(profiles, sides, sides, sizes, st.integers(0, 10))
@settings(max_examples=40)
def test_images_are_float32_in_the_unit_range(profile, height, width, size, seed):
    pixels = np.random.default_rng(seed).normal(100, 50, (height, width)).astype(np.float32)
    image, affine = profile.image(RawImage(pixels), size)
    assert image.shape == (size, size)
    assert image.dtype == np.float32
    assert affine.shape == (3, 3)
    assert affine.dtype == np.float64
    assert image.min() >= 0
    assert image.max() <= 1


def test_spacing_follows_the_scale():
    assert spacing_of(PROFILES["robust"].affine(256, 200, 128), 0.2) == pytest.approx(0.4)
    assert math.isnan(spacing_of(np.eye(3), math.nan))


def test_authors_need_a_positive_value(tmp_path):
    path = save(tmp_path / "a.tif", -np.random.default_rng(0).random((20, 20)).astype(np.float32))
    with pytest.raises(DataError, match=r"a\.tif: no value is above zero"):
        load_image(path, 32, "authors")
    assert load_image(path, 32)[0].max() > 0.9


def test_unknown_profiles_are_named():
    with pytest.raises(ConfigError, match="robust, breast, authors"):
        get_profile("best")


def largest_region(bright: np.ndarray) -> np.ndarray:
    """By flooding from every pixel: the first of the largest 4-connected regions."""
    best: set[tuple[int, int]] = set()
    for start in zip(*np.nonzero(bright), strict=True):
        region, todo = {start}, [start]
        while todo:
            row, column = todo.pop()
            for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                inside = 0 <= near[0] < bright.shape[0] and 0 <= near[1] < bright.shape[1]
                if inside and bright[near] and near not in region:
                    region.add(near)
                    todo.append(near)
        best = region if len(region) > len(best) else best
    mask = np.zeros(bright.shape, bool)
    for place in best:
        mask[place] = True
    return mask


@given(seed=st.integers(0, 2**16), share=st.floats(0.2, 0.8), inverted=st.booleans())
@settings(max_examples=30)
def test_beside_the_breast_it_is_black(seed, share, inverted):
    rng = np.random.default_rng(seed)
    pixels = np.where(rng.random((20, 17)) < share, rng.integers(100, 4096, (20, 17)), 0).astype(np.float32)
    raw = RawImage(4095 - pixels if inverted else pixels, inverted)
    robust, image = (PROFILES[name].intensity(raw) for name in ("robust", "breast"))
    breast = largest_region(robust > 5 / 255)
    np.testing.assert_array_equal(image, np.where(breast, robust, 0))
    assert image.dtype == np.float32


def test_letters_beside_the_breast_go():
    pixels = np.zeros((64, 48), np.float32)
    pixels[10:50, :30] = 3000  # the breast
    pixels[4:9, 36:44] = 4095  # R CC
    image, affine = PROFILES["breast"].image(RawImage(pixels), 64)
    np.testing.assert_array_equal(affine, PROFILES["robust"].affine(64, 48, 64))
    assert image[:9].max() == 0
    assert image[20:40, 10:35].min() > 0.5
    assert PROFILES["robust"].image(RawImage(pixels), 64)[0][:9].max() == 1


@given(
    st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]),
    st.integers(16, 60),
    st.integers(16, 60),
    st.integers(1, 65535),
    st.booleans(),
    st.integers(0, 100),
)
@settings(max_examples=60)
def test_the_files_own_type_gives_the_bytes_of_floats(dtype, height, width, spread, with_table, seed):
    generator = np.random.default_rng(seed)
    stored = (generator.integers(0, spread, (height, width)) - spread // 3).astype(dtype)
    stored[: seed % 5], stored[:, width - seed % 7 :] = 3, 3
    table = generator.normal(0, 100, 256**stored.dtype.itemsize).astype(np.float32) if with_table else None
    small = RawImage(stored, table=table)
    values = stored.astype(np.float32) if table is None else table[stored.view(f"u{stored.dtype.itemsize}")]
    np.testing.assert_array_equal(small.pixels, values)
    if values.max() <= 0 or values.min() == values.max():
        return
    for profile in PROFILES.values():
        image, _ = profile.image(small, 24)
        expected, _ = profile.image(RawImage(values), 24)
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_window_is_that_of_numpys_percentiles(dtype):
    for seed in range(30):
        stored = np.random.default_rng(seed).integers(0, 4 + 8 * seed, (40 + seed, 61)).astype(dtype)
        tone = PROFILES["robust"].tone(RawImage(stored))
        low, high = np.percentile(stored.astype(np.float32), (0.5, 99.5))
        assert tone.low == np.float32(low)
        assert tone.span == np.float32(high - low)


def test_pieces_of_rows_do_not_change_the_image(monkeypatch):
    stored = np.random.default_rng(0).integers(0, 4096, (300, 200)).astype(np.uint16)
    whole = [profile.image(RawImage(stored), 32)[0] for profile in PROFILES.values()]
    for module in ("resampling", "tones"):
        monkeypatch.setattr(f"densecf.data.{module}.PIECE", 1000)
    _row_pieces.cache_clear()
    for profile, expected in zip(PROFILES.values(), whole, strict=True):
        np.testing.assert_array_equal(profile.image(RawImage(stored), 32)[0], expected)
