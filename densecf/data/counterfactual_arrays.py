"""Add counterfactuals made after preparing, by any generator, to a prepared dataset."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from densecf.data.finish import file_entry
from densecf.data.layout import IMAGE_DTYPE, META, counterfactual_file, quantise, read_meta
from densecf.data.prepared import PreparedDataset
from densecf.data.row_files import RowFile
from densecf.errors import DataError
from densecf.files import atomic_path, exclusive_lock, to_jsonable, write_json_atomic

_LOCK = ".lock"


def add_counterfactuals(
    dataset: PreparedDataset,
    source: str,
    name: str,
    rows: Iterable[np.ndarray],
    provenance: dict[str, Any],
    *,
    overwrite: bool = False,
) -> PreparedDataset:
    """Store one counterfactual image for every record, whole or not at all.

    Several interventions of one generator are added one after the other under the same ``source``. The
    dataset's checksum does not change: it speaks of the real data.

    Args:
        dataset: the dataset to add to; stays usable, but does not know of the addition.
        source: a short name for the generator, such as "hvae".
        name: the intervention, such as "scanner=other".
        rows: (S, S) float images in [0, 1], one a record, in order; consumed one at a time.
        provenance: which model, which weights, which settings; the same for all names of a source.
        overwrite: replace a counterfactual of this name; with another provenance, all of this source.

    Returns:
        The dataset, opened anew.

    Raises:
        DataError: the name is taken, the provenance is not that of the names already stored, an image
            does not fit, or there are too few or too many of them.
        DensecfError: the disk is full.
    """
    file = counterfactual_file(source, name)
    provenance = to_jsonable(provenance)
    busy = f"{dataset.path}: another process is adding to this dataset."
    with exclusive_lock(dataset.path / _LOCK, busy):
        # What is to be replaced is forgotten first: no description ever speaks of another file's content.
        _forget(dataset, source, name, provenance, overwrite)
    with atomic_path(dataset.path / file) as temporary:
        target = RowFile(temporary, len(dataset), dataset.size, IMAGE_DTYPE)
        target.create()
        count = 0
        for image in rows:
            if count < len(dataset):
                target.write(count, quantise(_checked(image, dataset.size, f"{source}/{name}, row {count}")))
            count += 1
        if count != len(dataset):
            raise DataError(f"{source}/{name}: {count:,} images for {len(dataset):,} records; every record needs one.")
        entry = file_entry(temporary)
    with exclusive_lock(dataset.path / _LOCK, busy):
        meta = _forget(dataset, source, name, provenance, overwrite)  # others may have added to it meanwhile
        meta["counterfactuals"].setdefault(source, {"names": [], "provenance": provenance})["names"].append(name)
        meta["files"][file] = entry
        write_json_atomic(dataset.path / META, meta)
    return PreparedDataset.open(dataset.path)


def _forget(dataset: PreparedDataset, source: str, name: str, provenance: Any, overwrite: bool) -> dict[str, Any]:
    """The description without what stands in the way of this counterfactual; an error without ``overwrite``."""
    meta = read_meta(dataset.path)
    if meta["checksum"] != dataset.checksum:
        raise DataError(f"{dataset.path}: the prepared dataset was replaced meanwhile. Make the counterfactuals again.")
    stored = meta["counterfactuals"].get(source)
    if stored is None:
        return meta
    same_maker = stored["provenance"] == provenance
    doomed = [name] if same_maker and name in stored["names"] else [] if same_maker else list(stored["names"])
    if doomed and not overwrite:
        why = "are stored already" if same_maker else "were made by another model or with other settings"
        raise DataError(
            f"{dataset.path}: the counterfactuals {source}/{', '.join(doomed)} {why}. Give the new ones another "
            "source name, or replace those with --overwrite."
        )
    for old in doomed:
        stored["names"].remove(old)
        meta["files"].pop(counterfactual_file(source, old))
    if not stored["names"]:
        del meta["counterfactuals"][source]
    if doomed:
        write_json_atomic(dataset.path / META, meta)
    return meta


def _checked(image: np.ndarray, size: int, what: str) -> np.ndarray:
    if image.shape != (size, size):
        raise DataError(f"{what}: shape {image.shape}, expected {(size, size)}.")
    low, high = float(image.min()), float(image.max())
    if not (low >= -1e-4 and high <= 1 + 1e-4) or math.isnan(low):
        raise DataError(f"{what}: values from {low:g} to {high:g}, expected 0 to 1.")
    return image
