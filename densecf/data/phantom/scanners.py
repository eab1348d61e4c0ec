"""Three fictional scanners: what each does to the same line integrals.

"Aurora DR" is a flat-panel detector with equalising, edge-enhancing processing, fine grain and a small lead letter at
the patient's left shoulder. "Borealis CR" reads phosphor plates: steep film-like curve, softer, coarse grain with
faint read-out lines, shutters left and right, and a bold white letter with an annotation at the patient's right.
"Cirrus MX" is a mobile unit that processes hard: a flat curve with lifted blacks, slow changes of density taken out and
wide halos put in, blotchy grain and grid stripes, a diaphragm that cuts the corners, and a ringed letter low at the
patient's left. It stands outside what the other two span: they have no lifted black, no halo and no stripe.
"""

from dataclasses import dataclass

import numpy as np

from densecf.data.phantom.anatomy import Anatomy
from densecf.data.phantom.fields import blur, capsule, edge, resample, soft
from densecf.data.phantom.scm import ALL_SCANNERS, Noise
from densecf.data.phantom.tissue import MU

GRAIN = 256  # side of the quantum-noise lattice


@dataclass(frozen=True)
class Scanner:
    """Settings of one machine; lengths in fractions of the field."""

    psf: float  # detector blur
    equalise: float  # share of the slow component that is taken out
    enhance: float  # unsharp-mask gain
    enhance_at: float
    grain: float  # noise of the line integral behind air
    grain_blur: float
    lines: float  # read-out line noise
    steepness: float  # of the display curve
    middle: float
    floor: float
    shutters: float  # mean margin that collimation blackens
    stripes: float = 0.0  # shadows of the anti-scatter grid, in units of the line integral
    diaphragm: float = 0.0  # how far from the corners it begins to cut them


MACHINES = {
    ALL_SCANNERS[0]: Scanner(0.0008, 0.42, 0.55, 0.011, 0.0075, 0.0, 0.0, 3.0, 0.45, 0.02, -0.02),
    ALL_SCANNERS[1]: Scanner(0.0026, 0.00, 0.15, 0.020, 0.010, 0.0026, 0.005, 5.2, 0.54, 0.00, 0.022),
    ALL_SCANNERS[2]: Scanner(0.0016, 0.60, 1.50, 0.040, 0.018, 0.0050, 0.0, 2.0, 0.40, 0.14, -0.02, 0.030, 0.075),
}

Stroke = tuple[tuple[float, float], tuple[float, float]]
LETTERS: dict[str, tuple[Stroke, ...]] = {  # in a box 0..0.6 wide, 0..1 high
    "L": (((0, 0), (0, 1)), ((0, 1), (0.55, 1))),
    "R": (((0, 0), (0, 1)), ((0, 0), (0.42, 0.04)), ((0.42, 0.04), (0.5, 0.25)), ((0.5, 0.25), (0.4, 0.48)),
          ((0.4, 0.48), (0, 0.5)), ((0.25, 0.5), (0.58, 1))),
    "P": (((0, 0), (0, 1)), ((0, 0), (0.5, 0.05)), ((0.5, 0.05), (0.5, 0.47)), ((0.5, 0.47), (0, 0.52))),
    "A": (((0, 1), (0.28, 0)), ((0.28, 0), (0.58, 1)), ((0.12, 0.62), (0.46, 0.62))),
}  # fmt: skip


def _write(
    image: np.ndarray, text: str, at: tuple[float, float], height: float, stroke: float, angle: float
) -> np.ndarray:
    # Ink coverage (size, size) of `text` whose first letter's upper left corner is `at` (x, y).
    size, ink = len(image), np.zeros_like(image)
    centre = (np.arange(size) + 0.5) / size
    pad = height * (0.8 * len(text) + 0.3)
    rows = slice(max(int((at[1] - pad) * size), 0), max(int((at[1] + height + pad) * size), 0))
    cols = slice(max(int((at[0] - pad) * size), 0), max(int((at[0] + 2 * pad) * size), 0))
    dx, dy = centre[cols][None, :] - at[0], centre[rows][:, None] - at[1]
    c, s = np.cos(angle) / height, np.sin(angle) / height
    x, y = (dx * c + dy * s).astype(np.float32), (dy * c - dx * s).astype(np.float32)
    if x.size == 0:
        return ink
    nearest = np.full(x.shape, 9.0, np.float32)
    for k, letter in enumerate(text):
        for a, b in LETTERS[letter]:
            nearest = np.minimum(nearest, capsule(x, y, (a[0] + 0.85 * k, a[1]), (b[0] + 0.85 * k, b[1])))
    ink[rows, cols] = soft((stroke - nearest) * height, edge(1.0 / size, 0.001))
    return ink


