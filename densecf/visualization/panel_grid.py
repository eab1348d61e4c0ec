"""Small pictures in rows and columns, wrapped into blocks that a page can hold."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from densecf.visualization.ink import INK, SOFT
from densecf.visualization.words import shortened

LEFT, TITLE, GAP, BETWEEN = 0.5, 0.26, 0.05, 0.22  # inches


def panel_grid(
    rows: Sequence[str],
    columns: Sequence[str],
    draw: Callable[[Axes, int, int], None],
    *,
    lead: int = 0,
    across: int = 5,
    panel: float = 1.75,
    bottom: float = 0.05,
) -> Figure:
    """A panel for each row and column; columns that do not fit go on in a further block below.

    Args:
        rows: labels on the left; a line feed begins a second, paler line.
        columns: titles above.
        draw: (axes, row, column) draws a panel; the axes show no frame.
        lead: so many first columns are shown again in every block.
        across: panels beside each other at most.
        panel: height and width of a panel in inches.
        bottom: room below for a legend, in inches.
    """
    blocks = wrapped(len(columns), lead, across)
    widest, pitch = max(map(len, blocks)), panel + GAP
    deep = TITLE + len(rows) * pitch
    width = LEFT + widest * pitch
    height = len(blocks) * deep + (len(blocks) - 1) * BETWEEN + bottom
    figure = Figure(figsize=(width, height), facecolor="white")
    for number, block in enumerate(blocks):
        top = number * (deep + BETWEEN)
        for place, column in enumerate(block):
            middle = LEFT + place * pitch + panel / 2
            figure.text(
                middle / width,
                1 - (top + TITLE - 0.08) / height,
                shortened(columns[column], int(panel / 0.075)),
                ha="center",
                va="bottom",
                fontsize=9.5,
                color=INK,
                parse_math=False,
            )
            for row in range(len(rows)):
                upper = top + TITLE + row * pitch
                axes = figure.add_axes(
                    (
                        (LEFT + place * pitch) / width,
                        1 - (upper + panel) / height,
                        panel / width,
                        panel / height,
                    )
                )
                axes.set_axis_off()
                draw(axes, row, column)
        for row, label in enumerate(rows):
            middle = top + TITLE + row * pitch + panel / 2
            for line, across_inches, colour in zip(label.split("\n"), (0.14, 0.34), (INK, SOFT), strict=False):
                figure.text(
                    across_inches / width,
                    1 - middle / height,
                    shortened(line, int(panel / 0.072)),
                    rotation=90,
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    color=colour,
                    parse_math=False,
                )
    return figure


def wrapped(count: int, lead: int, across: int) -> list[list[int]]:
    """Columns of each block: about equally many, each block beginning with the first `lead`.

    Raises:
        ValueError: no room beside the leading columns.
    """
    if across <= lead:
        raise ValueError(f"{across} panels beside each other leave no room beside {lead} leading ones")
    rest = list(range(lead, count))
    blocks = max(1, -(-len(rest) // (across - lead)))
    size = -(-len(rest) // blocks)
    return [
        [*range(min(lead, count)), *rest[start : start + size]] for start in range(0, max(len(rest), 1), max(size, 1))
    ]
