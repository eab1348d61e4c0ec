"""Bones of the phantom: attenuation (unitless line integrals) of ribs, spine, clavicles, scapulae and humeri."""

import numpy as np

from densecf.data.phantom.anatomy import SIGNS, Anatomy, Frame, cage_half_width, to_field
from densecf.data.phantom.fields import capsule, edge, ellipse, line, soft
from densecf.data.phantom.scm import Noise, Parents

Window = tuple[slice, slice]


def window(
    noise: Noise, size: int, low: tuple[float, float], high: tuple[float, float], margin: float = 0.03
) -> Window:
    """Pixel slices (rows, columns) that cover the patient-frame rectangle low-high, (x, y)."""
    corners = np.array([low, high, (low[0], high[1]), (high[0], low[1])])
    at = to_field(noise, corners) * size
    low_px = np.clip(np.floor(at.min(0) - margin * size), 0, size).astype(int)
    high_px = np.clip(np.ceil(at.max(0) + margin * size), 0, size).astype(int)
    return slice(low_px[1], high_px[1]), slice(low_px[0], high_px[0])


def _tube(distance: np.ndarray, half: float, px: float) -> np.ndarray:
    # A cortical shell: the path is longest just inside the rim.
    d = np.abs(distance)
    rim = np.minimum(d * (1.0 / half), 1.0)
    return soft(half - d, edge(px, 0.0022)) * (0.66 + 0.34 * rim * rim)


def ribs(a: Anatomy, parents: Parents, noise: Noise, f: Frame) -> np.ndarray:
    """Twelve pairs of ribs. Each is a tilted loop, seen as half an ellipse: upper limb posterior, lower anterior."""
    n, size = noise, len(f.x)
    out = np.zeros_like(f.x)
    jitter = np.random.default_rng([noise.body_seed, 2]).standard_normal((12, 2, 3)).clip(-2, 2)
    start = 0.088 + 0.006 * n["rib_start"] + 0.4 * (a.apex[0] - 0.108)
    spacing = 0.0545 + 0.0026 * n["rib_spacing"] - 0.10 * (a.apex[0] - 0.108)
    slope = 1.0 + 0.13 * n["rib_slope"] + 0.05 * (parents.age - 55.0) / 30.0
    half = 0.0108 * (1.0 + 0.09 * n["rib_width"]) * (1.08 if parents.sex == "M" else 0.96)
    strength = bone_strength(parents, noise)
    calcified = 0.05 + 0.5 * max(0.0, (parents.age - 45.0) / 45.0) * noise.uniform("cartilage")
    for k in range(12):
        drop = slope * (0.095 + 0.050 * min(k, 4) + 0.010 * max(k - 4, 0))
        for side, sign in enumerate(SIGNS):
            j = jitter[k, side]
            top = start + spacing * k * (0.93 + 0.012 * k) + 0.0035 * j[0]
            loop = drop * (1.0 + 0.05 * j[1])
            centre = top + loop / 2
            radius = float(cage_half_width(a, side, np.array([centre]))[0]) + 0.002
            radius = min(radius, 0.175 + 0.075 * k) if k < 2 else radius
            h = half * (0.85 + 0.05 * min(k, 5) + 0.06 * j[2])
            low, high = sorted((0.0, sign * radius))
            rows, cols = window(noise, size, (low, top), (high, top + loop))
            x, y = f.x[rows, cols], f.y[rows, cols]
            if x.size == 0:
                continue
            u = x * np.float32(sign)
            peak = 0.055 + 0.004 * min(k, 6)  # the loop tops out beside the spine, not over it
            d = ellipse(u, y, peak, centre, radius - peak, loop / 2)
            out_ward = np.clip(u * np.float32(1.0 / radius), 0.0, 1.0)
            posterior = soft(np.float32(centre) - y, 0.12 * loop)
            medial = soft(u - 0.024, 0.008)
            back = _tube(d, h, f.px) * posterior * medial
            tangent = 1.0 + 0.9 * out_ward**8
            shape = back * tangent
            if k < 10:
                reach = soft(u - np.float32((0.52 if k < 7 else 0.74) * radius), 0.035)
                front = _tube(d, h * 1.18, f.px) * (1.0 - posterior)
                cartilage = soft(np.float32(0.52 * radius) - u, 0.02) * soft(u - np.float32(0.16 * radius), 0.03)
                shape = shape + front * (0.62 * reach * tangent + calcified * 0.25 * cartilage * (k < 7))
            elif k >= 10:
                shape = shape * soft(np.float32(0.75 - 0.2 * (k - 10)) - out_ward, 0.03)
            shape = shape * (1.0 - 0.4 * soft(y - 0.70, 0.07))  # scatter veils the abdomen
            out[rows, cols] += shape * np.float32((0.16 + 0.09 * min(k, 2)) * strength)
    return out


