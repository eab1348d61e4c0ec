"""True and predicted outlines of the best, median and worst case, of one fine-tuning run or several side by side."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from densecf.errors import DataError
from densecf.files import atomic_path
from densecf.views.geometry import IGNORE
from densecf.visualization.panel_grid import panel_grid
from densecf.visualization.words import shortened

TRUTH, PREDICTION, DISAGREEMENT = "#19d3ff", "#ffb000", "#ff2d95"  # told apart with any colour vision, and on grey

Loader = Callable[[str], tuple[np.ndarray, np.ndarray, np.ndarray]]


def pick_cases(cases: pd.DataFrame) -> dict[str, pd.Series]:
    """The best, median and worst row by DSC (lower median; ties by case name; NaN never).

    Fewer than three cases give fewer names: two are best and worst, one is "only".

    Args:
        cases: one row a case, with ``case`` and ``dsc``.

    Raises:
        DataError: no case has a DSC.
    """
    ranked = cases.dropna(subset="dsc").assign(_name=lambda table: table["case"].astype(str))
    ranked = ranked.sort_values(["dsc", "_name"], ascending=[False, True]).drop(columns="_name")
    if ranked.empty:
        raise DataError("no case has a DSC; there is no best, median or worst case to draw")
    last = len(ranked) - 1
    places = {"best": 0, "median": (last + 1) // 2, "worst": last}
    if last == 0:
        places = {"only": 0}
    elif last == 1:
        places = {"best": 0, "worst": 1}
    return {name: ranked.iloc[place] for name, place in places.items()}


def save_overlays(path: str | Path, cases: pd.DataFrame, load: Loader) -> dict[str, str]:
    """Draw the best, median and worst case side by side into one PNG file.

    Args:
        path: the PNG file to write; it appears whole or not at all.
        cases: ``cases.csv``: ``case``, ``fold``, ``dsc``, ``hd95`` and optionally ``n_missed``, ``pleural_effusion``.
        load: for the name of a case, its image (H, W) in [0, 1], true mask and predicted mask, both (H, W)
            class indices with 0 background and 255 unknown (truth only).

    Returns:
        The names of the cases that were drawn: ``{"best": ..., "median": ..., "worst": ...}``.

    Raises:
        DataError: no case has a DSC.
    """
    picked = pick_cases(cases)
    figure = Figure(figsize=(4 * len(picked) + 0.4, 5.1), dpi=120, layout="constrained", facecolor="white")
    axes = figure.subplots(1, len(picked), squeeze=False)[0]
    for axis, (place, row) in zip(axes, picked.items(), strict=True):
        draw_case(axis, *load(row["case"]))
        axis.set_title(_title(place, row), fontsize=10, parse_math=False)  # a file name may hold a $
    figure.legend(handles=_keys(), loc="outside lower center", ncols=3, frameon=False)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", bbox_inches="tight")
    return {place: str(row["case"]) for place, row in picked.items()}


def overlay_grid(picked: Mapping[str, pd.Series], methods: Mapping[str, tuple[pd.DataFrame, Loader]]) -> Figure:
    """The same cases under several methods: a row a case, a column a method, the DSC in each panel.

    Args:
        picked: what a case is called, such as "worst" -> its row, as `pick_cases` gives them.
        methods: title -> its cases (``case``, ``dsc``), each of the picked ones among them, and what loads them.
    """
    rows = [(place, row) for place, row in picked.items()]
    scores = [table.set_index("case")["dsc"] for table, _ in methods.values()]
    loaders = [load for _, load in methods.values()]

    def draw(axes: Axes, row: int, column: int) -> None:
        case = rows[row][1]["case"]
        draw_case(axes, *loaders[column](case), width=0.65)
        text = axes.text(0.03, 0.03, f"{scores[column][case]:.1f} %", transform=axes.transAxes, fontsize=8.5)
        text.set(color="white", path_effects=[withStroke(linewidth=2, foreground="black")])

    labels = [f"{place}{finding(row)}\n{row['case']}" for place, row in rows]
    figure = panel_grid(labels, list(methods), draw, bottom=0.4)
    figure.legend(handles=_keys(), loc="lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def draw_case(axis: Axes, image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, *, width: float = 1.0) -> None:
    """One case with both outlines, and where the two masks differ.

    Args:
        axis: to draw on.
        image: (H, W) in [0, 1].
        truth, prediction: (H, W) class indices, 0 background, 255 unknown (truth only).
        width: of the outlines, 1 for a panel of four inches.

    Raises:
        ValueError: shapes that differ.
    """
    if not image.shape == truth.shape == prediction.shape:
        raise ValueError(f"image {image.shape}, truth {truth.shape} and prediction {prediction.shape} differ in shape")
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="bicubic")
    known = truth != IGNORE
    differ = (truth != prediction) & known  # also shows two swapped lungs, whose outlines agree
    axis.imshow(differ[..., None] * np.array(to_rgba(DISAGREEMENT, 0.4)), interpolation="nearest")
    _outline(axis, np.where(known, truth, 0), TRUTH, linewidths=2.6 * width)
    _outline(axis, np.where(known, prediction, 0), PREDICTION, linewidths=1.6 * width, linestyles=[(0, (3, 1.5))])
    axis.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axis.set_axis_off()


def _keys() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=TRUTH, linewidth=2.6, label="truth"),
        Line2D([], [], color=PREDICTION, linewidth=1.6, linestyle=(0, (3, 1.5)), label="prediction"),
        Patch(color=to_rgba(DISAGREEMENT, 0.4), label="they differ"),
    ]


def _outline(axis: Axes, mask: np.ndarray, color: str, **style) -> None:
    """Contour each class where its indicator crosses one half, closed at the image border."""
    rows, columns = (np.arange(-1, length + 1) for length in mask.shape)
    for index in np.unique(mask[mask > 0]):
        axis.contour(columns, rows, np.pad(mask == index, 1).astype(float), levels=[0.5], colors=[color], **style)


def _title(place: str, row: pd.Series) -> str:
    missed = int(row.get("n_missed", 0))
    return (
        f"{place}: {shortened(str(row['case']), 36)}\n"
        f"fold {row['fold']}{finding(row)}\n"
        f"DSC {row['dsc']:.1f} % · HD95 {row['hd95']:.1f} px" + (f" · {missed} missed" if missed else "")
    )


def finding(row: pd.Series) -> str:
    """What follows a case's name: " · no finding", " · effusion", or nothing where it is not known."""
    flag = row.get("pleural_effusion")
    return " · no finding" if flag == 0 else " · effusion" if flag == 1 else ""
