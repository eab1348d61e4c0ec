"""The picture of cases: for each patient the image, then for each intervention counterfactual, difference and truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from densecf.files import atomic_path
from densecf.visualization.ink import INK, SOFT

PANEL = 1.5  # inches a side
DOTS_PER_INCH = 150
MOST_DIFFERENCE = 0.4
"""Differences from -0.4 (blue) to 0.4 (red) are told apart."""


@dataclass(frozen=True)
class Case:
    """One row of the picture.

    Attributes:
        name: who it is, and the parents: lines under the image.
        image: (S, S) in [0, 1].
        counterfactuals: one an intervention, (S, S) in [0, 1].
        truths: beside each its true counterfactual, or None.
        targets: beside each what was set, such as "scanner=B".
    """

    name: str
    image: np.ndarray
    counterfactuals: Sequence[np.ndarray]
    truths: Sequence[np.ndarray | None]
    targets: Sequence[str]


def save_cases(path: Path | str, cases: Sequence[Case], interventions: Sequence[str], *, heading: str = "") -> Path:
    """Write one PNG; see `cases_figure`.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    figure = cases_figure(cases, interventions, heading=heading)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png", facecolor="white")
    return Path(path)


def cases_figure(cases: Sequence[Case], interventions: Sequence[str], *, heading: str = "") -> Figure:
    """Rows are patients; columns the image, then for each intervention counterfactual, difference and, where it is
    known, the true counterfactual.

    Args:
        cases: at least one, all with as many counterfactuals as there are interventions.
        interventions: their names, above the columns.
        heading: one line above all.

    Raises:
        ValueError: no case, or one that does not fit.
    """
    if not cases or any(len(case.counterfactuals) != len(interventions) for case in cases):
        raise ValueError(f"expected cases with {len(interventions)} counterfactuals each")
    with_truth = any(truth is not None for case in cases for truth in case.truths)
    kinds = ["counterfactual", "difference", *(["truth"] if with_truth else [])]
    gap, label, top, below = 0.14, 0.34, 0.62, 0.3
    group = len(kinds) * PANEL + gap
    width = 0.1 + PANEL + gap + len(interventions) * group
    height = top + len(cases) * (PANEL + label) + below
    figure = Figure(figsize=(width, height))

    def words(x: float, y: float, text: str, **style) -> None:
        figure.text(x / width, 1 - y / height, text, color=style.pop("color", INK), parse_math=False, **style)

    def panel(column: float, row: int) -> Axes:
        upper = top + row * (PANEL + label)
        place = (column / width, 1 - (upper + PANEL) / height, (PANEL - 0.04) / width, (PANEL - 0.04) / height)
        axes = figure.add_axes(place)
        axes.set_axis_off()
        return axes

    words(0.1, 0.2, heading, fontsize=10, weight="bold", va="center")
    words(0.1, top - 0.06, "image", fontsize=8, va="bottom")
    for k, name in enumerate(interventions):
        left = 0.1 + PANEL + gap + k * group
        words(left, top - 0.2, f"do({name})", fontsize=8, va="bottom", weight="bold")
        for j, kind in enumerate(kinds):
            words(left + j * PANEL, top - 0.06, kind, fontsize=8, va="bottom")
    for row, case in enumerate(cases):
        _grey(panel(0.1, row), case.image)
        foot = top + row * (PANEL + label) + PANEL + 0.02
        words(0.1, foot, case.name, fontsize=6, va="top", color=SOFT)
        for k, (made, true, target) in enumerate(zip(case.counterfactuals, case.truths, case.targets, strict=True)):
            left = 0.1 + PANEL + gap + k * group
            _grey(panel(left, row), made)
            panel(left + PANEL, row).imshow(
                made - case.image, cmap="RdBu_r", vmin=-MOST_DIFFERENCE, vmax=MOST_DIFFERENCE, interpolation="nearest"
            )
            if true is not None:
                _grey(panel(left + 2 * PANEL, row), true)
            words(left, foot, target, fontsize=6, va="top", color=SOFT)
    explained = f"difference: counterfactual minus image, from -{MOST_DIFFERENCE} (blue) to {MOST_DIFFERENCE} (red)"
    words(0.1, height - 0.12, explained, fontsize=7, va="center", color=SOFT)
    return figure


def _grey(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="bicubic")