def bone_strength(parents: Parents, noise: Noise) -> float:
    """Mineral content: falls with age, faster in women."""
    loss = max(0.0, (parents.age - 45.0) / 50.0) * (0.34 if parents.sex == "F" else 0.22)
    return (1.0 + 0.10 * noise["bone_density"]) * (1.0 - loss)


def spine(parents: Parents, noise: Noise, f: Frame) -> np.ndarray:
    """Vertebral column: bodies, end plates, pedicles and spinous processes; period grows from 14 to 21 mm."""
    rows, cols = window(noise, len(f.x), (-0.08, -0.1), (0.08, 1.1))
    x, y = f.x[rows, cols], f.y[rows, cols]
    bend = np.float32(0.006 * noise["spine_bend"])
    dx = x - bend * np.sin(y * 5.0 + 0.7)
    place = (y + np.float32(0.01 * noise["vertebra"])) / (0.040 + 0.022 * np.clip(y, 0.0, 1.0))
    phase = place - np.floor(place) - 0.5
    height = 0.045 + 0.02 * y
    d_end = (0.5 - np.abs(phase)) * height
    body = soft(0.032 + 0.010 * y + 0.012 * phase * phase - np.abs(dx), edge(f.px, 0.007))
    disc = 1.0 - 0.38 * line(d_end, 0.0045, f.px)
    plate = 0.22 * line(d_end - 0.008, 0.002, f.px)
    pedicle = 0.5 * line(np.abs(dx) - 0.022, 0.0045, f.px) * line((phase + 0.12) * height, 0.006, f.px)
    process = 0.45 * line(dx, 0.0035, f.px) * line((phase - 0.2) * height, 0.008, f.px)
    wings = 0.25 * soft(0.062 - np.abs(dx), 0.008) * line((phase + 0.1) * height, 0.006, f.px)
    out = np.zeros_like(f.x)
    total = body * (disc + plate + pedicle + process) * 0.36 + (1.0 - body) * wings * 0.5
    out[rows, cols] = total * np.float32(bone_strength(parents, noise))
    return out


def clavicles(a: Anatomy, parents: Parents, noise: Noise, f: Frame) -> np.ndarray:
    """S-shaped bars from the manubrium to the acromion; rotation moves both medial ends the same way."""
    n, out = noise, np.zeros_like(f.x)
    for side, sign in enumerate(SIGNS):
        rows, cols = window(noise, len(f.x), *sorted_box(sign * 0.0, 0.02, sign * 0.46, 0.26))
        x, y = f.x[rows, cols], f.y[rows, cols]
        u = x * np.float32(sign)
        inner = 0.030 + sign * a.shift * 1.2
        t = (u - np.float32(inner)) * np.float32(1.0 / (0.40 - inner))
        rise = 0.082 + 0.020 * n["clavicle_slope"] + 0.004 * sign * n["tilt"]
        base = a.apex[side] + 0.088 + 0.014 * n["clavicle_place"]
        yc = np.float32(base) - np.float32(rise) * t + 0.020 * np.sin(np.clip(t, 0, 1) * 6.283 - 0.5)
        slope = -rise / (0.40 - inner)
        d = (y - yc) * np.float32(1.0 / np.hypot(1.0, slope))
        half = 0.0125 + 0.004 * np.clip(np.abs(t - 0.45) * 2.0, 0.0, 1.0)
        ad = np.abs(d) / half
        ends = soft(u - np.float32(inner), edge(f.px, 0.004)) * soft(np.float32(0.405) - u, 0.006)
        shell = soft(half - np.abs(d), edge(f.px, 0.0025)) * (0.6 + 0.4 * np.minimum(ad, 1.0) ** 2)
        out[rows, cols] += shell * ends * np.float32(0.58 * bone_strength(parents, noise))
    return out


