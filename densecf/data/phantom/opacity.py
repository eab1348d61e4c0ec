"""An opacity: airspaces filled with water, focal or in patches, somewhere in one lung.

All that shapes it (side, place, size, thickness, outline, unevenness) is drawn from a stream of its own, seeded by the
record's `visit_seed`. So it is the same on every scanner and with or without effusion, and a record that has none is
the picture it would be if opacities did not exist.
"""

from dataclasses import dataclass

import numpy as np

from densecf.data.phantom.anatomy import SIGNS, Anatomy, Frame, Lungs, lungs
from densecf.data.phantom.fields import edge, ellipse, lattice, soft
from densecf.data.phantom.scm import Noise

THICKNESS = 6.5  # cm of filled lung along the ray, the median; the lung is up to 16 cm deep
FOCAL = 0.5  # share of opacities that are one area; the others are three to six patches
_ACROSS = 256  # points on which the width of the lung at the opacity's height is measured


@dataclass(frozen=True)
class Opacity:
    """One opacity; lengths in fractions of the field, thickness in cm.

    Attributes:
        side: 0 right lung, 1 left lung.
        height: of its middle, 0 at the apex, 1 at the dome.
        across: of its middle, 0 at the inner border of the lung, 1 at the outer.
        blobs: (n, 5) offset x and y from the middle, two radii, angle.
        thickness: of filled lung along the ray at its densest; most of what makes it easy or hard to see.
        softness: width of its edge.
        uneven: (17, 17), (35, 35) control values of outline and density.
    """

    side: int
    height: float
    across: float
    blobs: np.ndarray
    thickness: float
    softness: float
    uneven: tuple[np.ndarray, np.ndarray]


def draw_opacity(noise: Noise) -> Opacity:
    """The opacity that a record has, or would have."""
    rng = np.random.default_rng([noise.visit_seed, 20])
    side, focal = int(rng.random() < 0.46), bool(rng.random() < FOCAL)
    height, across = float(rng.beta(2.2, 1.6)), float(rng.uniform(0.15, 0.85))
    size = float(np.exp(0.22 * np.clip(rng.standard_normal(), -2.0, 2.0)))
    thickness = float(THICKNESS * np.exp(0.45 * np.clip(rng.standard_normal(), -2.0, 2.0)))
    softness = float(rng.uniform(0.010, 0.024))
    count = 1 if focal else int(rng.integers(3, 7))
    away, around = 0.070 * size * np.sqrt(rng.random(count)) * (count > 1), rng.uniform(0.0, 2.0 * np.pi, count)
    radius = (0.072 if focal else 0.042) * size * rng.uniform(0.8, 1.25, (count, 2))
    blobs = np.column_stack([away * np.cos(around), 1.3 * away * np.sin(around), radius, rng.uniform(0.0, 3.1, count)])
    uneven = (rng.standard_normal((17, 17)), rng.standard_normal((35, 35)))
    return Opacity(side, height, across, blobs, thickness, softness, uneven)


def consolidation(a: Anatomy, noise: Noise, fields: Lungs, f: Frame, gas: np.ndarray) -> np.ndarray:
    """Depth of lung gas in cm that the opacity replaces, (size, size), between 0 and `gas`; 0 outside the true lungs.

    Args:
        a: the patient's anatomy.
        noise: the record's.
        fields: the lungs at the pixels of `f`.
        f: the image's frame.
        gas: depth of lung that still holds gas, (size, size) in cm: where fluid stands, there is none to replace.
    """
    o = draw_opacity(noise)
    cx, cy = _middle(a, o)
    size = len(f.x)
    ripple = 0.011 * lattice(o.uneven[0], size)
    clear = np.ones_like(f.x)  # what is left of the gas after all patches
    for dx, dy, rx, ry, angle in o.blobs:
        inside = ellipse(f.x, f.y, cx + dx, cy + dy, rx, ry, angle) + ripple
        clear = clear * (1.0 - soft(inside, edge(f.px, o.softness)))
    width = edge(f.px, 0.004)
    within = soft(fields.lung[o.side] - np.float32(1.7321 * width), width)  # 0 from the border outwards
    density = np.clip(1.0 + 0.28 * lattice(o.uneven[1], size), 0.25, None)
    filled = np.float32(o.thickness) * density * (1.0 - clear) * within
    # Filled lung displaces gas one to one until little is left.
    return gas * np.tanh(filled / np.maximum(gas, 1e-3))


def _middle(a: Anatomy, o: Opacity) -> tuple[float, float]:
    # Patient coordinates: it moves with the lung when sex or age change the chest.
    y = a.apex[o.side] + (0.12 + 0.80 * o.height) * (a.dome[o.side] - a.apex[o.side])
    u = np.linspace(0.0, 0.5, _ACROSS, dtype=np.float32)
    sign = SIGNS[o.side]
    row = Frame(u * np.float32(sign), np.full_like(u, y), 1.0 / _ACROSS)
    inside = u[lungs(a, row).lung[o.side] > 0]
    inner, outer = (float(inside[0]), float(inside[-1])) if len(inside) else (0.1, 0.3)
    return sign * (inner + o.across * (outer - inner)), y
