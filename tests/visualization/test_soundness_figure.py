import numpy as np
import pytest
from PIL import Image

from densecf.visualization.soundness_figure import Case, cases_figure, save_cases


def case(count, truth):
    images = np.random.default_rng(0).random((1 + 2 * count, 16, 16))
    truths = [image if truth else None for image in images[1 + count :]]
    return Case("patient $1_0$\nA, 1", images[0], images[1 : 1 + count], truths, ["scanner: B"] * count)


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def test_each_row_shows_image_counterfactuals_and_differences():
    shown = [case(2, truth=False) for _ in range(3)]
    figure = cases_figure(shown, ["scanner=other", "sex=other"])
    assert len(panels(figure)) == 3 * (1 + 2 * 2)
    drawn = [np.asarray(axes.images[0].get_array()) for axes in panels(figure)[:5]]
    expected = [shown[0].image, shown[0].counterfactuals[0], shown[0].counterfactuals[0] - shown[0].image]
    for found, wanted in zip(drawn, expected, strict=False):
        np.testing.assert_array_equal(found, wanted)


def test_the_truth_has_a_column_where_it_is_known():
    figure = cases_figure([case(1, truth=True), case(1, truth=False)], ["scanner=other"])
    assert len(panels(figure)) == (1 + 3) + (1 + 2)
    assert "truth" in {text.get_text() for text in figure.texts}


def test_the_picture_is_written_with_its_heading(tmp_path):
    path = save_cases(tmp_path / "made" / "cases.png", [case(1, truth=True)], ["a=other"], heading="hvae")
    assert Image.open(path).size[0] > 500


def test_cases_must_fit_the_interventions():
    with pytest.raises(ValueError, match="2 counterfactuals"):
        cases_figure([case(1, truth=False)], ["a=other", "b=other"])
    with pytest.raises(ValueError, match="expected cases"):
        cases_figure([], [])
