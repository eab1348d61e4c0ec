"""Soft parts of the phantom: body outline, air in lungs and airways, vessels, breasts, abdomen. Depths in cm."""

import numpy as np

from densecf.data.phantom.anatomy import SIGNS, Anatomy, Frame, Lungs, to_field
from densecf.data.phantom.fields import blur, capsule, edge, ellipse, lattice, smooth_min, soft, splat
from densecf.data.phantom.scm import Noise, Parents

MU = 0.19  # attenuation of water, 1/cm, at the beam's mean energy
AIR_IN_LUNG = 0.74  # fraction of lung that is not blood or tissue


def _dome_profile(depth: np.ndarray, scale: float) -> np.ndarray:
    # Chord of a rounded body `depth` inside its outline: steep at the rim, flat in the middle.
    s = np.clip(depth * np.float32(1.0 / scale), 0.0, 1.0)
    return np.sqrt(s * (2.0 - s))


def chest_depth(a: Anatomy, y: np.ndarray) -> np.ndarray:
    """Front-to-back depth in cm at height y: thin at the apices, full from the middle of the chest down."""
    return np.float32(a.depth) * (0.66 + 0.34 * soft(y - 0.30, 0.10) + 0.06 * soft(y - 0.72, 0.06))


def body(a: Anatomy, parents: Parents, noise: Noise, f: Frame) -> np.ndarray:
    """Water-equivalent depth (size, size) in cm of torso, neck, shoulders and arms; 0 in the air outside."""
    n = noise
    x, y, u = f.x, f.y, np.abs(f.x)
    male = float(parents.sex == "M")
    neck = 0.088 + 0.008 * n["neck"] + 0.008 * male
    half = np.where(x < 0, np.float32(a.width[0] + a.wall), np.float32(a.width[1] + a.wall))
    waist = half + 0.03 * max(n["fat"] + 0.6, -0.2) * soft(y - 0.70, 0.06) - 0.012 * (1 - male) * soft(y - 0.62, 0.08)
    rise = 0.125 + 0.02 * n["shoulder_slope"]
    top = np.float32(a.apex[0] - 0.105) + np.float32(rise) * np.tanh(np.clip(u - neck, 0.0, None) * 5.5)
    shoulder_y = a.apex[0] + 0.085 + 0.02 * n["shoulder_slope"]
    reach = max(a.width) + a.wall + 0.085 + 0.012 * n["shoulder_width"]
    torso = smooth_min(waist - u, (y - top) * 0.9, 0.06)
    throat = np.float32(neck) + 0.6 * np.clip(y - 0.06, 0.0, 0.2) ** 1.5 - u
    chest = chest_depth(a, y) * _dome_profile(torso, 0.27)
    throat_depth = 11.5 * _dome_profile(np.minimum(throat, 0.3 - y), neck)
    arm = (
        0.074
        + 0.007 * n["fat"]
        - capsule(u, y, (reach, shoulder_y + 0.03), (reach + 0.215 + 0.05 * n["arm_angle"], 0.82))
    )
    yoke = 0.075 + 0.005 * n["fat"] - capsule(u, y, (0.14, a.apex[0] + 0.02), (reach, shoulder_y + 0.02))
    arm_depth = 10.5 * _dome_profile(arm, 0.075)
    yoke_depth = 12.5 * _dome_profile(yoke, 0.075)
    depth = -smooth_min(-chest, -throat_depth, 3.0)
    depth = -smooth_min(-depth, -yoke_depth, 3.0)
    depth = -smooth_min(-depth, -arm_depth, 1.5)
    skin = np.maximum(np.maximum(torso, throat), np.maximum(arm, yoke))
    organs = np.random.default_rng([noise.body_seed, 9]).standard_normal((9, 9)) * 0.022
    return depth * soft(skin, edge(f.px, 0.003)) * (1.0 + lattice(organs, len(x)))