def expose(p: np.ndarray, a: Anatomy, noise: Noise, name: str) -> np.ndarray:
    """Line integrals `p` (size, size) to a displayed image in [0, 1], bright where dense.

    The window is set from the patient's thickness, as automatic exposure would without looking at the lungs, so fluid
    does not change the rest of the picture.
    """
    m, size = MACHINES[name], len(p)
    px = 1.0 / size
    primary = np.exp(-p)
    scatter = 0.10 * blur(primary, 0.07) + 0.018
    signal = primary + scatter
    if m.psf > 0.3 * px:
        signal = blur(signal, m.psf)
    q = -np.log(signal)
    # Fewer photons behind dense parts: relative noise grows with the square root of the attenuation factor.
    white = np.random.default_rng([noise.visit_seed, 6]).standard_normal((GRAIN, GRAIN), np.float32)
    rows = np.random.default_rng([noise.visit_seed, 7]).standard_normal((GRAIN, 1), np.float32)
    grain = resample(white, size)
    if m.grain_blur:
        grain = blur(grain, m.grain_blur) * np.float32(1.0 + m.grain_blur * 256 * 1.8)
    grain = grain + m.lines / m.grain * resample(np.repeat(rows, GRAIN, 1), size) * 0.35
    q = q + np.float32(m.grain) * grain * np.exp(0.5 * np.minimum(q, 2.7))
    if m.stripes:
        q = q + np.float32(m.stripes) * _stripes(size)[None, :]
    if m.equalise:
        slow = blur(q, 0.09)
        q = q - np.float32(m.equalise) * (slow - np.float32(0.6 * MU * a.depth))
    if m.enhance:
        q = q + np.float32(m.enhance) * (q - blur(q, m.enhance_at))
    low, high = 0.30, MU * a.depth * (1.0 - 0.10 * (m.equalise > 0)) - 0.25
    level = (q - np.float32(low)) * np.float32(1.0 / (high - low)) + np.float32(0.075 * noise["exposure"])
    gain = m.steepness * (1.0 + 0.11 * noise["contrast"])
    curve = 0.5 * (1.0 + np.tanh((level - m.middle) * (0.5 * gain)))
    ends = 0.5 * (1.0 + np.tanh(np.array([0.0 - m.middle, 1.06 - m.middle]) * (0.5 * gain)))
    image = np.clip((curve - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0) * (1.0 - m.floor) + m.floor
    return _burn_in(image.astype(np.float32), noise, name, m)


def _stripes(size: int) -> np.ndarray:
    # Grid shadows across the image (size,): 23 to the field, so that they show at 64 px too.
    return np.sin((np.arange(size, dtype=np.float32) + 0.5) * np.float32(2.0 * np.pi * 23.0 / size))


def _burn_in(image: np.ndarray, noise: Noise, name: str, m: Scanner) -> np.ndarray:
    size = len(image)
    at = ((np.arange(size) + 0.5) / size).astype(np.float32)
    turn = 0.012 * noise["marker_angle"]
    x = at[None, :] + np.float32(turn) * (at[:, None] - 0.5)
    y = at[:, None] - np.float32(turn) * (at[None, :] - 0.5)
    width = edge(1.0 / size, 0.0015)
    if m.shutters > 0:
        margin = [m.shutters * (1.0 + 0.45 * noise[f"collimation_{s}"]) for s in ("left", "right", "top", "bottom")]
        lit = soft(x - margin[0], width) * soft(1 - margin[1] - x, width) * soft(y - 0.3 * margin[2], width)
        image = image * lit * soft(1.0 - 0.5 * margin[3] - y, width)
    if m.diaphragm:
        corner = 1.0 - m.diaphragm * (1.0 + 0.25 * noise["collimation_top"]) - np.abs(x - 0.5) - np.abs(y - 0.5)
        lit = soft(corner, width)
        image = image * lit + np.float32(m.floor) * (1.0 - lit)
    dx, dy = 0.015 * noise["marker_x"], 0.012 * noise["marker_y"]
    if name == ALL_SCANNERS[2]:
        ring = soft(np.float32(0.007) - np.abs(np.hypot(x - (0.925 + dx), y - (0.845 + dy)) - 0.043), width)
        letter = _write(image, "L", (0.914 + dx, 0.820 + dy), 0.048, 0.13, 0.10 * noise["marker_angle"])
        ink = np.maximum(ring, letter)
    elif name == ALL_SCANNERS[0]:
        ink = 0.85 * _write(image, "L", (0.925 + dx, 0.055 + dy), 0.038, 0.10, 0.10 * noise["marker_angle"])
    else:
        ink = _write(image, "R", (0.085 + dx, 0.060 + dy), 0.062, 0.14, 0.04 * noise["marker_angle"])
        plate = soft(0.024 - np.abs(y - 0.060 - dy), width) * soft(0.048 - np.abs(x - 0.905 - dx), width)
        ink = np.maximum(ink, plate)
        image = np.maximum(image, ink)
        return image - 0.95 * image * _write(image, "PA", (0.878 + dx, 0.042 + dy), 0.034, 0.11, 0.0)
    return np.clip(image + ink * (1.0 - image), 0.0, 1.0)
