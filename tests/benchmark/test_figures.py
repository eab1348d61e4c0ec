"""Charts of a comparison: what they show is what the cells brought."""

import io
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from densecf.benchmark.protocols import TITLES
from densecf.benchmark.report.drawing import COLOURS, MARKERS, Style, spread, style_of, svg
from densecf.benchmark.report.figures import ablation_dots, against_paper, finetuning_curves, forest, pretraining_curves
from densecf.benchmark.results import rows_of
from densecf.benchmark.statistics import order_of
from tests.benchmark.builders import EPOCHS, make_results

RESULTS = make_results()
MAIN, ABLATION, VARIANTS = (rows_of(RESULTS, part) for part in ("main", "ablation", "variant"))


def texts(figure) -> list[str]:
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return [text for text in found if text]


def test_every_row_of_the_paper_has_a_colour_and_a_marker_of_its_own():
    assert set(COLOURS) == set(MARKERS) == set(TITLES.values())
    assert len(set(COLOURS.values())) == len(set(MARKERS.values())) == len(COLOURS)


def test_colours_can_be_seen_on_white():
    for name, colour in COLOURS.items():
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
        assert 1.05 / (luminance + 0.05) > 2, name  # WCAG contrast


def test_a_method_has_the_same_colour_whatever_its_row_is_called():
    plain, named = style_of("MVD-CL"), style_of("MVD-CL, crop only", "mvd-cl")
    assert (plain.colour, plain.marker) == (named.colour, named.marker)
    assert plain.dashes == "-"
    assert named.dashes != "-"
    assert style_of("SimCLR", "cf-simclr").colour == COLOURS["SimCLR"]  # the authors' SimCLR sees counterfactuals
    assert style_of("a row of its own", "dino") == style_of("a row of its own", "dino")
    assert isinstance(style_of("", ""), Style)


def test_svg_is_the_same_each_time_and_needs_nothing():
    drawn = [svg(finetuning_curves(MAIN[:2], "None").figure) for _ in range(2)]
    assert drawn[0] == drawn[1]
    root = ElementTree.parse(io.StringIO(drawn[0])).getroot()
    assert root.tag.endswith("svg")
    links = [value for node in root.iter() for key, value in node.attrib.items() if key.endswith("href")]
    assert all(link.startswith("#") for link in links)
    assert "<image" not in drawn[0]
    assert "<script" not in drawn[0]


def test_pretraining_curves_are_those_of_the_logs():
    chart = pretraining_curves(MAIN)
    row = next(row for row in MAIN if row.name == "VADeR")
    log = row.cells[0].training
    mine = chart.data[(chart.data["row"] == "VADeR") & (chart.data["seed"] == row.seeds[0])]
    loss = mine[mine["quantity"] == "loss"]
    np.testing.assert_allclose(loss["value"], log["loss"] - log["chance"])
    assert list(loss["step"]) == list(log["step"])
    assert loss["share"].iloc[-1] == 100
    purity = mine[mine["quantity"] == "purity"]
    assert list(purity["step"]) == list(log["step"][log["purity"].notna()])
    assert "None" not in set(chart.data["row"])
    assert {"VADeR", "S-MVD-CL"} <= set(texts(chart.figure))


def test_pretraining_without_a_chance_level_is_not_compared_with_it():
    (first,) = MAIN[1].cells[:1]
    bare = replace(MAIN[1], cells=(replace(first, training=first.training.drop(columns="chance")),))
    assert set(pretraining_curves([bare]).data["quantity"]) == {"purity"}


def test_finetuning_curves_are_means_over_the_folds_of_all_seeds():
    chart = finetuning_curves([*MAIN, *VARIANTS], "None")
    row = next(row for row in MAIN if row.name == "S-MVD-CL")
    mine = chart.data[chart.data["row"] == "S-MVD-CL"].set_index("epoch")
    assert tuple(mine.index) == EPOCHS
    for epoch in EPOCHS:
        folds = row.curves.query("subset == 'all' and epoch == @epoch")["dsc"].to_numpy()
        assert mine.loc[epoch, "folds"] == len(folds) == 10
        assert mine.loc[epoch, "mean"] == pytest.approx(folds.mean())
        assert mine.loc[epoch, "std"] == pytest.approx(np.sqrt(((folds - folds.mean()) ** 2).mean()))


def test_ablation_dots_are_the_summaries():
    chart = ablation_dots(ABLATION)
    assert len(chart.data) == len(ABLATION)
    for row in ABLATION:
        found = chart.data[(chart.data["row"] == row.name) & (chart.data["views"] == row.views)]
        assert found["mean"].item() == pytest.approx(row.summary("last")["dsc"]["mean"])
    assert {row.views for row in ABLATION if row.views} <= set(texts(chart.figure))


def test_forest_names_every_line_and_draws_its_interval():
    table = pd.DataFrame(
        {
            "label": ["S", "C", "S", "nothing"],
            "group": ["DVD-CL", "DVD-CL", "MVD-CL", "MVD-CL"],
            "difference": [0.5, -1.0, 2.0, np.nan],
            "low": [0.1, -2.0, np.nan, 0],
            "high": [1.0, 0.5, np.nan, 0],
        }
    )
    chart = forest(table, across="effect")
    assert len(chart.data) == 3
    (axes,) = chart.figure.axes
    intervals = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2][1:]  # first: zero
    assert intervals == [(0.1, 1.0), (-2.0, 0.5)]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["DVD-CL", "S", "C", "MVD-CL", "S"]
    assert {"+0.50", "-1.00", "+2.00"} <= set(texts(chart.figure))


def test_ranks_against_the_paper():
    order = order_of(MAIN, {"None": 87.0, "VADeR": 93.0, "S-MVD-CL": 92.0, "unknown": 1.0})
    chart = against_paper(order)
    data = chart.data.set_index("row")
    assert list(data.index) == ["None", "VADeR", "S-MVD-CL"]
    assert list(data["rank_ours"]) == [3, 2, 1]
    assert list(data["rank_paper"]) == [3, 1, 2]
    assert list(data["paper"]) == [87, 93, 92]
    assert data["ours"]["VADeR"] == pytest.approx(order.dsc["VADeR"])
    assert {"VADeR  1", "2  VADeR", "S-MVD-CL  2"} <= set(texts(chart.figure))


def test_nothing_to_draw_is_no_chart():
    assert pretraining_curves(MAIN[:1]) is None  # no pretraining
    assert finetuning_curves([], "None") is None
    assert ablation_dots([]) is None
    assert forest(pd.DataFrame({"label": [], "difference": [], "low": [], "high": []}), across="") is None
    assert against_paper(order_of(MAIN, {"None": 87.0})) is None


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=12).map(sorted), st.floats(0.01, 0.3))
def test_spread_labels_keep_their_order_and_do_not_touch(places, gap):
    found = spread(places, gap)
    assert len(found) == len(places)
    assert all(after - before >= gap - 1e-9 for before, after in pairwise(found))
    assert np.mean(found) == pytest.approx(np.mean(places), abs=1e-9)  # none is pushed further than the others
    if all(after - before > gap for before, after in pairwise(places)):
        np.testing.assert_allclose(found, places, atol=1e-9)