def lung_air(a: Anatomy, lungs: Lungs, f: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Depth of lung in cm on the (right, left) side, without regard to fluid.

    The heart leaves lung behind it, and the lung's posterior recess reaches below the dome: both fade, and neither is
    counted in the mask.
    """
    cavity = 0.76 * chest_depth(a, f.y)
    width = edge(f.px, 0.0026)
    behind_heart = 0.34 + 0.16 * soft(-f.y + a.dome[0] - 0.05, 0.05)
    beside = soft(-lungs.mediastinum, edge(f.px, 0.007))
    beside = beside + (1.0 - beside) * 0.22 * np.exp(np.clip(lungs.mediastinum, 0.0, None) * (-1.0 / 0.022))
    heart = soft(lungs.heart, edge(f.px, 0.004))
    ball = _dome_profile(lungs.heart, 0.17)
    through = beside * (1.0 - heart * (1.0 - behind_heart * (1.0 - 0.75 * ball)))
    out = []
    for side, sign in enumerate(SIGNS):
        u = f.x * np.float32(sign)
        thickness = _dome_profile(lungs.cage[side], 0.15) * soft(lungs.cage[side], width)
        below = np.clip(-lungs.above_dome[side], 0.0, None)
        recess = 0.16 * np.exp(below * (-1.0 / 0.03)) * (0.4 + 0.6 * soft(u - 0.12, 0.04))
        floor = soft(lungs.above_dome[side], width)
        floor = floor * (1.0 - 0.30 * np.exp(np.clip(lungs.above_dome[side], 0.0, None) * (-1.0 / 0.012)))
        midline = soft(u - 0.012, edge(f.px, 0.006))
        out.append(cavity * thickness * through * midline * (floor + (1.0 - floor) * recess))
    return out[0], out[1]


def airways(a: Anatomy, f: Frame) -> np.ndarray:
    """Air depth in cm of trachea and main bronchi."""
    carina = a.knob[1] + 0.075
    x, y = f.x - np.float32(0.7 * a.shift - 0.004), f.y
    width = edge(f.px, 0.003)
    trachea = _dome_profile(0.0225 - np.abs(x + 0.03 * np.clip(y - 0.12, 0, 0.3)), 0.0225)
    trachea = trachea * soft(carina - y, 0.012) * soft(y + 0.02, 0.05)
    right = capsule(x, y, (-0.008, carina - 0.01), (-0.062, carina + 0.06))
    left = capsule(x, y, (-0.004, carina - 0.01), (0.075, carina + 0.052))
    bronchi = 0.55 * soft(0.0125 - right, width) + 0.5 * soft(0.0105 - left, width)
    return 2.0 * trachea + 0.9 * bronchi


def _branches(
    rng: np.random.Generator, root: np.ndarray, heading: np.ndarray, length: np.ndarray, bore: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    # (n, 2) roots grown into curved polylines of points; returns points (n, count, 2), bore (n, count).
    steps = np.linspace(0.0, 1.0, count)
    bend = rng.normal(0.0, 0.55, len(root))[:, None] * steps + 0.08 * np.sin(
        steps * 9 + rng.uniform(0, 6, (len(root), 1))
    )
    angle = heading[:, None] + bend
    stride = (length / len(steps))[:, None]
    moves = np.stack([np.cos(angle) * stride, np.sin(angle) * stride], -1)
    return root[:, None] + np.cumsum(moves, 1), bore[:, None] * (1.0 - 0.55 * steps)


def vessels(a: Anatomy, noise: Noise, f: Frame) -> np.ndarray:
    """Vessel depth in cm: three generations of arteries and veins fanning out of each hilum, plus the hilar mass."""
    n, size = noise, len(f.x)
    levels: list[list[np.ndarray]] = [[], [], []]
    weights: list[list[np.ndarray]] = [[], [], []]
    for side, sign in enumerate(SIGNS):
        rng = np.random.default_rng([noise.body_seed, 3, side])
        hilum = np.array(
            [
                0.066 + 0.012 * side,
                a.trunk[1] + 0.035 - 0.028 * side + 0.008 * n["hilum_left" if side else "hilum_right"],
            ]
        )
        stems = 13
        heading = np.linspace(-1.75, 1.55, stems) + rng.normal(0, 0.22, stems)
        reach = (a.width[side] - 0.09) * (0.62 + 0.30 * np.abs(np.sin(heading))) * rng.uniform(0.85, 1.1, stems)
        root = hilum + np.stack(
            [rng.normal(0.006, 0.011, stems), 0.036 * np.sin(heading) + rng.normal(0, 0.014, stems)], 1
        )
        bore = rng.uniform(0.75, 1.25, stems) * (1.0 + 0.25 * np.sin(heading))
        for level, (children, count) in enumerate(((7, 40), (5, 24), (0, 14))):
            points, bores = _branches(rng, root, heading, reach, bore, count)
            spacing = (reach / points.shape[1])[:, None]
            levels[level].append((points * [sign, 1.0]).reshape(-1, 2))
            weights[level].append((bores**2 * spacing).ravel())
            if children:
                at = rng.integers(count // 6, count - 1, (len(points), children))
                pick = np.arange(len(points))[:, None]
                root = points[pick, at].reshape(-1, 2)
                along = np.arctan2(*np.moveaxis(points[pick, at] - points[pick, at - 1], -1, 0)[::-1])
                turn = rng.choice([-1.0, 1.0], at.shape) * rng.uniform(0.35, 0.9, at.shape)
                heading = (along + turn).ravel()
                reach = (reach[:, None] * (1.05 - at / count) * rng.uniform(0.35, 0.7, at.shape) + 0.015).ravel()
                bore = (bores[pick, at] * rng.uniform(0.5, 0.72, at.shape)).ravel()
    # Thickness (cm) times width (field fractions) of a unit vessel at each level.
    total = np.zeros_like(f.x)
    for level, (thick, width) in enumerate(((1.9, 0.0052), (2.7, 0.0033), (2.6, 0.0026))):
        mass = np.concatenate(weights[level]) * (thick * width * 2.5)
        density = splat(to_field(noise, np.concatenate(levels[level])), mass, size)
        total += blur(density, width)
    for side, sign in enumerate(SIGNS):
        hilum_y = a.trunk[1] + 0.035 - 0.028 * side + 0.008 * n["hilum_left" if side else "hilum_right"]
        cloud = ellipse(f.x * np.float32(sign), f.y, 0.062 + 0.012 * side, hilum_y, 0.034, 0.052, 0.25)
        total += 1.3 * soft(cloud, 0.022)
    return 3.0 * np.tanh(total * np.float32((1.0 + 0.18 * n["vessels"]) / 3.0))


def parenchyma(noise: Noise, size: int) -> np.ndarray:
    """Relative density texture of the lung, (size, size), mean 0: three octaves."""
    rng = np.random.default_rng([noise.body_seed, 4])
    return sum(lattice(rng.standard_normal((k, k)) * w, size) for k, w in ((11, 0.035), (27, 0.05), (70, 0.055)))  # type: ignore[return-value]


def breasts(a: Anatomy, parents: Parents, noise: Noise, f: Frame) -> np.ndarray:
    """Extra soft depth in cm: breasts in women, pectoral muscles in men."""
    n, out = noise, np.zeros_like(f.x)
    female = parents.sex == "F"
    for side, sign in enumerate(SIGNS):
        u = f.x * np.float32(sign)
        if female:
            size = 1.0 + 0.17 * n["breast_size"] + 0.03 * sign * n["breast_asymmetry"]
            low = 0.005 * (parents.age - 40.0) / 10.0
            cy = 0.50 + 0.025 * n["breast_place"] + low + 0.006 * sign * n["breast_asymmetry"]
            d = ellipse(u, f.y, 0.225 * a.width[side] / 0.352, cy, 0.150 * size, 0.150 * size)
            rim = _dome_profile(d, 0.09) * soft(d, edge(f.px, 0.004)) * soft(u - 0.125, 0.035)
            rim = rim * (1.0 - 0.6 * soft(f.y - 0.70, 0.04))  # lost against the abdomen
            out += (2.8 * size) * rim * (0.20 + 0.80 * soft(f.y - np.float32(cy), 0.05))
        else:
            d = smooth_min(np.float32(0.40) - f.y + 0.25 * u, u - 0.06, 0.08)
            out += 1.3 * soft(d, 0.025) * soft(f.y - 0.16, 0.04) * soft(np.float32(a.width[side] + 0.02) - u, 0.02)
    return out


def abdominal_gas(a: Anatomy, noise: Noise, f: Frame) -> np.ndarray:
    """Gas depth in cm: the stomach bubble under the left dome with its flat fluid level, sometimes bowel loops."""
    n = noise
    cx, cy = 0.155 + 0.03 * n["stomach_place"], a.dome[1] + 0.052
    rx, ry = 0.060 + 0.018 * n["stomach"], 0.034 + 0.010 * n["stomach"]
    bubble = ellipse(f.x, f.y, cx, cy, max(rx, 0.02), max(ry, 0.012), 0.15)
    level = soft(np.float32(cy + 0.022 + 0.01 * n["stomach_level"]) - f.y, edge(f.px, 0.004))
    gas = 3.2 * noise.uniform("stomach_level") * _dome_profile(bubble, 0.03) * level
    if n["bowel"] > 0.3:
        rng = np.random.default_rng([noise.visit_seed, 5])
        for _ in range(5):
            x, y = rng.uniform(0.08, 0.30) * rng.choice([-1, 1, 1]), rng.uniform(0.80, 0.95)
            loop = ellipse(f.x, f.y, x, y, rng.uniform(0.02, 0.04), rng.uniform(0.015, 0.03), rng.uniform(-1, 1))
            gas = gas + 1.6 * _dome_profile(loop, 0.02)
    return gas * np.minimum(soft(-lungs_floor(a, f), 0.006), 1.0)


def lungs_floor(a: Anatomy, f: Frame) -> np.ndarray:
    """Height above the left dome, so that gas stays below it."""
    return np.float32(a.dome[1] + 0.008) - f.y


__all__ = [
    "AIR_IN_LUNG",
    "MU",
    "abdominal_gas",
    "airways",
    "body",
    "breasts",
    "chest_depth",
    "lung_air",
    "parenchyma",
    "vessels",
]
