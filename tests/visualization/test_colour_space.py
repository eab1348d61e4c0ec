import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from densecf.errors import CheckpointError, ConfigError, DataError
from densecf.visualization.colour_space import ColourSpace, disc_colours


def blobs(count=400, dimension=16, seed=0, distance=8.0):
    """Three well separated Gaussian blobs (3 * count, dimension) and their labels."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0][:3] * distance
    labels = np.repeat(np.arange(3), count)
    return (centres[labels] + rng.standard_normal((3 * count, dimension))).astype(np.float32), labels


@pytest.fixture(scope="module")
def space():
    return ColourSpace.fit(blobs()[0], num_fit=600, num_epochs=100, origin="a network")


def test_landmarks_fill_the_unit_disc(space):
    radii = np.linalg.norm(space.discs, axis=1)
    assert space.discs.shape == (600, 2)
    assert radii.max() == pytest.approx(1, abs=1e-5)
    assert (radii > 1 - 1e-3).sum() >= 3


def test_separated_classes_get_separated_places_and_colours(space):
    features, labels = blobs(seed=0)
    discs = space.place(features)
    centres = np.stack([discs[labels == label].mean(axis=0) for label in range(3)])
    nearest_centre = np.linalg.norm(discs[:, None] - centres[None], axis=2).argmin(axis=1)
    assert (nearest_centre == labels).mean() > 0.99
    colours = np.stack([np.median(disc_colours(discs[labels == label]), axis=0) for label in range(3)])
    assert min(np.abs(colours[a] - colours[b]).max() for a, b in [(0, 1), (0, 2), (1, 2)]) > 60


def test_a_landmark_is_placed_where_it_was_fitted(space):
    original = space.landmarks * space.scale + space.mean
    np.testing.assert_allclose(space.place(original), space.discs, atol=2e-3)


def test_only_the_direction_of_an_embedding_counts_unless_asked_for(space):
    features, _ = blobs(count=50)
    lengths = np.random.default_rng(1).uniform(0.5, 3, (150, 1)).astype(np.float32)
    np.testing.assert_allclose(space.place(features * lengths), space.place(features), atol=1e-3)
    plain = ColourSpace.fit(features, num_epochs=20, normalise=False)
    assert np.abs(plain.place(features * lengths) - plain.place(features)).max() > 0.1


def test_a_pixel_between_two_islands_joins_the_nearer():
    landmarks = np.array([[0, 0], [0, 1], [10, 0], [10, 1]], np.float32)
    discs = np.array([[-0.9, 0], [-0.8, 0], [0.9, 0], [0.8, 0]], np.float32)
    space = ColourSpace(np.zeros(2, np.float32), np.ones(2, np.float32), landmarks, discs, {})
    places = space.place(np.array([[4.9, 0.5], [5.1, 0.5]]))
    np.testing.assert_allclose(places, [[-0.85, 0], [0.85, 0]], atol=1e-3)


def test_places_stay_in_the_disc_however_far_the_embedding(space):
    far = np.random.default_rng(0).standard_normal((100, 16)).astype(np.float32) * 1e4
    assert np.linalg.norm(space.place(far), axis=1).max() <= 1 + 1e-5


def test_same_seed_same_space_and_other_seed_another():
    features, _ = blobs(count=60)
    first, second, other = (ColourSpace.fit(features, num_fit=100, num_epochs=30, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.discs, second.discs)
    np.testing.assert_array_equal(first.landmarks, second.landmarks)
    assert not np.array_equal(first.landmarks, other.landmarks)


def test_another_seed_keeps_the_colours():
    """Not exactly, but by far closer than chance (about 0.9); UMAP's spectral start gives no such thing."""
    features, labels = blobs(count=300, distance=4.0)
    features += np.eye(16, dtype=np.float32)[0] * (labels == 0)[:, None] * 3  # a skewed cloud: its signs are defined
    first, second = (ColourSpace.fit(features, num_fit=500, seed=seed).place(features) for seed in (0, 1))
    assert np.linalg.norm(first - second, axis=1).mean() < 0.35


def test_one_feature_and_equal_pixels_do_not_break_the_start():
    line = np.linspace(0, 1, 60, dtype=np.float32)[:, None]
    for features in (line, np.repeat(blobs(count=10)[0], 4, axis=0)):
        space = ColourSpace.fit(features, num_epochs=20, normalise=False)
        assert np.isfinite(space.discs).all()


