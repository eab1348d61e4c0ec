"""Opening the dataset a command works on; the embedded phantom is made on first use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from densecf.config import PHANTOM
from densecf.data.prepared import PreparedDataset
from densecf.data.query import select
from densecf.errors import DataError

PHANTOM_FOLDER = Path("data/phantom")


def open_dataset(name: str, *, progress: bool = True) -> PreparedDataset:
    """The prepared dataset at a path, or the embedded phantom.

    Raises:
        DataError: nothing usable is there.
    """
    if name != PHANTOM:
        return PreparedDataset.open(Path(name))
    if not PHANTOM_FOLDER.exists():
        parent = PHANTOM_FOLDER.parent if PHANTOM_FOLDER.parent.exists() else Path()
        if not os.access(parent, os.W_OK):
            raise DataError(
                f"{parent.resolve()}: no permission to make the phantom dataset there; run this in a folder that can "
                "be written, or prepare it elsewhere (densecf data prepare phantom --out FOLDER) and give --data FOLDER"
            )
        from densecf.commands.options import PreparePhantomOptions
        from densecf.commands.prepare import prepare_phantom

        print(f"Making the embedded phantom dataset in {PHANTOM_FOLDER} (once)")
        prepare_phantom(PreparePhantomOptions(quiet=not progress))
    return PreparedDataset.open(PHANTOM_FOLDER)


def choose_rows(
    data: PreparedDataset, *, where: str, split: str, exclude: str = "", option: str = "--where"
) -> list[int]:
    """Rows that match ``where``, or those of ``split`` when it is empty, less the patients of ``exclude``.

    Args:
        option: that gave ``where``, for error messages.

    Raises:
        DataError: an expression cannot be used, or nothing is left.
    """
    records = data.records
    chosen = _matching(data, option, where) if where else records["split"] == split
    if exclude:
        patients = set(records.loc[_matching(data, "--exclude", exclude), "patient_id"])
        chosen &= ~records["patient_id"].isin(patients)
    rows = np.flatnonzero(chosen.to_numpy()).tolist()
    if not rows:
        wanted = f"{option} {where}" if where else f"split {split!r}"
        raise DataError(
            f"{data.path}: no record is left for {wanted}" + (f" without --exclude {exclude}" if exclude else "")
        )
    return rows


def row_of(data: PreparedDataset, record: str) -> int:
    """The row of a record, by its image; of the first of the manual split when none is named.

    Raises:
        DataError: no such record.
    """
    names = data.records["image"].tolist()
    if record and record not in names:
        raise DataError(f"{data.path}: has no record {record!r}; the first ones are {', '.join(names[:5])}")
    if record:
        return names.index(record)
    manual = np.flatnonzero(data.records["split"] == "manual") if "split" in data.records else np.array([], int)
    return int(manual[0]) if len(manual) else 0


def _matching(data: PreparedDataset, flag: str, expression: str) -> pd.Series:
    try:
        return select(data.records, expression)
    except DataError as error:
        raise DataError(f"{flag} {expression}: {error} ({data.path})") from None


def with_masks(data: PreparedDataset, rows: list[int]) -> list[int]:
    """The rows that have a mask.

    Raises:
        DataError: when none has.
    """
    kept = [row for row in rows if data.records.iloc[row]["mask_kind"]]
    if not kept:
        raise DataError(f"{data.path}: none of the {len(rows)} chosen records has a mask, and this needs masks")
    return kept