def shoulders(a: Anatomy, parents: Parents, noise: Noise, f: Frame) -> np.ndarray:
    """Scapular blades with their borders, glenoids, humeral heads and shafts."""
    n, out = noise, np.zeros_like(f.x)
    strength = bone_strength(parents, noise)
    for side, sign in enumerate(SIGNS):
        wide = a.width[side] + a.wall
        head = (wide + 0.075 + 0.012 * n["shoulder_width"], a.apex[side] + 0.085 + 0.02 * n["shoulder_slope"])
        rows, cols = window(noise, len(f.x), *sorted_box(sign * 0.22, 0.0, sign * 0.75, 0.8))
        x, y = f.x[rows, cols], f.y[rows, cols]
        if x.size == 0:
            continue
        u = x * np.float32(sign)
        ball = ellipse(u, y, head[0], head[1], 0.043, 0.045)
        round_ = soft(ball, edge(f.px, 0.005)) * (0.26 + 0.07 * line(ball - 0.005, 0.005, f.px))
        elbow = (head[0] + 0.20 + 0.05 * n["arm_angle"], 0.82)
        shaft = capsule(u, y, (head[0] + 0.012, head[1] + 0.03), elbow)
        bone = soft(0.021 - shaft, edge(f.px, 0.003)) * (0.24 + 0.16 * np.minimum(shaft / 0.021, 1.0) ** 2)
        # The blade: a triangle between its medial border, its lateral border and the spine of the scapula.
        inner = wide - 0.085 + 0.022 * n["scapula"]
        tip = (inner + 0.035, a.apex[side] + 0.335)
        medial = u - np.float32(inner) - 0.10 * (y - np.float32(a.apex[side]))
        lateral_edge = capsule(u, y, tip, (head[0] - 0.045, head[1] + 0.045))
        lateral = (np.float32(head[0] - 0.045) - u) + (np.float32(head[1] + 0.045) - y) * np.float32(
            (head[0] - 0.045 - tip[0]) / (head[1] + 0.045 - tip[1])
        ) * -1.0
        upper = y - np.float32(head[1] - 0.035) + 0.35 * (u - np.float32(inner))
        blade = np.minimum(np.minimum(medial, lateral * 0.85), np.minimum(upper, np.float32(tip[1]) - y))
        plate = 0.10 * soft(blade, edge(f.px, 0.004)) + 0.26 * line(lateral_edge, 0.0065, f.px)
        ridge = capsule(u, y, (inner + 0.01, head[1] + 0.05), (head[0] - 0.01, head[1] - 0.045))
        cup = line(ellipse(u, y, head[0] - 0.052, head[1] + 0.01, 0.014, 0.035), 0.004, f.px)
        shape = np.maximum(round_, bone * 0.8) + plate + 0.20 * soft(0.011 - ridge, 0.005) + 0.16 * cup
        out[rows, cols] += shape * np.float32(strength)
    return out


def sorted_box(x0: float, y0: float, x1: float, y1: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Rectangle corners (low, high) from any two opposite corners."""
    return (min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))
