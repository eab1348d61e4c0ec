"""CHRO-maps of the same images under several networks, in colours that mean the same place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from densecf.visualization.alignment import chance_distance, closest_turn, mean_distance
from densecf.visualization.chromap import ChroMaps, MapEntry, fit_space, make_chromaps
from densecf.visualization.chromap_figure import at_most, draw_wheel
from densecf.visualization.ink import SOFT
from densecf.visualization.panel_grid import panel_grid

DOTS = 400  # a panel shows no more pixels a side
KEY = """dots: pixels that the
colours were fitted on

number: how far they lie
on average from the same
pixels of the reference
(radius of the disc: 1)"""


@dataclass(frozen=True)
class AlignedMaps:
    """One network's maps, its disc turned towards that of the reference.

    Attributes:
        maps: of the same images for every network.
        distance: mean distance of the fitted pixels to the same pixels on the reference's disc; 0 for itself.
        chance: that distance when pixels are paired at random.
        is_reference: whether the others were turned towards this one.
    """

    maps: ChroMaps
    distance: float
    chance: float
    is_reference: bool


def aligned_chromaps(
    names: Sequence[str], load: Callable[[str], Sequence[MapEntry]], *, num_fit: int = 4000, seed: int = 0
) -> dict[str, AlignedMaps]:
    """CHRO-maps for each network; the last one that has not collapsed is the reference of all colours.

    Args:
        names: of the networks.
        load: the embeddings of a network; the same images, with the same valid pixels, for all. Called once each, so
            that one network's are in memory at a time.
        num_fit: pixels that each colour space is fitted on, the same for all.
        seed: of their draw and of UMAP.

    Returns:
        One for each name, in the same order.
    """
    found: dict[str, AlignedMaps] = {}
    reference = None
    for name in reversed(names):
        entries = load(name)
        space = fit_space(entries, num_fit=num_fit, seed=seed, origin=name)
        first = reference is None and bool(space.discs.any())
        if first:
            reference = space.discs
        elif reference is not None:
            space = space.turned(closest_turn(space.discs, reference))
        target = space.discs if reference is None else reference
        found[name] = AlignedMaps(
            make_chromaps(entries, space=space),
            mean_distance(space.discs, target),
            chance_distance(space.discs, target, seed),
            first,
        )
    return {name: found[name] for name in names}


def chromap_grid(found: dict[str, AlignedMaps], rows: Sequence[str]) -> Figure:
    """A row an image, a column a network, the image itself first; below, where the fitted pixels lie on the disc.

    Args:
        found: from `aligned_chromaps`, at least one.
        rows: the images' labels.
    """
    distances = ["reference" if aligned.is_reference else f"{aligned.distance:.2f}" for aligned in found.values()]
    maps = [aligned.maps for aligned in found.values()]

    def draw(axes: Axes, row: int, column: int) -> None:
        if row < len(rows):
            picture = maps[0].images[row] if column == 0 else maps[column - 1].overlays[row]
            axes.imshow(at_most(picture, DOTS), interpolation="bicubic")
        elif column:
            draw_wheel(axes, maps[column - 1], size=256)
            axes.text(0, 0, distances[column - 1], transform=axes.transAxes, fontsize=8, color=SOFT)
        else:
            axes.text(0.95, 0.5, KEY, transform=axes.transAxes, fontsize=7.5, color=SOFT, ha="right", va="center")

    return panel_grid([*rows, "colour and place"], ["image", *found], draw, lead=1)
