"""AUC against labels, and embeddings on the plane: what the pictures hold."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from densecf.visualization.domain_figure import Panel, domains_figure, save_domains
from densecf.visualization.label_efficiency_figure import curves_figure, save_curves


def curves(panels=("d", "d: scanner=A"), runs=("one", "two")) -> pd.DataFrame:
    rows = [
        {
            "dataset": panel.split(":")[0],
            "panel": panel,
            "run": run,
            "fraction": fraction,
            "auc": 0.7 + place / 10 + fraction / 10,
            "se": 0.02,
            "n": 50,
        }
        for panel in panels
        for place, run in enumerate(runs)
        for fraction in (0.05, 0.25, 1.0)
    ]
    return pd.DataFrame(rows)


def test_a_panel_a_domain_and_a_line_a_method_with_its_band():
    figure = curves_figure(curves(), title="$label$")
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == ["d (n = 50)", "d: scanner=A (n = 50)"]
    for axes in panels:
        assert axes.get_xscale() == "log"
        assert [text.get_text() for text in axes.get_xticklabels()] == ["5 %", "25 %", "100 %"]
        assert [line.get_label() for line in axes.lines] == ["one", "two"]
        np.testing.assert_allclose(axes.lines[1].get_ydata(), [0.805, 0.825, 0.9])
        band = axes.collections[0].get_paths()[0].vertices
        assert band[:, 1].min() == pytest.approx(0.685)
        assert band[:, 1].max() == pytest.approx(0.82)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]


def test_every_dataset_begins_a_row():
    figure = curves_figure(curves(panels=("d", "d: A", "d: B", "other", "other: A")))
    rows = {}
    for axes in figure.axes:
        if axes.axison:
            rows.setdefault(axes.get_subplotspec().rowspan.start, []).append(axes.get_title().split(" (")[0])
    assert rows == {0: ["d", "d: A", "d: B"], 1: ["other", "other: A"]}


def test_one_seed_has_no_band_and_one_fraction_is_a_point(tmp_path):
    table = curves(panels=("d",), runs=("one",)).assign(se=np.nan)
    figure = curves_figure(table[table["fraction"] == 1])
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1.0]
    path = save_curves(tmp_path / "a.png", table)
    assert min(Image.open(path).size) > 300
    with pytest.raises(ValueError, match="one panel"):
        curves_figure(table.iloc[:0])


def test_points_are_coloured_by_domain(tmp_path):
    rng = np.random.default_rng(0)
    domains = np.array(["A", "B", "C"], dtype=object)[rng.integers(0, 3, 90)]
    panels = [Panel(f"run {k}", "note", rng.normal(size=(90, 2))) for k in range(5)]
    figure = domains_figure(panels, domains, title="title")
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == 5
    points, colours = shown[1].collections[0].get_offsets(), shown[1].collections[0].get_facecolors()
    place = {tuple(np.round(point, 6)): tuple(colour) for point, colour in zip(points, colours, strict=True)}
    for domain in "ABC":
        mine = {place[tuple(np.round(point, 6))] for point in panels[1].points[domains == domain]}
        assert len(mine) == 1
    assert len(set(place.values())) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B", "C"]
    assert min(Image.open(save_domains(tmp_path / "d.png", panels[:1], domains)).size) > 300
