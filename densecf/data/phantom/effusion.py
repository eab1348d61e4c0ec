"""Pleural fluid: where it stands and how much of the lung's air it hides. The lung's true outline does not move."""

from dataclasses import dataclass

import numpy as np

from densecf.data.phantom.anatomy import Anatomy, Frame, Lungs
from densecf.data.phantom.fields import edge, lattice, soft
from densecf.data.phantom.scm import Noise, effusion_side

TRACE = 0.035  # air left in lung squeezed by fluid: a trace of the hidden border, no more than its own unevenness


@dataclass(frozen=True)
class Fluid:
    """Pairs (right, left) of (size, size)."""

    cover: tuple[np.ndarray, np.ndarray]  # how much of the lung's air is gone, in [0, 1]
    depth: tuple[np.ndarray, np.ndarray]  # below the fluid's surface, signed; -1 on a dry side


def fluid_level(noise: Noise, side: int) -> float:
    """Height of the fluid in lung heights: from blunting to all of it, or three quarters when both sides have fluid."""
    u = noise.uniform("effusion_left" if side else "effusion_right")
    return 0.14 + (0.60 if effusion_side(noise) == "both" else 0.82) * u**0.8


def fluid(a: Anatomy, noise: Noise, lungs: Lungs, f: Frame, present: int) -> Fluid | None:
    """Fluid of a record, or None without effusion.

    The upper border is a meniscus: concave, climbing along the lateral wall and a little along the heart, with a thin
    layer of fluid and squeezed lung above it.
    """
    if not present:
        return None
    where = effusion_side(noise)
    covers, depths = [], []
    uneven = np.random.default_rng([noise.visit_seed, 10]).standard_normal((11, 11))
    squeezed = TRACE * np.clip(1.0 + 1.1 * lattice(uneven, len(f.x)), 0.0, None)
    for side, name in enumerate(("right", "left")):
        if where not in (name, "both"):
            covers.append(np.zeros_like(f.x))
            depths.append(np.full_like(f.x, -1.0))
            continue
        bottom = a.dome[side] + a.dome_drop[side]
        height = bottom - fluid_level(noise, side) * (bottom - a.apex[side])
        climb = 0.110 + 0.038 * noise["meniscus_left" if side else "meniscus_right"]
        wall = np.clip(lungs.cage[side], 0.0, None)
        inner = np.clip(np.maximum(-np.maximum(lungs.heart, lungs.mediastinum), 0.0), 0.0, None)
        surface = np.float32(height) - np.float32(climb) * np.exp(wall * (-1.0 / 0.065))
        surface = surface - np.float32(0.22 * climb) * np.exp(inner * (-1.0 / 0.045))
        depth = f.y - surface
        depths.append(depth)
        sharp = edge(f.px, 0.007 + 0.006 * noise.uniform("fluid_edge_left" if side else "fluid_edge_right"))
        full = soft(depth, sharp)
        haze = (0.16 + 0.14 * noise.uniform("haze")) * np.exp(np.clip(-depth, 0.0, None) * (-1.0 / 0.06))
        covers.append(np.clip(full * (1.0 - squeezed) + (1.0 - full) * haze, 0.0, 1.0))
    return Fluid((covers[0], covers[1]), (depths[0], depths[1]))
