import numpy as np
import pytest

from densecf.visualization.alignment import closest_turn
from densecf.visualization.chromap import MapEntry, make_chromaps
from densecf.visualization.chromap_grid import aligned_chromaps, chromap_grid


def entries(turn=None, noise=0.05, seed=0, collapsed=False):
    """Two images whose pixels lie in one of three clusters, under a network that may turn its features."""
    made = []
    for number in range(2):
        rng = np.random.default_rng([seed, number])
        classes = np.zeros((16, 16), int)
        classes[2:-2, 2:8] = 1
        classes[2:-2, 8 + number : -2] = 2
        features = np.diag([1.0, 2.0, 4.0, 1.0])[classes] + noise * rng.standard_normal((16, 16, 4))
        if collapsed:
            features = np.ones((16, 16, 4))
        if turn is not None:
            features = features @ turn
        image = np.linspace(0, 1, 256).reshape(16, 16)
        made.append(MapEntry(f"image{number}", image, features.transpose(2, 0, 1).astype(np.float32)))
    return made


@pytest.fixture(scope="module")
def aligned():
    networks = {
        "other": entries(seed=5, noise=0.3),
        "flat": entries(collapsed=True),
        "same": entries(),
        "last": entries(),
    }
    loaded = []

    def load(name):
        loaded.append(name)
        return networks[name]

    with pytest.warns(UserWarning, match="collapsed"):
        found = aligned_chromaps(list(networks), load, num_fit=200)
    assert sorted(loaded) == sorted(networks)
    assert list(found) == list(networks)
    return found


def test_identical_embeddings_get_identical_colours(aligned):
    assert aligned["last"].is_reference
    assert aligned["last"].distance == 0
    assert aligned["same"].distance == pytest.approx(0, abs=1e-6)
    for one, other in zip(aligned["same"].maps.colours, aligned["last"].maps.colours, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_a_turn_is_all_that_alignment_does(aligned):
    alone = make_chromaps(entries(seed=5, noise=0.3), num_fit=200)
    for before, after in zip(alone.discs, aligned["other"].maps.discs, strict=True):
        np.testing.assert_allclose(np.linalg.norm(after, axis=2), np.linalg.norm(before, axis=2), atol=1e-5)
    reference, turned = (aligned[name].maps.space.discs for name in ("last", "other"))
    assert np.abs(closest_turn(alone.space.discs, reference) - np.eye(2)).max() > 0.01
    np.testing.assert_allclose(closest_turn(turned, reference), np.eye(2), atol=1e-5)  # nothing is left to turn
    after = np.linalg.norm(turned - reference, axis=1)
    assert aligned["other"].distance == pytest.approx(after.mean(), abs=1e-6)
    assert aligned["other"].distance < aligned["other"].chance


def test_a_collapsed_network_is_no_reference(aligned):
    assert not aligned["flat"].is_reference
    assert aligned["flat"].distance == pytest.approx(aligned["flat"].chance)
    with pytest.warns(UserWarning, match="collapsed"):
        found = aligned_chromaps(["last", "flat"], lambda name: entries(collapsed=name == "flat"), num_fit=100)
    assert found["last"].is_reference


def test_the_picture_has_a_panel_for_each_image_and_network(aligned):
    figure = chromap_grid(aligned, ["first", "second"])
    titles = [text.get_text() for text in figure.texts]
    assert {"image", "other", "flat", "same", "last", "first", "second"} <= set(titles)
    assert len(figure.axes) == 3 * 5
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert any(np.array_equal(picture, aligned["other"].maps.overlays[1]) for picture in shown)
    assert any("reference" in text.get_text() for axes in figure.axes for text in axes.texts)
