import numpy as np
import pytest
from PIL import Image

from densecf.errors import ConfigError, DataError, DensecfError
from densecf.visualization.chromap import MapEntry, balanced_sample, make_chromaps, save_overlays, to_image_grid
from densecf.visualization.chromap_figure import save_figure
from densecf.visualization.colour_space import ColourSpace, disc_colours


def entry(title="a", size=(24, 20), image=None, seed=0, **options):
    """Left and right half and a border, each with its own embedding, plus a little noise."""
    rng = np.random.default_rng(seed)
    classes = np.zeros(size, int)
    classes[3:-3, 3 : size[1] // 2] = 1
    classes[3:-3, size[1] // 2 : -3] = 2
    centres = np.eye(3, 8) * 5
    features = (centres[classes] + 0.3 * rng.standard_normal((*size, 8))).transpose(2, 0, 1).astype(np.float32)
    shape = size if image is None else image
    return MapEntry(title, rng.uniform(0, 1, shape).astype(np.float32), features, **options), classes


@pytest.fixture(scope="module")
def space():
    maps = make_chromaps([entry()[0]], num_fit=300)
    return maps.space


def test_halves_get_different_colours_at_the_image_resolution(space):
    made, classes = entry(image=(96, 80))
    maps = make_chromaps([made], space=space)
    assert maps.overlays[0].shape == (96, 80, 3)
    assert maps.discs[0].shape == (24, 20, 2)
    full = np.kron(classes, np.ones((4, 4), int))
    means = [maps.colours[0][full == label].mean(axis=0) for label in range(3)]
    assert min(np.abs(means[a] - means[b]).max() for a, b in [(0, 1), (0, 2), (1, 2)]) > 50


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_overlay_is_the_blend(space, alpha):
    made, _ = entry()
    maps = make_chromaps([made], space=space, alpha=alpha)
    grey = np.rint(made.image * 255)[..., None]
    np.testing.assert_allclose(maps.overlays[0], (1 - alpha) * grey + alpha * maps.colours[0], atol=0.51)
    np.testing.assert_array_equal(maps.colours[0], disc_colours(maps.discs[0]))


def test_padding_is_neither_fitted_nor_coloured():
    made, _ = entry()
    features, valid = made.features.copy(), np.ones((24, 20), bool)
    valid[:, :5] = False
    features[:, :, :5] = np.nan  # would be an error if it were looked at
    padded = MapEntry("a", made.image, features, valid=valid)
    maps = make_chromaps([padded], num_fit=200)
    assert np.isnan(maps.discs[0][:, :5]).all()
    assert np.isfinite(maps.discs[0][:, 5:]).all()
    np.testing.assert_array_equal(maps.coloured[0], valid)
    np.testing.assert_array_equal(maps.overlays[0][:, :5], np.rint(made.image[:, :5, None] * 255).repeat(3, axis=2))


def test_entries_share_one_space_and_equal_embeddings_get_equal_colours():
    made, _ = entry()
    twin = MapEntry("twin", made.image, made.features)
    other, _ = entry("other", seed=5)
    maps = make_chromaps([made, twin, other], num_fit=301)
    np.testing.assert_array_equal(maps.colours[0], maps.colours[1])
    assert len(maps.space.landmarks) == 301
    again = make_chromaps([other], space=maps.space)
    np.testing.assert_array_equal(again.colours[0], maps.colours[2])


def test_balanced_sample_takes_the_same_from_each_and_fills_up_from_the_larger():
    arrays = [np.full((500, 1), 0.0), np.full((7, 1), 1.0), np.arange(1000.0)[:, None] + 2]
    sample = balanced_sample(arrays, 100, seed=0)[:, 0]
    assert len(sample) == 100
    assert (sample == 1).sum() == 7
    assert abs(int((sample == 0).sum()) - int((sample >= 2).sum())) <= 1
    assert len(np.unique(sample[sample >= 2])) == (sample >= 2).sum()
    assert len(balanced_sample(arrays, 10_000, seed=0)) == 1507


@pytest.mark.parametrize(("size", "shape"), [((5, 7), (20, 28)), ((6, 6), (9, 15)), ((8, 8), (8, 8)), ((9, 8), (3, 4))])
def test_grid_covers_the_image_edge_to_edge(size, shape):
    rows, columns = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in size), indexing="ij")
    disc, coloured = to_image_grid(np.stack([rows, columns], axis=-1) / 100, shape)
    disc = disc * 100
    assert coloured.all()
    for axis in range(2):
        line = (np.arange(shape[axis]) + 0.5) * size[axis] / shape[axis] - 0.5
        expected = np.clip(line, 0, size[axis] - 1)
        np.testing.assert_allclose(
            disc[..., axis], np.broadcast_to(expected[:, None] if axis == 0 else expected, shape), atol=1e-4
        )


