"""Masks: how large each class is and where it lies, sides exchanged, masks that are empty, one-sided or unlike others.

Viewer convention: the patient's right side is on the image's left.
"""

import re

import numpy as np
import pandas as pd

from densecf.data.checks.counts import in_words
from densecf.data.checks.findings import EXAMPLES, Finding, Result, Table, named
from densecf.data.checks.measure import Measures

FAR = 5.0  # robust standard deviations
FEWEST = 10  # below this many masks nothing is called unlike the others
RAGGED = 3.0  # times the usual length of border
_PAIRS = {"left": "right", "l": "r"}
_MAD = 1.4826  # makes the median absolute deviation a standard deviation for normal data


def check_masks(records: pd.DataFrame, measures: Measures, class_names: tuple[str, ...], size: int) -> Result:
    """Tables of areas and places, and masks that cannot be right.

    Args:
        records, measures: of the n records.
        class_names: "background" first.
        size: S, for shares and thresholds.
    """
    result = Result()
    if not measures.has_mask.any():
        return result
    names = named(records)
    result.tables.append(_areas(in_words(records, "scanner"), measures, class_names, size))
    _check_values(result, measures, class_names, names)
    pairs = sides(class_names)
    for left, right in pairs:
        _check_sides(result, measures, class_names, left, right, names)
    _check_outliers(result, measures, class_names, size, names)
    return result


def sides(class_names: tuple[str, ...]) -> list[tuple[int, int]]:
    """Indices of classes that are the left and right one of the same thing: left_lung and right_lung, lung_l and ..."""
    pairs = []
    for index, name in enumerate(class_names):
        words = re.split(r"([^A-Za-z]+)", name)
        for place, word in enumerate(words):
            other = _PAIRS.get(word.lower())
            if other is None:
                continue
            partner = "".join([*words[:place], other, *words[place + 1 :]]).lower()
            pairs += [(index, i) for i, candidate in enumerate(class_names) if candidate.lower() == partner]
    return pairs


def _areas(scanners: pd.Series, measures: Measures, class_names: tuple[str, ...], size: int) -> Table:
    rows = []
    for index, name in enumerate(class_names[1:], start=1):
        for scanner in scanners.value_counts().index:
            chosen = (scanners == scanner).to_numpy() & measures.has_mask
            if not chosen.any():
                continue
            area = 100 * measures.area[chosen, index] / size**2
            centre = measures.centre[chosen, index][area > 0]
            middle = np.median(centre, axis=0) / (size - 1) if len(centre) else (np.nan, np.nan)
            rows.append(
                (
                    name,
                    scanner,
                    len(area),
                    float(area.mean()),
                    float(area.std()),
                    float(area.min()),
                    float(area.max()),
                    int((area == 0).sum()),
                    float(middle[0]),
                    float(middle[1]),
                )
            )
    columns = ("class", "scanner", "masks", "mean area (%)", "std", "smallest", "largest", "without")
    note = "Area in % of the image. Row and column of the centre: median, 0 is the upper and left border, 1 the other."
    return Table("Masks by class and scanner", (*columns, "row", "column"), tuple(rows), note)


def _check_values(result: Result, measures: Measures, class_names: tuple[str, ...], names: list[str]) -> None:
    result.add(
        "error",
        "masks",
        "unknown class",
        f"masks hold values that are no class (the classes are 0 to {len(class_names) - 1}). Prepare again.",
        np.flatnonzero(measures.strange),
        names,
    )
    foreground = measures.area[:, 1:].sum(axis=1)
    empty = measures.has_mask & (foreground == 0) & (measures.strange == 0)
    message = "masks are empty: all background. Leave such a mask out (an empty cell) unless there is nothing to see."
    result.add("warning", "masks", "empty mask", message, np.flatnonzero(empty), names)
    absent = [name for index, name in enumerate(class_names) if not (measures.area[:, index] > 0).any()]
    if absent and (foreground > 0).any():
        message = f"no mask holds any pixel of {', '.join(absent)}."
        result.findings.append(Finding("warning", "masks", message, len(absent)))


