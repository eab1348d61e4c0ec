"""AUC against the share of labels: one panel a domain, a line a method with its band (papers' figures 3 to 6)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from densecf.files import atomic_path
from densecf.visualization.ink import INK, SOFT

WIDTH, HEIGHT, COLUMNS = 3.1, 2.7, 5  # inches a panel; panels side by side
DOTS_PER_INCH = 150
# Okabe and Ito's colours, told apart by all kinds of colour vision, and a marker for each.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
MARKERS = "osD^vPX*"


def save_curves(path: Path | str, curves: pd.DataFrame, *, title: str = "") -> Path:
    """Write one PNG; see `curves_figure`.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    figure = curves_figure(curves, title=title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png", facecolor="white")
    return Path(path)


def curves_figure(curves: pd.DataFrame, *, title: str = "") -> Figure:
    """Panels in the order of the table, all with the same AUC axis; every dataset begins a row.

    Args:
        curves: columns dataset, panel, run, fraction, auc, se (NaN: no band), n.
        title: one line above all.

    Raises:
        ValueError: nothing to draw.
    """
    rows = [list(dict.fromkeys(part["panel"])) for _, part in curves.groupby("dataset", sort=False)]
    rows = [row[first : first + COLUMNS] for row in rows for first in range(0, len(row), COLUMNS)]
    methods = list(dict.fromkeys(curves["run"]))
    if not rows:
        raise ValueError("expected at least one panel")
    across, down = max(map(len, rows)), len(rows)
    foot = 0.3 + 0.2 * math.ceil(len(methods) / (2 * across))
    size = (max(4.2, across * WIDTH), down * HEIGHT + foot + 0.25)
    figure = Figure(figsize=size)
    grid = figure.subplots(down, across, squeeze=False)
    places = [(axes, name) for line, row in zip(grid, rows, strict=True) for axes, name in zip(line, row, strict=False)]
    ticks = sorted(curves["fraction"].unique())
    # One scale for all panels: they are there to be compared.
    error = curves["se"].fillna(0)
    low, high = (curves["auc"] - error).min(), (curves["auc"] + error).max()
    for axes, name in places:
        part = curves[curves["panel"] == name]
        for number, method in enumerate(methods):
            line = part[part["run"] == method].sort_values("fraction")
            x, y, spread = (line[key].to_numpy(dtype=float) for key in ("fraction", "auc", "se"))
            style = {"color": COLOURS[number % len(COLOURS)], "label": method}
            axes.plot(x, y, marker=MARKERS[number % len(MARKERS)], markersize=4, linewidth=1.5, **style)
            band = np.nan_to_num(spread)
            axes.fill_between(x, y - band, y + band, color=style["color"], alpha=0.2, linewidth=0)
        axes.set_xscale("log")
        axes.set_xlim(ticks[0] / 1.25, ticks[-1] * 1.25)
        if np.isfinite(low):
            axes.set_ylim(low - 0.02, high + 0.02)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{100 * tick:g} %" for tick in ticks])
        axes.set_title(f"{name} (n = {part['n'].iloc[0]:,})", fontsize=9, color=INK, parse_math=False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.tick_params(labelsize=8, colors=SOFT)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for line, row in zip(grid, rows, strict=True):
        for axes in line[len(row) :]:
            axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("ROC-AUC", fontsize=8, color=SOFT)
    figure.text(0.01, 1 - 0.08 / size[1], title, fontsize=10, weight="bold", color=INK, va="top", parse_math=False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower left", ncols=2 * across, fontsize=8, frameon=False,
                  bbox_to_anchor=(0.01, 0.16 / size[1]))  # fmt: skip
    explained = "x: share of the training labels; band: standard error over seeds"
    figure.text(0.01, 0.06 / size[1], explained, fontsize=7, color=SOFT, va="bottom")
    figure.tight_layout(rect=(0, foot / size[1], 1, 1 - 0.25 / size[1]))
    return figure
