"""Stored counterfactuals: on the same scale as the real images, different from them and from one another."""

import numpy as np
import pandas as pd

from densecf.data.checks.findings import EXAMPLES, Finding, Grade, Result, Table, named
from densecf.data.checks.measure import Measures

SHIFTED = 0.1  # of the median of the images' 1st or 99th percentiles


def check_counterfactuals(records: pd.DataFrame, measures: Measures) -> Result:
    """How far each kind of counterfactual is from the real images, and which are copies or constant."""
    result = Result()
    if not measures.counterfactuals:
        return result
    names = named(records)
    rows = []
    for i, name in enumerate(measures.counterfactuals):
        change, levels = measures.cf_change[i], measures.cf_levels[i]
        same = np.array([a == b for a, b in zip(measures.digest, measures.cf_digest[i], strict=True)])
        constant = (levels[:, 0] == levels[:, -1]) & ~measures.constant
        typical = np.median(levels, axis=0)
        middle, far = np.percentile(change, [50, 99])
        extremes = (float(typical[1]), float(typical[3]))
        rows.append((name, float(middle), float(far), int(same.sum()), int(constant.sum()), *extremes))
        result.add(
            "error",
            "counterfactuals",
            "constant",
            f"images have a constant counterfactual {name}. Generate it again.",
            np.flatnonzero(constant),
            names,
        )
        _check_copies(result, name, same, names)
        _check_alike(result, name, measures.cf_digest[i], measures.digest, constant, names)
        shift = (typical - np.median(measures.levels, axis=0))[[1, 3]]
        if np.abs(shift).max() > SHIFTED:
            low, high = shift
            message = (
                f"{name}: the grey levels are not those of the real images (1st percentile {low:+.2f}, 99th "
                f"{high:+.2f} in the median image): another gain, or an effect that large."
            )
            result.findings.append(Finding("warning", "counterfactuals", message, len(records)))
    real = np.median(measures.levels, axis=0)
    columns = ("stored", "median change", "99th percentile", "copies", "constant", "dark (1 %)", "bright (99 %)")
    note = (
        "Change: mean absolute difference to the real image. Dark and bright: percentiles of the median image; those "
        f"of the real images are {real[1]:.3f} and {real[3]:.3f}."
    )
    result.tables.append(Table("Stored counterfactuals", columns, tuple(rows), note))
    return result


def _check_copies(result: Result, name: str, same: np.ndarray, names: list[str]) -> None:
    if same.all():
        message = f"images, so all, are their own counterfactual {name}: copies. Generate them again."
        result.add("error", "counterfactuals", "copy", message, np.flatnonzero(same), names)
    else:
        # To "set" what a record is anyway may well change nothing; another value must change something.
        grade: Grade = "warning" if "=other" in name else "note"
        message = f"images are their own counterfactual {name}: exact copies."
        result.add(grade, "counterfactuals", "copy", message, np.flatnonzero(same), names)


def _check_alike(
    result: Result, name: str, digests: list[bytes], real: list[bytes], constant: np.ndarray, names: list[str]
) -> None:
    """The same counterfactual for several records, whose real images differ."""
    first: dict[bytes, int] = {}
    pairs = [(first.setdefault(digest, row), row) for row, digest in enumerate(digests) if not constant[row]]
    again = [(one, row) for one, row in pairs if real[one] != real[row]]
    if again:
        examples = tuple(f"{names[one]} and {names[row]}" for one, row in again[:EXAMPLES])
        message = f"images have the counterfactual {name} of another one."
        grade: Grade = "error" if len(again) > len(digests) / 2 else "warning"
        rows = tuple(row for _, row in again)
        result.findings.append(Finding(grade, "counterfactuals", message, len(again), examples, rows, "same"))
