"""The picture of a CHRO-map: every image beside its overlay, and the colour wheel that explains it."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from densecf.files import atomic_path
from densecf.visualization.chromap import ChroMaps
from densecf.visualization.colour_space import disc_colours
from densecf.visualization.ink import INK, SOFT
from densecf.visualization.words import shortened

PANEL = 3.2  # inches, height of an image that is not much wider than high
DOTS_PER_INCH = 150


def save_figure(maps: ChroMaps, path: Path | str, *, heading: str = "") -> Path:
    """Write one PNG: for each entry the input beside the overlay, two entries a row, and the wheel on the right.

    Args:
        maps: from `make_chromaps`.
        path: of the PNG; folders are made.
        heading: one line above the picture, for example the run's name.

    Returns:
        The path.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    figure = chromap_figure(maps, heading=heading)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png", facecolor="white")
    return Path(path)


def chromap_figure(maps: ChroMaps, *, heading: str = "") -> Figure:
    """The figure itself, for notebooks; see `save_figure`."""
    count = len(maps.images)
    columns = 1 if count == 1 else 2
    rows = -(-count // columns)
    aspect = float(np.median([image.shape[1] / image.shape[0] for image in maps.images]))
    panel = min(1.0 if rows == 1 else 0.8, 1.2 / aspect) * PANEL
    gap, title, wheel = 0.08, 0.28, 2.5
    top = 0.42 if heading else 0.08
    pair = 2 * panel * aspect + gap
    width = columns * pair + (columns - 1) * 0.3 + wheel + 0.65
    height = rows * (panel + title) + top + 0.12
    figure = Figure(figsize=(width, height))

    def axes(left: float, upper: float, across: float, down: float) -> Axes:
        """Axes by inches from the upper left corner."""
        made = figure.add_axes((left / width, 1 - (upper + down) / height, across / width, down / height))
        made.set_axis_off()
        return made

    if heading:
        figure.text(0.12 / width, 1 - 0.26 / height, heading, fontsize=12, weight="bold", color=INK, va="center")
    for number, (name, image, overlay) in enumerate(zip(maps.titles, maps.images, maps.overlays, strict=True)):
        row, column = divmod(number, columns)
        left, upper = 0.12 + column * (pair + 0.3), top + row * (panel + title)
        label = axes(left, upper, pair, title)
        label.text(0, 0.38, shortened(name, int(pair / 0.085)), fontsize=10, color=INK, va="center")
        for picture, offset in ((image, 0.0), (overlay, panel * aspect + gap)):
            shown = axes(left + offset, upper + title, panel * aspect, panel)
            shown.imshow(at_most(picture, int(2 * panel * DOTS_PER_INCH)), interpolation="lanczos")
    draw_wheel(axes(width - wheel - 0.12, (top + title), wheel, wheel), maps)
    note = axes(width - wheel - 0.12, top + title + wheel, wheel, 0.7)
    ends = "centre black, rim bright" if maps.mode == "value" else "centre white, rim pure"
    lines = ["similar colour: similar embedding", "hue: angle", f"{maps.mode}: radius ({ends})"]
    note.text(0.5, 0.9, "\n".join(lines), fontsize=7.5, color=SOFT, ha="center", va="top", linespacing=1.5)
    return figure


def draw_wheel(axes: Axes, maps: ChroMaps, size: int = 512) -> None:
    """The colour of every place in the disc, and where the fitted pixels lie."""
    line = (np.arange(size) + 0.5) / size * 2 - 1
    disc = np.stack(np.meshgrid(line, -line), axis=-1)
    radius = np.hypot(disc[..., 0], disc[..., 1])
    opacity = np.clip((1 - radius) * size / 2, 0, 1) * 255
    wheel = np.concatenate([disc_colours(disc, maps.mode), opacity[..., None].astype(np.uint8)], axis=-1)
    axes.imshow(wheel, extent=(-1, 1, -1, 1), interpolation="bilinear")
    dots = "white" if maps.mode == "value" else "black"
    axes.scatter(maps.space.discs[:, 0], maps.space.discs[:, 1], s=1.2, c=dots, alpha=0.45, linewidths=0)
    axes.set_xlim(-1.03, 1.03)
    axes.set_ylim(-1.03, 1.03)


def at_most(picture: np.ndarray, side: int) -> np.ndarray:
    """Shrink a picture whose longer side exceeds `side` pixels: the page cannot show more, and drawing it is slow."""
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    shape = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    return np.asarray(Image.fromarray(picture).resize(shape, Image.Resampling.BOX))
