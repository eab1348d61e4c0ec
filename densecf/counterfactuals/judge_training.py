"""Train the judges of a dataset, or take those that an earlier call trained on the very same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp

from densecf.counterfactuals.judges import judge_key
from densecf.counterfactuals.parents import CATEGORICAL, CONTINUOUS, Parent, Parents, fit_parents
from densecf.counterfactuals.predictors import ParentPredictor, load_predictor, save_predictor, train_predictor
from densecf.counterfactuals.segmenter import load_segmenter, save_segmenter, train_segmenter
from densecf.counterfactuals.short_training import ShortTraining
from densecf.counterfactuals.truth import PhantomTruth
from densecf.data.prepared import PreparedDataset
from densecf.data.records import is_missing
from densecf.errors import CheckpointError

WATCHED = ("scanner", "sex", "pleural_effusion")
"""Attributes that are watched for amplification even when the model does not know them."""
FEWEST_WATCHED, MOST_VALUES = 10, 8
"""They are where each value has so many training images, and there are not more values."""
FEWEST_MASKS = 20
VERSION = 1
"""Raised when the same rows and seed would give other judges."""


def judged_parents(data: PreparedDataset, rows: np.ndarray, known: Mapping[str, Parent]) -> Parents:
    """What the predictor should find: the parents that can be set, and the other attributes worth watching.

    Args:
        data: the prepared dataset.
        rows: training rows; the values are theirs.
        known: the parents that can be set, by name; their kind is kept.

    Raises:
        ConfigError, DataError: a parent is no column of the dataset, or has one value among the training rows.
    """
    records = data.records.iloc[rows]
    entries: list[Parent] = []
    for name, parent in known.items():
        kind = CONTINUOUS if parent.kind == CONTINUOUS else CATEGORICAL
        entries += fit_parents(records, [name], missing="category", kinds={name: kind})[0].entries
    for name in WATCHED:
        if name in known or name not in records:
            continue
        counts = records[name][[not is_missing(cell) for cell in records[name]]].value_counts()
        if 2 <= len(counts) <= MOST_VALUES and counts.min() >= FEWEST_WATCHED:
            entries += fit_parents(records, [name], missing="category", kinds={name: CATEGORICAL})[0].entries
    return Parents(tuple(entries))


def predictor_for(
    data: PreparedDataset,
    rows: np.ndarray,
    parents: Parents,
    folder: Path,
    *,
    seed: int,
    epochs: int | None = None,
    progress: bool = True,
) -> ParentPredictor:
    """The predictor of these parents trained on these rows: from ``folder``, or trained and kept there."""
    what = {"judge": "predictor", "parents": parents.to_dict(), "seed": seed, "epochs": epochs, "version": VERSION}
    path = folder / f"predictor-{judge_key(data, rows, **what)}.safetensors"
    try:
        return load_predictor(path)
    except CheckpointError:  # not there yet, or damaged
        predictor = train_predictor(data, rows, parents, seed=seed, epochs=epochs, progress=progress)
        save_predictor(predictor, path, {"dataset": data.checksum, "images": len(rows), "seed": seed})
        return predictor


def segmenter_for(
    data: PreparedDataset,
    rows: np.ndarray,
    truth: PhantomTruth | None,
    folder: Path,
    *,
    seed: int,
    epochs: int | None = None,
    progress: bool = True,
) -> tuple[smp.Unet | None, str]:
    """The segmenter trained on the masks of these rows, from ``folder`` or trained and kept there; or None, and why.

    On the phantom the masks are the true ones: silver masks cut away what fluid hides, and a segmenter that learnt
    them would find another lung wherever fluid comes or goes.
    """
    mask_of, masked = masks_of(data, truth)
    kept = rows[masked[rows]]
    if len(kept) < FEWEST_MASKS:
        return None, f"{len(kept)} of the training images have masks, and a segmenter needs {FEWEST_MASKS}"
    settings = _segmenter_settings(epochs)
    source = "truth" if truth is not None else "masks"
    what = {"judge": "segmenter", "masks": source, "seed": seed, "settings": repr(settings), "version": VERSION}
    path = folder / f"segmenter-{judge_key(data, kept, **what)}.safetensors"
    try:
        return load_segmenter(path), ""
    except CheckpointError:
        network = train_segmenter(data, kept, mask_of, seed=seed, settings=settings, progress=progress)
        save_segmenter(network, path, data.class_names)
        return network, ""


def masks_of(data: PreparedDataset, truth: PhantomTruth | None) -> tuple[Callable[[int], np.ndarray], np.ndarray]:
    """Row -> mask (the true one on the phantom), and which rows have one (n,) bool."""
    if truth is not None:
        return truth.mask, np.ones(len(data), bool)
    masked = (data.records["mask_kind"] != "").to_numpy() & (data.masks is not None)

    def stored(row: int) -> np.ndarray:
        mask = data.mask(row)
        assert mask is not None
        return mask

    return stored, masked


def without_patients_of(data: PreparedDataset, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The rows whose patients are not among those of the other rows."""
    patients = data.records["patient_id"].to_numpy()
    return rows[~np.isin(patients[rows].astype(str), patients[others].astype(str))]


def _segmenter_settings(epochs: int | None) -> ShortTraining:
    if epochs is not None:
        return ShortTraining(epochs=epochs, batch_size=16, min_steps=1)
    return ShortTraining(epochs=8, batch_size=16)
