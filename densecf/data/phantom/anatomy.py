"""The phantom's geometry: signed distances of lungs, heart and diaphragm. Independent of scanner and effusion.

Patient frame: x grows to the image's right (the patient's left), y downwards, the midline at x = 0, lengths in
fractions of the field of view. Side 0 is the patient's right lung (x < 0), side 1 the left (x > 0); u = |x| grows
laterally. The average outlines follow hand-drawn masks of upright adults: apex at 0.1, domes at 0.6 to 0.65, widest
half-width 0.36.
"""

from dataclasses import dataclass

import numpy as np

from densecf.data.phantom.fields import ellipse, lattice, smooth_min, soft
from densecf.data.phantom.scm import Noise, Parents

SIGNS = (-1.0, 1.0)  # x sign of side 0 (right lung) and side 1 (left lung)


@dataclass(frozen=True)
class Anatomy:
    """Numbers that place everything; pairs are (right, left)."""

    width: tuple[float, float]  # half-width of the thoracic cavity at its widest
    depth: float  # front to back, cm
    wall: float  # chest wall beyond the cavity
    apex: tuple[float, float]  # y of the lung apices
    apex_u: float
    shoulder_y: float  # y below which the cavity has its full width
    taper: float
    dome: tuple[float, float]
    dome_u: float
    dome_drop: tuple[float, float]  # from the dome to the costophrenic angle
    dome_inner: float  # from the dome to the heart
    heart: tuple[float, float, float, float, float]  # centre x, y, radii, tilt of the ventricles
    atrium: tuple[float, float, float]
    knob: tuple[float, float, float]
    trunk: tuple[float, float, float]
    strip: float
    shift: float  # axial rotation moves what lies in front against the spine


@dataclass(frozen=True)
class Frame:
    """Patient coordinates of every pixel centre, (size, size) float32, and the pixel side in patient units."""

    x: np.ndarray
    y: np.ndarray
    px: float


@dataclass(frozen=True)
class Lungs:
    """Signed distances, positive inside: pairs (right, left) of (size, size), and the shared mediastinum."""

    cage: tuple[np.ndarray, np.ndarray]
    above_dome: tuple[np.ndarray, np.ndarray]
    lung: tuple[np.ndarray, np.ndarray]
    heart: np.ndarray
    mediastinum: np.ndarray  # great vessels and strip, heart not included


def anatomy(parents: Parents, noise: Noise) -> Anatomy:
    """Place the organs. Women are smaller with a shallower chest; age unfolds the aorta and stiffens the cage."""
    n, female, old = noise, float(parents.sex == "F"), (parents.age - 55.0) / 30.0
    width = 0.350 + 0.021 * n["thorax_width"] - 0.018 * female
    stretch = 0.024 * n["thorax_height"] - 0.012 * female + 0.034 * n["inspiration"]
    apex = 0.108 + 0.012 * n["apex_height"] - 0.3 * stretch
    middle = 0.636 + 0.9 * stretch
    dome = middle + 0.046 * n["dome_right"]
    left_dome = middle + 0.018 + 0.046 * n["dome_gap"]
    size = (1.0 + 0.17 * n["heart_size"] + 0.04 * old - 0.03 * female - 0.03 * n["inspiration"]) * width / 0.352
    shift = 0.011 * n["axial_rotation"]
    hx, hy = 0.046 + 0.020 * n["heart_place"] + shift, 0.8 * left_dome + 0.2 * dome - 0.078
    skew = 0.004 * n["lung_asymmetry"]
    return Anatomy(
        width=(width + skew, width - skew),
        depth=(21.0 - 2.0 * female) * (1.0 + 0.07 * n["thorax_depth"]) + 0.6 * old,
        wall=0.049 + 0.012 * n["fat"] + 0.004 * female,
        apex=(apex, apex + 0.004 * n["lung_asymmetry"]),
        apex_u=0.142 + 0.012 * n["apex_place"],
        shoulder_y=0.53 + 0.03 * n["thorax_taper"],
        taper=max(0.7 + 0.5 * n["thorax_taper"], 0.2),
        dome=(dome, left_dome),
        dome_u=0.40 * width,
        dome_drop=(
            0.098 + 0.030 * n["angle_right"] + 0.014 * n["dome_curve_right"],
            0.094 + 0.030 * n["angle_left"] + 0.014 * n["dome_curve_left"],
        ),
        dome_inner=0.030 + 0.008 * n["dome_curve_left"],
        heart=(
            hx + 0.032,
            hy,
            0.158 * size,
            (0.104 + 0.008 * n["heart_shape"]) * size,
            0.86 + 0.12 * n["heart_tilt"] + 0.06 * n["inspiration"],
        ),
        atrium=(hx - 0.052, hy - 0.040, 0.076 * size),
        knob=(
            0.036 + shift + 0.005 * old,
            0.262 + 0.3 * stretch - 0.006 * old,
            0.034 + 0.006 * n["aorta"] + 0.007 * old,
        ),
        trunk=(0.030 + shift, 0.385 + 0.45 * stretch, 0.061 + 0.006 * n["pulmonary_trunk"]),
        strip=0.041 + 0.005 * n["mediastinum"] + 0.002 * old,
        shift=shift,
    )


def pose(noise: Noise) -> tuple[float, float, float, float]:
    """Centre x and y of the patient frame's (0, 0.45) in the field, tilt in radians, zoom."""
    n = noise
    return (
        0.5 + 0.034 * n["off_centre_x"],
        0.480 + 0.020 * n["off_centre_y"],
        0.060 * n["tilt"],
        0.98 + 0.085 * n["zoom"],
    )


