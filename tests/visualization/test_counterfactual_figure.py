"""The picture of counterfactuals: right panels, one scale for all differences."""

import numpy as np
import pytest
from PIL import Image

from densecf.visualization.counterfactual_figure import Case, counterfactual_figure, difference_scale, save_figure

IMAGE = np.random.default_rng(0).random((32, 32)).astype(np.float32) * 0.5


def shown(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def test_each_panel_shows_what_its_place_says():
    cases = [Case("do(a=1)", "0 → 1", IMAGE + 0.2, IMAGE + 0.3), Case("do(b=1)", "", IMAGE - 0.1)]
    panels = shown(counterfactual_figure(IMAGE, cases, heading="x$y$"))
    expected = [IMAGE, cases[0].image, cases[0].image - IMAGE, cases[0].truth, cases[1].image, cases[1].image - IMAGE]
    assert len(panels) == 6
    for panel, wanted in zip(panels, expected, strict=True):
        np.testing.assert_array_equal(panel, wanted)


def test_all_differences_have_one_scale():
    cases = [Case("a", "", IMAGE + 0.2), Case("b", "", IMAGE - 0.4)]
    figure = counterfactual_figure(IMAGE, cases)
    limits = {axes.images[0].get_clim() for axes in figure.axes if axes.images and axes.images[0].cmap.name == "RdBu_r"}
    assert len(limits) == 1
    assert limits.pop() == pytest.approx((-0.4, 0.4))


def test_noise_is_not_blown_up():
    assert difference_scale(IMAGE, [IMAGE + 0.001]) == 0.05
    spot = IMAGE.copy()
    spot[0, 0] += 1  # a single pixel does not wash the rest out
    assert difference_scale(IMAGE, [spot]) == 0.05
    assert difference_scale(IMAGE, []) == 0.05


def test_long_names_do_not_widen_the_picture(tmp_path):
    short = save_figure(tmp_path / "a.png", IMAGE, [Case("do(a=1)", "", IMAGE)], heading="a")
    long = save_figure(tmp_path / "b.png", IMAGE, [Case("d" * 300, "n" * 300, IMAGE)], heading="h" * 300)
    assert Image.open(short).size == Image.open(long).size
