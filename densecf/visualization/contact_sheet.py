"""A sheet of small images with the outlines of their masks, in titled groups."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from densecf.files import atomic_path
from densecf.visualization.ink import INK, SOFT
from densecf.visualization.words import shortened

COLOURS = ("#19d3ff", "#ffb000", "#ff2d95", "#7ee081", "#b794f6", "#ffffff")  # told apart on grey
ALARM = "#b3261e"
COLUMNS, TILE, GAP, LINE = 8, 1.75, 0.12, 0.145  # inches
_MARGIN, _HEADING = 0.25, 0.38
_CHARACTER = 0.061  # inches, of the captions
DOTS_PER_INCH = 110

Loader = Callable[[int], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Tile:
    """One image: its row, and up to three lines below it (longer ones are shortened)."""

    row: int
    caption: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Tiles under one heading; ``alarm`` draws it in red."""

    title: str
    tiles: tuple[Tile, ...]
    alarm: bool = False


def save_contact_sheet(
    path: str | Path, groups: Sequence[Group], load: Loader, class_names: Sequence[str], *, heading: str
) -> Path:
    """Write one PNG.

    Args:
        path: the file; it appears whole or not at all.
        groups: what to show; empty ones are left out.
        load: row -> image (S, S) in [0, 1], and mask (S, S) of class indices or None.
        class_names: "background" first; for the legend.
        heading: a line above all.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    figure = contact_sheet(groups, load, class_names, heading=heading)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png", facecolor="white")
    return Path(path)


def contact_sheet(groups: Sequence[Group], load: Loader, class_names: Sequence[str], *, heading: str) -> Figure:
    """See `save_contact_sheet`; images of 100 tiles are in memory at their prepared size."""
    groups = [group for group in groups if group.tiles]
    width = 2 * _MARGIN + COLUMNS * (TILE + GAP) - GAP
    height = 0.75 + sum(_group_height(group) for group in groups) + _MARGIN
    figure = Figure(figsize=(width, height))

    def text(left: float, down: float, words: str, **style) -> None:
        figure.text(left / width, 1 - down / height, words, va="top", parse_math=False, **style)

    text(_MARGIN, 0.18, shortened(heading, int(width / 0.1)), fontsize=13, weight="bold", color=INK)
    if len(class_names) > 1:
        handles = [
            Line2D([], [], color=_colour(i), linewidth=2.5, label=name) for i, name in enumerate(class_names[1:])
        ]
        figure.legend(
            handles=handles,
            loc="upper right",
            bbox_to_anchor=(1 - _MARGIN / width, 1 - 0.1 / height),
            bbox_transform=figure.transFigure,
            ncols=min(6, len(handles)),
            fontsize=9,
            facecolor="#4b5563",
            labelcolor="white",
            borderaxespad=0,
        )
    top = 0.75
    for group in groups:
        text(_MARGIN, top, group.title, fontsize=11, weight="bold", color=ALARM if group.alarm else INK)
        each = _tile_height(group)
        for number, tile in enumerate(group.tiles):
            down, across = divmod(number, COLUMNS)
            left, upper = _MARGIN + across * (TILE + GAP), top + _HEADING + down * each
            axes = figure.add_axes((left / width, 1 - (upper + TILE) / height, TILE / width, TILE / height))
            _draw(axes, *load(tile.row))
            for place, line in enumerate(tile.caption):
                below = upper + TILE + 0.04 + place * LINE
                colour = (ALARM if group.alarm else INK) if place == 0 else SOFT
                text(left, below, shortened(line, int(TILE / _CHARACTER)), fontsize=7.5, color=colour)
        top += _group_height(group)
    return figure


def _tile_height(group: Group) -> float:
    return TILE + 0.08 + LINE * max(len(tile.caption) for tile in group.tiles) + GAP


def _group_height(group: Group) -> float:
    return _HEADING + math.ceil(len(group.tiles) / COLUMNS) * _tile_height(group) + 0.1


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _draw(axes: Axes, image: np.ndarray, mask: np.ndarray | None) -> None:
    axes.set_axis_off()
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    if mask is None:
        return
    rows, columns = (np.arange(-1, length + 1) for length in mask.shape)
    for index in np.unique(mask[mask > 0]):
        inside = np.pad(mask == index, 1).astype(float)
        axes.contour(columns, rows, inside, levels=[0.5], colors=[_colour(int(index) - 1)], linewidths=1.1)
    axes.set(xlim=(-0.5, mask.shape[1] - 0.5), ylim=(mask.shape[0] - 0.5, -0.5))
