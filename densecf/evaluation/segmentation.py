"""Dice, HD95 and average surface distance of one case, and their summary over folds.

The distances are MONAI's; the policy for a structure that the model does not find is ours. MONAI calls
its distance NaN or infinite and leaves it out of the mean, so that a model improves by missing lungs
(https://github.com/Project-MONAI/MONAI/issues/9095). Here such a structure costs DSC 0 and the image
diagonal in HD95 and ASD, and is counted beside them.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from densecf.errors import DataError
from densecf.views.geometry import IGNORE

CASE_METRICS = ("dsc", "hd95", "asd")
SUBSETS = {"nf": 0, "pe": 1}  # no finding, pleural effusion: values of the column pleural_effusion


def foreground(class_names: Sequence[str]) -> tuple[str, ...]:
    """The structures that are measured: every class but the first, which is the background."""
    return tuple(class_names[1:])


def case_columns(class_names: Sequence[str]) -> list[str]:
    """The columns of ``cases.csv`` in order: who the case is, the means, then each structure."""
    each = [f"{name}_{metric}" for name in foreground(class_names) for metric in CASE_METRICS]
    return [
        *("case", "patient_id", "fold", "pleural_effusion"),
        *(*CASE_METRICS, "n_missed", "hd95_mm", "asd_mm"),
        *each,
    ]


def case_metrics(
    prediction: np.ndarray, truth: np.ndarray, class_names: Sequence[str], spacing: float = math.nan
) -> dict[str, float]:
    """Compare one predicted mask with the true one.

    A structure that only one of the two masks holds is missed (or made up): DSC 0, HD95 and ASD equal to
    the image diagonal, ``n_missed`` one higher. A structure that neither holds has nothing to measure:
    NaN, and no part in the means. Pixels whose truth is ``IGNORE`` count as outside the image.
    All measures are symmetric in the two masks.

    Args:
        prediction: (H, W) class indices.
        truth: (H, W) class indices, or 255 (``IGNORE``) where the truth is unknown.
        class_names: the names of the indices; the first is the background.
        spacing: millimetres a pixel (square pixels), NaN when unknown.

    Returns:
        ``dsc`` in percent, ``hd95`` and ``asd`` in pixels (Hausdorff distance at the 95th percentile, the
        larger of the two directions; symmetric average surface distance): means over the structures;
        ``hd95_mm``, ``asd_mm`` in millimetres, NaN without a spacing; ``n_missed``; and
        ``{name}_dsc``, ``{name}_hd95``, ``{name}_asd`` for each structure.

    Raises:
        ValueError: the masks are not two (H, W) arrays of one shape, or the background is the only class.
        DataError: a mask holds an index that has no class name.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.ndim != 2 or prediction.shape != truth.shape:
        raise ValueError(f"expected two (H, W) masks of one shape, got {prediction.shape} and {truth.shape}")
    if not foreground(class_names):
        raise ValueError(f"expected a background and at least one structure, got the classes {list(class_names)}")
    known = truth != IGNORE
    _check_classes("prediction", prediction[known], class_names)
    _check_classes("truth", truth[known], class_names)

    per_structure: dict[str, float] = {}
    table = []
    for index, name in enumerate(foreground(class_names), start=1):
        measured = _structure_metrics((prediction == index) & known, (truth == index) & known)
        table.append(measured)
        per_structure |= {f"{name}_{metric}": value for metric, value in zip(CASE_METRICS, measured[:3], strict=True)}
    dsc, hd95, asd, _ = (_mean(column) for column in zip(*table, strict=True))
    n_missed = sum(missed for *_, missed in table)
    means = {"dsc": dsc, "hd95": hd95, "asd": asd, "n_missed": n_missed}
    return means | {"hd95_mm": hd95 * spacing, "asd_mm": asd * spacing} | per_structure


def summarise(cases: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Summarise cases as the papers do: the mean over folds of the fold means, and the std over folds.

    The standard deviation is the population's (divided by the number of folds), as in Table 2 of the dense
    pretraining paper. A fold without such a case (``dsc_nf``: pleural_effusion 0, ``dsc_pe``: 1) is left out.

    Args:
        cases: one row a case with ``fold``, ``pleural_effusion``, ``dsc``, ``hd95``, ``asd``, ``n_missed`` and
            optionally ``hd95_mm``, ``asd_mm``.

    Returns:
        ``{"dsc", "dsc_nf", "dsc_pe", "hd95", "asd", "n_missed"}``, and ``hd95_mm``, ``asd_mm`` where any spacing is
        known, each ``{"mean": float | None, "std": float | None}`` (None: no such case). ``n_missed`` is
        the number of missed structures a fold, with their ``total``. Ready for JSON.

    Raises:
        DataError: the table is empty or lacks a column.
    """
    missing = [name for name in ("fold", "pleural_effusion", *CASE_METRICS, "n_missed") if name not in cases]
    if missing:
        raise DataError(f"the table of cases lacks the columns {missing}; it has {list(cases.columns)}")
    if cases.empty:
        raise DataError("the table of cases has no row; there is nothing to summarise")
    summary: dict[str, dict[str, Any]] = {"dsc": _over_folds(cases, "dsc")}
    for subset, flag in SUBSETS.items():
        summary[f"dsc_{subset}"] = _over_folds(cases[cases["pleural_effusion"] == flag], "dsc")
    for metric in ("hd95", "asd"):
        summary[metric] = _over_folds(cases, metric)
    missed = cases.groupby("fold")["n_missed"].sum()
    summary["n_missed"] = _mean_std(missed) | {"total": int(missed.sum())}
    for metric in ("hd95_mm", "asd_mm"):
        if metric in cases and cases[metric].notna().any():
            summary[metric] = _over_folds(cases, metric)
    return summary


def _structure_metrics(predicted: np.ndarray, true: np.ndarray) -> tuple[float, float, float, int]:
    """DSC (percent), HD95, ASD (pixels) and 1 if missed, of two (H, W) boolean masks."""
    if not predicted.any() and not true.any():
        return math.nan, math.nan, math.nan, 0
    if not predicted.any() or not true.any():
        diagonal = math.hypot(*true.shape)
        return 0.0, diagonal, diagonal, 1
    import torch  # MONAI takes seconds to import: whoever only reads tables need not wait
    from monai.metrics import compute_dice, get_mask_edges, get_surface_distance

    masks = torch.from_numpy(np.stack([predicted, true]))[:, None, None]
    dice = compute_dice(masks[0], masks[1])
    # One pass for both distances; compute_hausdorff_distance and compute_average_surface_distance take one each.
    edges = get_mask_edges(predicted, true)
    forth, back = get_surface_distance(*edges), get_surface_distance(*edges[::-1])
    hd95 = max(np.percentile(forth, 95), np.percentile(back, 95))
    return 100 * float(dice), float(hd95), float(np.concatenate([forth, back]).mean()), 0


def _check_classes(what: str, indices: np.ndarray, class_names: Sequence[str]) -> None:
    if indices.size and not 0 <= indices.min() <= indices.max() < len(class_names):
        unknown = np.setdiff1d(indices, np.arange(len(class_names)))
        raise DataError(
            f"the {what} holds the class indices {unknown.tolist()}, which have no name among {list(class_names)}"
        )


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _over_folds(cases: pd.DataFrame, metric: str) -> dict[str, float | None]:
    return _mean_std(cases.groupby("fold")[metric].mean())


def _mean_std(fold_values: pd.Series) -> dict[str, float | None]:
    values = fold_values.dropna()
    if values.empty:
        return {"mean": None, "std": None}
    return {"mean": float(values.mean()), "std": float(values.std(ddof=0))}