def warp(noise: Noise, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Slow irregular displacement that no outline formula has: about 3 mm, from a 7 x 7 lattice of the patient."""
    values = np.random.default_rng([noise.body_seed, 1]).standard_normal((2, 7, 7)) * 0.011
    return lattice(values[0], size), lattice(values[1], size)


def frame(noise: Noise, size: int) -> Frame:
    """Patient coordinates of an image of `size` pixels a side."""
    cx, cy, tilt, zoom = pose(noise)
    at = ((np.arange(size) + 0.5) / size).astype(np.float32)
    dx, dy = (at - np.float32(cx))[None, :], (at - np.float32(cy))[:, None]
    c, s = np.cos(tilt) / zoom, np.sin(tilt) / zoom
    wx, wy = warp(noise, size)
    x = (dx * c + dy * s + wx).astype(np.float32)
    y = (dy * c - dx * s + 0.45 + wy).astype(np.float32)
    return Frame(x, y, 1.0 / (size * zoom))


def to_field(noise: Noise, points: np.ndarray) -> np.ndarray:
    """Patient points (n, 2) (x, y) to field fractions; the slow warp is inverted to first order."""
    cx, cy, tilt, zoom = pose(noise)
    c, s = np.cos(tilt), np.sin(tilt)
    x, y = points[:, 0] * zoom, (points[:, 1] - 0.45) * zoom
    field = np.stack([cx + x * c - y * s, cy + y * c + x * s], 1)
    wx, wy = warp(noise, 32)
    cell = np.clip((field * 32).astype(np.int64), 0, 31)
    moved_x, moved_y = wx[cell[:, 1], cell[:, 0]] * zoom, wy[cell[:, 1], cell[:, 0]] * zoom
    return field - np.stack([moved_x * c - moved_y * s, moved_y * c + moved_x * s], 1)


def cage_half_width(a: Anatomy, side: int, y: np.ndarray) -> np.ndarray:
    """Half-width u of the thoracic cavity at heights y, (n,) -> (n,)."""
    v = np.clip((a.shoulder_y - y) / (a.shoulder_y - a.apex[side]), 0.0, 1.0)
    full = a.apex_u + (a.width[side] - a.apex_u) * np.sqrt(1.0 - v * v)
    return full / (1.0 + a.taper * np.clip(y - a.shoulder_y, 0.0, None) ** 2)


def _cage(a: Anatomy, side: int, u: np.ndarray, y: np.ndarray) -> np.ndarray:
    below = np.maximum(y - np.float32(a.shoulder_y), 0.0)
    du = u * (1.0 + np.float32(a.taper) * below * below) - np.float32(a.apex_u)
    height = a.shoulder_y - a.apex[side]
    radius = np.where(du > 0, np.float32(a.width[side] - a.apex_u), np.float32(a.apex_u + 0.01))
    e, v = du / radius, np.maximum(np.float32(a.shoulder_y) - y, 0.0) * np.float32(1.0 / height)
    f = np.sqrt(e * e + v * v)
    slope = np.sqrt((e / radius) ** 2 + (v * np.float32(1.0 / height)) ** 2)
    return (1.0 - f) * (f + 1e-3) / (slope + 2e-3)


def dome_height(a: Anatomy, side: int, u: np.ndarray) -> np.ndarray:
    """Height y of the diaphragm at u."""
    t = u - np.float32(a.dome_u)
    outer = np.maximum(t, 0.0) * np.float32(1.0 / (a.width[side] - a.dome_u))
    inner = np.maximum(-t, 0.0) * np.float32(1.0 / a.dome_u)
    return (
        np.float32(a.dome[side])
        + np.float32(a.dome_drop[side]) * outer * outer * (0.55 + 0.45 * outer)
        + np.float32(a.dome_inner) * (inner * inner)
    )


def lungs(a: Anatomy, f: Frame) -> Lungs:
    """All signed distances of the chest's contents at the pixels of `f`."""
    x, y = f.x, f.y
    hx, hy, ra, rb, tilt = a.heart
    heart = np.maximum(
        ellipse(x, y, hx, hy, ra, rb, tilt), ellipse(x, y, a.atrium[0], a.atrium[1], a.atrium[2], a.atrium[2] * 1.55)
    )
    strip = np.float32(a.strip) + 0.10 * np.maximum(0.15 - y, 0.0) + 0.05 * np.maximum(y - 0.30, 0.0)
    # Between the heart and the spine there is no lung, nor under the heart: the strip widens to meet it on the left.
    meet = np.maximum(np.float32(hx - 0.01) - strip, 0.0) * soft(y - np.float32(hy - 0.08), 0.03)
    strip = strip + np.where(x > 0, meet, 0.0)
    great = strip - np.abs(x - np.float32(a.shift))
    great = -smooth_min(-great, -ellipse(x, y, a.knob[0], a.knob[1], a.knob[2], a.knob[2] * 1.1), 0.015)
    great = -smooth_min(-great, -ellipse(x, y, a.trunk[0], a.trunk[1], a.trunk[2], a.trunk[2] * 2.1, -0.30), 0.03)
    outside = smooth_min(-great, -heart, 0.075)
    cages, domes, inside = [], [], []
    for side, sign in enumerate(SIGNS):
        u = x * np.float32(sign)
        height = dome_height(a, side, np.clip(u, 0.0, 0.6))
        above = (height - y) * np.float32(0.9)
        cage = _cage(a, side, u, y)
        cages.append(cage)
        domes.append(above)
        inside.append(np.minimum(np.minimum(np.minimum(cage, above), outside), u - 0.005))
    return Lungs((cages[0], cages[1]), (domes[0], domes[1]), (inside[0], inside[1]), heart, great)
