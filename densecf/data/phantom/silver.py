"""Silver masks: what an automatic segmenter would draw, with the score it would be given.

Biased the way public automatic masks are: lung under fluid is cut away, borders wander and are over-smooth, now and
then a leak or a missing part. The score imitates reverse classification accuracy: it follows the true Dice, noisily.
"""

import numpy as np

from densecf.data.phantom.anatomy import Frame, anatomy, frame, lungs
from densecf.data.phantom.effusion import fluid
from densecf.data.phantom.fields import blur, ellipse, lattice
from densecf.data.phantom.rendering import LEFT, RIGHT, masks
from densecf.data.phantom.scm import Noise, Parents

SCORED_AT = 64  # pixels a side at which the Dice behind a quality score is taken


def silver_masks(parents: Parents, noise: Noise, size: int) -> np.ndarray:
    """Automatic lung masks, (size, size) uint8 with the classes of `rendering.masks`."""
    a, f = anatomy(parents, noise), frame(noise, size)
    fields = lungs(a, f)
    pleura = fluid(a, noise, fields, f, parents.pleural_effusion)
    rng = np.random.default_rng([noise.visit_seed, 8])
    wander, ripple = rng.standard_normal((2, 7, 7)), rng.standard_normal((2, 13, 13))
    amplitude = 0.0042 * np.exp(0.35 * noise["silver_jitter"])
    out = np.zeros((size, size), np.uint8)
    for side, label in ((0, RIGHT), (1, LEFT)):
        inside = np.clip(fields.lung[side], -0.08, 0.08)
        if pleura is not None:
            # The segmenter follows the visible border, and guesses a little way into the fluid.
            inside = np.minimum(inside, np.float32(0.006 + 0.008 * noise["silver_fluid"]) - pleura.depth[side])
        inside = blur(inside, 0.006 + 0.004 * abs(noise["silver_smooth"]))
        drift = amplitude * (2.2 * lattice(wander[side], size) + 1.5 * lattice(ripple[side], size))
        inside = inside + drift - 0.002 + 0.0025 * noise["silver_bias"]
        inside = _defect(inside, a.apex[side], a.dome[side], side, noise, f)
        out[inside > 0] = label
    return out


def _defect(inside: np.ndarray, apex: float, dome: float, side: int, noise: Noise, f: Frame) -> np.ndarray:
    # One lung in nine has a gross fault: the base or the apex is missing, or the mask leaks out of the lung.
    u = noise.uniform("silver_defect")
    if u > 0.22 or (noise["silver_defect_side"] > 0) != bool(side):
        return inside
    size = 0.10 + 0.22 * noise.uniform("silver_defect_size")
    if u < 0.09:
        return np.minimum(inside, np.float32(dome + 0.06 - size * (dome - apex)) - f.y)
    if u < 0.13:
        return np.minimum(inside, f.y - np.float32(apex + size * (dome - apex)))
    sign = 1.0 if side else -1.0
    place = (0.17, dome + 0.04) if u < 0.18 else (0.36, 0.40)
    leak = ellipse(f.x * np.float32(sign), f.y, place[0], place[1], 0.5 * size, 0.35 * size)
    return np.maximum(inside, leak)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Mean Dice of the two lungs of two class-index masks of one shape."""
    scores = []
    for label in (LEFT, RIGHT):
        x, y = a == label, b == label
        scores.append(2.0 * float((x & y).sum()) / max(float(x.sum() + y.sum()), 1.0))
    return float(np.mean(scores))


def mask_quality(parents: Parents, noise: Noise) -> float:
    """Estimated quality in [0, 1] of the silver mask: its Dice with the truth, read by a judge who is noisy and
    lenient (one who has not seen what the fluid hides)."""
    true = dice(silver_masks(parents, noise, SCORED_AT), masks(parents, noise, SCORED_AT))
    return float(np.clip(0.95 * true**0.6 + 0.014 * noise["silver_rating"], 0.0, 1.0))
