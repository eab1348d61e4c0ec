"""The picture of an image's counterfactuals: input, counterfactuals, what they changed, and the truth if known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from densecf.files import atomic_path
from densecf.visualization.ink import INK, SOFT
from densecf.visualization.words import shortened

PANEL, GAP, LEFT = 2.3, 0.07, 0.42  # inches
DOTS_PER_INCH = 140
SMALLEST_SCALE = 0.05  # differences below this stay pale: noise is not blown up to look like an effect


@dataclass(frozen=True)
class Case:
    """One intervention.

    Attributes:
        title: the intervention.
        note: a line below it, such as what changed from what.
        image: (S, S) the counterfactual, in [0, 1].
        truth: (S, S) the true one, or None.
    """

    title: str
    note: str
    image: np.ndarray
    truth: np.ndarray | None = None


def save_figure(path: str | Path, image: np.ndarray, cases: list[Case], *, heading: str = "", note: str = "") -> Path:
    """Write one PNG with a column for each case; see `counterfactual_figure`.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    figure = counterfactual_figure(image, cases, heading=heading, note=note)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png", facecolor="white")
    return Path(path)


def counterfactual_figure(image: np.ndarray, cases: list[Case], *, heading: str = "", note: str = "") -> Figure:
    """The input on the left; beside it, one below the other, counterfactual, difference to the input, and truth.

    Args:
        image: (S, S) the input, in [0, 1].
        cases: the columns.
        heading: one line above the picture.
        note: a line below the input's title.
    """
    rows = 3 if any(case.truth is not None for case in cases) else 2
    titles = [_wrapped(case.title, PANEL) for case in cases]
    top = 0.56 + 0.17 * max((text.count("\n") for text in titles), default=0) + (0.36 if heading else 0)
    width = LEFT + (1 + len(cases)) * (PANEL + GAP) + 0.1
    height = top + rows * (PANEL + GAP) + 0.1
    figure = Figure(figsize=(width, height))

    def axes(column: int, row: int) -> Axes:
        left, upper = LEFT + column * (PANEL + GAP), top + row * (PANEL + GAP)
        made = figure.add_axes((left / width, 1 - (upper + PANEL) / height, PANEL / width, PANEL / height))
        made.set_axis_off()
        return made

    def title(column: int, first: str, second: str) -> None:
        across = (LEFT + column * (PANEL + GAP)) / width
        second = shortened(second, int(PANEL / 0.068))
        for text, below, colour, size in ((first, 0.25, INK, 9.5), (second, 0.08, SOFT, 8.5)):
            figure.text(across, 1 - (top - below) / height, text, fontsize=size, color=colour, parse_math=False)

    if heading:
        text = shortened(heading, int((width - LEFT) / 0.105))
        figure.text(LEFT / width, 1 - 0.3 / height, text, fontsize=12, weight="bold", color=INK, parse_math=False)
    for row, label in enumerate(("counterfactual", "difference", "truth")[:rows]):
        middle = top + row * (PANEL + GAP) + PANEL / 2
        figure.text(
            0.2 / width, 1 - middle / height, label, fontsize=9, color=SOFT, rotation=90, ha="center", va="center"
        )
    scale = difference_scale(image, [case.image for case in cases])
    title(0, "input", note)
    _grey(axes(0, 0), image)
    for column, (case, text) in enumerate(zip(cases, titles, strict=True), start=1):
        title(column, text, case.note)
        _grey(axes(column, 0), case.image)
        drawn = _difference(axes(column, 1), case.image - image, scale)
        if case.truth is not None:
            _grey(axes(column, 2), case.truth)
    if cases:
        _legend(figure, drawn, LEFT / width, 1 - (top + PANEL + GAP + PANEL / 2) / height, PANEL / width, 0.12 / height)
    return figure


def difference_scale(image: np.ndarray, counterfactuals: list[np.ndarray]) -> float:
    """The difference that gets the full colour, the same for all of them: their 99.5th percentile, 0.05 at least."""
    changes = [np.percentile(np.abs(other - image), 99.5) for other in counterfactuals]
    return float(max([SMALLEST_SCALE, *changes]))


def _grey(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="bicubic")


def _difference(axes: Axes, difference: np.ndarray, scale: float) -> AxesImage:
    return axes.imshow(difference, cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="bicubic")


def _legend(figure: Figure, drawn: AxesImage, left: float, middle: float, across: float, down: float) -> None:
    bar = Colorbar(figure.add_axes((left, middle, across * 0.9, down)), drawn, orientation="horizontal")
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=7.5, colors=SOFT, length=2)
    bar.set_label("blue: darker than the input; red: brighter\n(grey levels from 0 to 1)", fontsize=7.5, color=SOFT)


def _wrapped(title: str, inches: float) -> str:
    """A combination of interventions takes a line for each part where one line is too short."""
    length = int(inches / 0.077)
    parts = [title] if len(title) <= length else title.replace("+", "+\n").split("\n")
    return "\n".join(shortened(part, length) for part in parts)