def _check_sides(
    result: Result, measures: Measures, class_names: tuple[str, ...], left: int, right: int, names: list[str]
) -> None:
    """The right one must lie on the image's left; where only one is there, nearer to where it usually lies."""
    columns = measures.centre[:, :, 1]
    apart = columns[:, left] - columns[:, right]  # NaN without both
    exchanged = np.flatnonzero(apart < 0)
    both = int(np.isfinite(apart).sum())
    label = f"{class_names[left]} and {class_names[right]}"
    if len(exchanged) > 0.5 * both:
        message = (
            f"{label} are exchanged in {len(exchanged):,} of {both:,} masks, so nearly everywhere: the patient's right "
            "must be on the image's left. Exchange the two class names, or turn the images around, and prepare again."
        )
    else:
        message = (
            f"{label} are exchanged in {len(exchanged):,} of {both:,} masks: the patient's right must be on the "
            "image's left. The mask (or the image) is flipped; mend or remove these and prepare again."
        )
    result.add(
        "error", "sides", "sides exchanged", message, exchanged[np.argsort(apart[exchanged], kind="stable")], names
    )
    area = measures.area
    for index, other in ((left, right), (right, left)):
        alone = np.flatnonzero((area[:, index] > 0) & (area[:, other] == 0))
        message = f"masks have {class_names[index]} but no {class_names[other]}."
        result.add("warning", "sides", f"no {class_names[other]}", message, alone, names)
    usual = [float(np.median(columns[apart > 0, index])) if (apart > 0).any() else np.nan for index in (left, right)]
    for index, own, foreign in ((left, usual[0], usual[1]), (right, usual[1], usual[0])):
        place = np.where(np.isnan(apart), columns[:, index], np.nan)
        astray = np.flatnonzero(np.abs(place - foreign) < np.abs(place - own))
        message = f"masks have {class_names[index]} alone, and where the other one usually lies."
        result.add("error", "sides", "on the wrong side", message, astray, names)


def _check_outliers(
    result: Result, measures: Measures, class_names: tuple[str, ...], size: int, names: list[str]
) -> None:
    masked = np.flatnonzero(measures.has_mask & (measures.area[:, 1:].sum(axis=1) > 0))
    if len(masked) < FEWEST:
        return
    wrong = [
        row
        for finding in result.findings
        if (finding.grade, finding.topic) == ("error", "sides")
        for row in finding.rows
    ]
    side = np.sqrt(measures.area[masked]) / size  # of a square of that area: less skewed than the area
    for index, name in enumerate(class_names[1:], start=1):
        present = measures.area[masked, index] > 0
        if present.sum() < FEWEST:
            continue
        rows, own = masked[present], side[present, index]
        distance = robust_distance(own)
        _add_far(result, name, "large", rows, distance, names, measures.area[:, index], size)
        _add_far(result, name, "small", rows, -distance, names, measures.area[:, index], size)
        for axis, word in ((0, "high or low"), (1, "left or right")):
            away = np.abs(robust_distance(measures.centre[rows, index, axis] / size))
            if axis == 1:  # those on the wrong side are named already
                away = np.where(np.isin(rows, wrong), 0, away)
            _add_far(result, name, word, rows, away, names, measures.area[:, index], size)
    ragged = measures.edges[masked] / np.sqrt(measures.area[masked, 1:].sum(axis=1))
    worst = np.argsort(-ragged, kind="stable")
    torn = masked[worst[ragged[worst] > RAGGED * np.median(ragged)]]
    message = f"masks have {RAGGED:g} times the usual length of border or more: ragged, striped or full of holes."
    result.add("warning", "masks", "ragged mask", message, torn, names)


def robust_distance(values: np.ndarray) -> np.ndarray:
    """(n,) distance to the median in robust standard deviations (at least 1 % of the image's side)."""
    away = values - np.median(values)
    return away / max(_MAD * float(np.median(np.abs(away))), 0.01)


def _add_far(
    result: Result,
    name: str,
    how: str,
    rows: np.ndarray,
    distance: np.ndarray,
    names: list[str],
    area: np.ndarray,
    size: int,
) -> None:
    order = np.argsort(-distance, kind="stable")
    far = order[distance[order] > FAR]
    if not len(far):
        return
    examples = tuple(
        f"{names[rows[i]]}: {100 * area[rows[i]] / size**2:.1f} % of the image, {distance[i]:.1f} deviations away"
        for i in far[:EXAMPLES]
    )
    message = f"masks have {name} unusually {how} (more than {FAR:g} robust standard deviations from the median)."
    short = f"{name} {how}"
    result.findings.append(
        Finding("warning", "masks", message, len(far), examples, tuple(int(rows[i]) for i in far), short)
    )
