"""Grey levels by scanner, and images that cannot be right: constant, nearly so, mostly black, inverted."""

import numpy as np
import pandas as pd

from densecf.data.checks.counts import in_words
from densecf.data.checks.findings import Result, Table, named
from densecf.data.checks.measure import Measures

NARROW = 0.05  # between the 1st and the 99th percentile
MOSTLY_BLACK = 0.75
INVERTED = -0.25  # cosine to the average image; those of one kind of image have 0.1 to 0.95


def check_intensities(records: pd.DataFrame, measures: Measures) -> Result:
    """Measured on prepared images, so on what every later step sees."""
    scanners = in_words(records, "scanner")
    result = Result([_by_scanner(scanners, measures)])
    names = named(records)
    constant = measures.constant
    result.add(
        "error",
        "intensity",
        "constant",
        "images are constant, so nothing can be learned from them. Remove them from the table and prepare again.",
        np.flatnonzero(constant),
        names,
    )
    span = measures.levels[:, 3] - measures.levels[:, 1]
    narrow = np.flatnonzero((span < NARROW) & ~constant)
    result.add(
        "warning",
        "intensity",
        "no contrast",
        f"images have nearly no contrast (1st to 99th percentile below {NARROW:g}): perhaps a marker or a few hot "
        "pixels take the whole range.",
        narrow[np.argsort(span[narrow], kind="stable")],
        names,
    )
    black = np.flatnonzero((measures.black > MOSTLY_BLACK) & ~constant)
    result.add(
        "warning",
        "intensity",
        "mostly black",
        f"images are black in more than {MOSTLY_BLACK:.0%} of their pixels.",
        black[np.argsort(-measures.black[black], kind="stable")],
        names,
    )
    likeness = likeness_to_average(measures.look)
    unlike = np.flatnonzero((likeness < INVERTED) & ~constant)
    result.add(
        "warning",
        "intensity",
        "like a negative",
        "images look like the negative of the average image: inverted (black and white exchanged), or of another "
        "kind than the others.",
        unlike[np.argsort(likeness[unlike], kind="stable")],
        names,
    )
    return result


def likeness_to_average(look: np.ndarray) -> np.ndarray:
    """(n,) cosine between each description (n, d) and their average; 0 where there is none."""
    average = look.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(average)
    return look @ (average / length) if length > 0 else np.zeros(len(look))


def _by_scanner(scanners: pd.Series, measures: Measures) -> Table:
    rows = []
    for scanner, count in scanners.value_counts().items():
        chosen = (scanners == scanner).to_numpy()
        levels = measures.levels[chosen]
        rows.append(
            (
                scanner,
                int(count),
                float(levels[:, 0].min()),
                *(float(value) for value in np.median(levels[:, 1:4], axis=0)),
                float(levels[:, 4].max()),
                float(measures.mean[chosen].mean()),
                float(100 * measures.black[chosen].mean()),
                float(100 * measures.white[chosen].mean()),
                int(measures.constant[chosen].sum()),
            )
        )
    columns = ("scanner", "images", "lowest", "1st percentile", "median", "99th percentile", "highest", "mean")
    return Table(
        "Grey levels by scanner",
        (*columns, "% at 0", "% at 1", "constant"),
        tuple(rows),
        "Of the prepared images, from 0 to 1, padding included. Percentiles are those of the median image.",
    )