def test_saved_space_places_alike_without_umap_torch_or_sklearn(space, tmp_path):
    features, _ = blobs(seed=1)
    path = tmp_path / "sub" / "space.safetensors"
    space.save(path)
    np.save(tmp_path / "features.npy", features)
    code = f"""
import sys, numpy as np
from densecf.visualization.colour_space import ColourSpace
space = ColourSpace.load({str(path)!r})
np.save({str(tmp_path / "discs.npy")!r}, space.place(np.load({str(tmp_path / "features.npy")!r})))
heavy = {{"umap", "numba", "torch", "sklearn", "monai", "pytorch_lightning", "matplotlib.pyplot"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "discs.npy"), space.place(features), atol=1e-6)
    loaded = ColourSpace.load(path)
    assert loaded.settings == space.settings
    assert loaded.settings["origin"] == "a network"
    assert [item.name for item in path.parent.iterdir()] == ["space.safetensors"]


@pytest.mark.parametrize("mirror", [1, -1])
def test_a_turned_space_places_turned_and_can_be_saved(space, tmp_path, mirror):
    features, _ = blobs(seed=2, count=100)
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]]) @ np.diag([1, mirror])
    turned = space.turned(turn)
    np.testing.assert_allclose(turned.place(features), space.place(features) @ turn, atol=1e-5)
    turned.save(tmp_path / "turned.safetensors")
    np.testing.assert_array_equal(ColourSpace.load(tmp_path / "turned.safetensors").discs, turned.discs)
    with pytest.raises(ValueError, match="orthogonal"):
        space.turned(2 * turn)


def test_collapsed_embeddings_warn_and_get_one_colour():
    features = np.full((50, 8), 0.3, np.float32)
    with pytest.warns(UserWarning, match="collapsed"):
        space = ColourSpace.fit(features)
    np.testing.assert_array_equal(space.place(features), 0)


def test_a_feature_that_never_varies_is_ignored(tmp_path):
    features, _ = blobs(count=40)
    features[:, 5] = 7.0
    space = ColourSpace.fit(features, num_epochs=20, normalise=False)
    before = space.place(features)
    features[:, 5] = 8.0
    np.testing.assert_array_equal(space.place(features), before)
    space.save(tmp_path / "space.safetensors")
    np.testing.assert_array_equal(ColourSpace.load(tmp_path / "space.safetensors").place(features), before)


@pytest.mark.parametrize("count", [16, 17, 30])
def test_few_pixels(count):
    features = np.random.default_rng(0).standard_normal((count, 5)).astype(np.float32)
    space = ColourSpace.fit(features, num_epochs=20)
    assert np.isfinite(space.place(features)).all()


def test_bad_features_are_errors(space):
    with pytest.raises(DataError, match="1 of 20"):
        ColourSpace.fit(np.array([[np.nan, 0.0]] + [[1.0, 2.0]] * 19))
    with pytest.raises(DataError, match="at least 16"):
        ColourSpace.fit(np.zeros((15, 4)))
    with pytest.raises(DataError, match=r"\(5,\)"):
        ColourSpace.fit(np.zeros(5))
    with pytest.raises(ConfigError, match="num_fit"):
        ColourSpace.fit(np.zeros((90, 4)), num_fit=2)
    with pytest.raises(DataError, match="fitted on 16 features a pixel, got 4"):
        space.place(np.zeros((2, 4)))


def header_of(path, **changes):
    arrays = {name: np.zeros((4, 2), np.float32) for name in ("landmarks", "discs")}
    arrays |= {name: np.zeros(2, np.float32) for name in ("mean", "scale")}
    arrays |= {name: changes.pop(name) for name in list(changes) if name in arrays}
    header = {"format": "densecf.colour_space", "version": "1", "settings": json.dumps({})} | changes
    save_file(arrays, path, metadata=header)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "else"}, "not a colour space"),
        ({"version": "99"}, "version 99"),
        ({"settings": "{"}, "damaged"),
        ({"settings": "[]"}, "damaged"),
        ({"discs": np.zeros((3, 2), np.float32)}, "do not fit"),
        ({"mean": np.zeros(7, np.float32)}, "do not fit"),
    ],
)
def test_foreign_and_damaged_files_are_named(tmp_path, changes, message):
    path = tmp_path / "space.safetensors"
    header_of(path, **changes)
    with pytest.raises(CheckpointError, match=f"space.safetensors.*{message}"):
        ColourSpace.load(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04pickle", b"\xff" * 64])
def test_files_that_are_no_safetensors(tmp_path, content):
    path = tmp_path / "space.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"space\.safetensors"):
        ColourSpace.load(path)
    with pytest.raises(CheckpointError, match="no such"):
        ColourSpace.load(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match="no such"):
        ColourSpace.load(tmp_path)


def test_colours_of_known_places():
    places = np.array([[1, 0], [-0.5, np.sqrt(0.75)], [-0.5, -np.sqrt(0.75)], [0, 0], [0.5, 0], [2, 0]])
    red, green, blue = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    assert disc_colours(places).tolist() == [red, green, blue, [0, 0, 0], [128, 0, 0], red]
    white, pink = [255, 255, 255], [255, 128, 128]
    assert disc_colours(places, "saturation").tolist() == [red, green, blue, white, pink, red]
    with pytest.raises(ConfigError, match="choose from value, saturation"):
        disc_colours(places, "hue")  # type: ignore[arg-type]
