"""What all charts of a comparison share: colours and markers of the methods, panels, names beside lines and points."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from densecf.benchmark.protocols import TITLES
from densecf.visualization.ink import SOFT

WIDTH = 7.6  # inches; the letters stay legible when a phone shows 40 rem of it
SMALL, NORMAL = 8, 9  # points
LINE = 0.27  # inches a row of a forest plot
# Okabe and Ito's and Paul Tol's colours: told apart with any colour vision; markers help where lines meet.
COLOURS = {
    "None": "#7f7f7f",
    "SimCLR": "#e69f00",
    "CF-SimCLR": "#999933",
    "VADeR": "#56b4e9",
    "DVD-CL": "#0072b2",
    "MVD-CL": "#332288",
    "Silver masks": "#000000",
    "SSDCL": "#44aa99",
    "S-DVD-CL": "#117733",
    "S-MVD-CL": "#d55e00",
}
OTHERS = ("#cc79a7", "#882255", "#b8860b", "#6699cc", "#aa4499")
MARKERS = {
    "None": "x",
    "SimCLR": "v",
    "CF-SimCLR": "^",
    "VADeR": "o",
    "DVD-CL": "s",
    "MVD-CL": "D",
    "Silver masks": "*",
    "SSDCL": "p",
    "S-DVD-CL": "P",
    "S-MVD-CL": "h",
}
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Chart:
    """A drawing and what it shows."""

    figure: Figure
    data: pd.DataFrame


@dataclass(frozen=True)
class Style:
    """How a row is drawn wherever it appears."""

    colour: str
    marker: str
    dashes: str


def style_of(name: str, method: str = "") -> Style:
    """Rows of a method share its colour; those with a name of their own have dashed lines.

    Args:
        name: the row's name in tables.
        method: what is pretrained, where the name does not tell.
    """
    title = name if name in COLOURS else TITLES.get(method, method)
    if title not in COLOURS:
        place = sum(name.encode())  # the same for the same name, in whatever order rows come
        return Style(OTHERS[place % len(OTHERS)], "o", "-")
    dashes = "-" if name == title else DASHES[1 + sum(name.encode()) % (len(DASHES) - 1)]
    return Style(COLOURS[title], MARKERS[title], dashes)


def svg(figure: Figure) -> str:
    """A figure as SVG text: the same bytes each time, letters as shapes, so that no font is needed."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "densecf", "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def panels(count: int, *, across: int, height: float) -> tuple[Figure, list[Axes]]:
    """So many panels side by side and below each other."""
    across = min(across, count)
    down = math.ceil(count / across)
    figure = Figure(figsize=(WIDTH if across > 1 else 0.7 * WIDTH, down * height), layout="constrained")
    grid = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in grid[:count]:
        tidy(axes)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def tidy(axes: Axes) -> None:
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL, colors=SOFT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#9aa3ad")


def label_ends(axes: Axes, ends: Iterable[tuple[float, str, str]]) -> None:
    """Names beside the ends of lines, moved apart where they would cover each other."""
    ordered = sorted(ends)
    low, high = axes.get_ylim()
    wanted = [(value - low) / (high - low) for value, _, _ in ordered]
    for place, (_, name, colour) in zip(spread(wanted, 0.065), ordered, strict=True):
        axes.text(
            1.02, place, name, transform=axes.transAxes, va="center", fontsize=SMALL, color=colour, parse_math=False
        )


def label_points(axes: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str], looks: Sequence[Style]) -> None:
    """Names in a column at the right, each tied to its point by a thin line."""
    axes.margins(0.12)
    axes.autoscale_view()
    low, high = axes.get_ylim()
    order = np.argsort(y, kind="stable")
    places = spread([float((y[n] - low) / (high - low)) for n in order], 0.065)
    for n, place in zip(order, places, strict=True):
        axes.annotate(
            names[n],
            (float(x[n]), float(y[n])),
            xytext=(1.04, place),
            textcoords="axes fraction",
            va="center",
            fontsize=SMALL,
            color=looks[n].colour,
            parse_math=False,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": looks[n].colour, "linewidth": 0.5, "alpha": 0.6, "shrinkB": 4},
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places, moved as little as can be (least squares) until neighbours are at least ``gap`` apart."""
    steps = gap * np.arange(len(places))  # apart by gap means: ascending once these are taken away
    return list(isotonic_regression(np.asarray(places, dtype=float) - steps).x + steps)
