"""Embeddings on the plane, coloured by domain: one panel a run (papers' figure 7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from densecf.files import atomic_path
from densecf.visualization.ink import INK, SOFT
from densecf.visualization.label_efficiency_figure import COLOURS, DOTS_PER_INCH

PANEL, ACROSS = 3.2, 4  # inches a side; panels side by side


@dataclass(frozen=True)
class Panel:
    """One run.

    Attributes:
        name: what it is called.
        note: a line under the name.
        points: (n, 2).
    """

    name: str
    note: str
    points: np.ndarray


def save_domains(path: Path | str, panels: list[Panel], domains: np.ndarray, *, title: str = "") -> Path:
    """Write one PNG; see `domains_figure`.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    figure = domains_figure(panels, domains, title=title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png", facecolor="white")
    return Path(path)


def domains_figure(panels: list[Panel], domains: np.ndarray, *, title: str = "") -> Figure:
    """Points of all domains in one order, so that no domain covers another.

    Args:
        panels: at least one; all of the same images.
        domains: (n,) name of each image's domain.
    """
    names = sorted(set(domains))
    across = min(ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    foot = 0.15 + 0.2 * math.ceil(len(names) / across)
    width, height = max(4.2, across * PANEL), down * (PANEL + 0.35) + foot + 0.35
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(down, across, squeeze=False)
    colours = np.array([COLOURS[names.index(domain) % len(COLOURS)] for domain in domains])
    mixed = np.random.default_rng(0).permutation(len(domains))
    side = float(np.clip(260 / math.sqrt(max(1, len(domains))), 3, 22))
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.scatter(*panel.points[mixed].T, c=colours[mixed], s=side, linewidths=0, alpha=0.75)
        axes.set_title(f"{panel.name}\n{panel.note}", fontsize=9, color=INK, parse_math=False)
        for spine in axes.spines.values():
            spine.set_color("#d1d5db")
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles = [
        grid[0, 0].scatter([], [], s=30, color=COLOURS[place % len(COLOURS)], label=name)
        for place, name in enumerate(names)
    ]
    figure.legend(handles=handles, loc="lower left", ncols=across, fontsize=8, frameon=False, labelcolor=SOFT)
    figure.text(0.01, 1 - 0.08 / height, title, fontsize=10, weight="bold", color=INK, va="top", parse_math=False)
    figure.tight_layout(rect=(0, foot / height, 1, 1 - 0.25 / height))
    return figure