def test_an_affine_places_the_grid_and_leaves_the_rest_uncoloured():
    rows, columns = np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij")
    affine = np.array([[2.0, 0, 3.0], [0, 2.0, -4.0], [0, 0, 1]])
    disc, coloured = to_image_grid(np.stack([rows, columns], axis=-1), (20, 10), affine)
    at_row, at_column = 7, 2  # grid (2, 3)
    np.testing.assert_allclose(disc[at_row, at_column], [2, 3], atol=1e-5)
    expected = np.zeros((20, 10), bool)
    expected[2:15, 0:8] = True  # grid rows -0.5..5.5 are image rows 2..14, columns -0.5..5.5 are -5..7
    np.testing.assert_array_equal(coloured, expected)
    assert (disc[~coloured] == 0).all()


def test_nothing_is_placed_between_two_islands():
    grid = np.zeros((4, 4, 2), np.float32)
    grid[:, :2, 0], grid[:, 2:, 0] = -0.8, 0.8
    disc, _ = to_image_grid(grid, (16, 16))
    np.testing.assert_allclose(
        disc[..., 0], np.broadcast_to(np.where(np.arange(16) < 8, -0.8, 0.8), (16, 16)), atol=1e-5
    )


def test_invalid_neighbours_do_not_bleed_into_valid_pixels():
    grid = np.full((4, 4, 2), 0.5, np.float32)
    grid[:, 2:] = np.nan
    disc, coloured = to_image_grid(grid, (16, 16))
    np.testing.assert_array_equal(coloured[0], np.arange(16) < 8)
    np.testing.assert_allclose(disc[coloured], 0.5, atol=1e-5)


def test_files(space, tmp_path):
    maps = make_chromaps([entry("one", image=(50, 40))[0], entry("two")[0]], space=space, mode="saturation")
    picture = save_figure(maps, tmp_path / "new" / "map.png", heading="a run")
    written = save_overlays(maps, picture)
    assert [path.name for path in written] == ["map_1_overlay.png", "map_2_overlay.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(written[0])), maps.overlays[0])
    assert min(Image.open(picture).size) > 300
    single = make_chromaps([entry("one")[0]], space=space)
    assert save_overlays(single, tmp_path / "x.png") == [tmp_path / "x_overlay.png"]
    assert sorted(path.name for path in picture.parent.iterdir()) == [
        "map.png",
        "map_1_overlay.png",
        "map_2_overlay.png",
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("shape", [(24, 20), (30, 90), (90, 30)])
def test_any_number_and_shape_of_entries_makes_a_picture(space, tmp_path, count, shape):
    entries = [entry(f"record {index} " + "very long name " * index, image=shape)[0] for index in range(count)]
    save_figure(make_chromaps(entries, space=space), tmp_path / "map.png")
    assert Image.open(tmp_path / "map.png").size[0] < 6000


def test_a_place_that_cannot_be_written_is_named(space, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DensecfError, match="file"):
        save_figure(make_chromaps([entry()[0]], space=space), tmp_path / "file" / "map.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((3, 4, 4))}, "grey image"),
        ({"image": np.full((4, 4), 255.0)}, r"\[0, 1\]"),
        ({"image": np.full((4, 4), np.nan)}, r"\[0, 1\]"),
        ({"features": np.zeros((8, 9))}, r"\(D, h, w\)"),
        ({"valid": np.ones((3, 3), bool)}, "valid has the shape"),
        ({"valid": np.zeros((24, 20), bool)}, "no pixel"),
        ({"affine": np.eye(4)}, r"\(3, 3\)"),
        ({"features": np.full((8, 24, 20), np.nan)}, "NaN"),
    ],
)
def test_entries_that_do_not_fit_are_errors(change, message):
    made, _ = entry("name")
    fields = {"title": "name", "image": made.image, "features": made.features} | change
    with pytest.raises(DataError, match=message):
        make_chromaps([MapEntry(**fields)])


def test_options_that_do_not_fit_are_errors():
    with pytest.raises(DataError, match="at least one"):
        make_chromaps([])
    with pytest.raises(ConfigError, match="unknown colour mode"):
        make_chromaps([entry()[0]], mode="hue")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="alpha"):
        make_chromaps([entry()[0]], alpha=2)
    other = MapEntry("b", np.zeros((4, 4)), np.zeros((3, 4, 4), np.float32))
    with pytest.raises(DataError, match="same network"):
        make_chromaps([entry()[0], other])


def test_a_space_of_another_network_is_an_error():
    features = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    with pytest.raises(DataError, match="another network"):
        make_chromaps([entry()[0]], space=ColourSpace.fit(features, num_epochs=10))
