"""Add counterfactuals made after preparing, by any generator, to a prepared dataset.

The arrays grow in ``counterfactuals/.<source>.partial``, where a journal notes each finished block of rows with the
checksum of its bytes; a killed run goes on from there. In the end all arrays are put in place together.
"""

import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from densecf.data.finish import file_entry
from densecf.data.layout import IMAGE_DTYPE, META, counterfactual_file, quantise, read_meta
from densecf.data.prepared import PreparedDataset
from densecf.data.row_files import RowFile
from densecf.errors import DataError, DensecfError
from densecf.files import (
    exclusive_lock,
    explained_os_errors,
    read_json,
    replace_file,
    to_jsonable,
    write_json_atomic,
)

_LOCK, _PLAN, _JOURNAL = ".lock", "plan.json", "journal.jsonl"

Blocks = Callable[[int], Iterable[np.ndarray]]
"""From a first row on: (names, rows, S, S) float images in [0, 1], one block after the other."""


def add_counterfactuals(
    dataset: PreparedDataset,
    source: str,
    name: str,
    rows: Iterable[np.ndarray],
    provenance: dict[str, Any],
    *,
    overwrite: bool = False,
) -> PreparedDataset:
    """Store one counterfactual image for every record, whole or not at all; see `write_counterfactuals`.

    Args:
        dataset, source, provenance, overwrite: as there.
        name: the intervention, such as "scanner=other".
        rows: (S, S) float images in [0, 1], one a record, in order; consumed one at a time.
    """
    return write_counterfactuals(
        dataset, source, (name,), lambda _: (image[None, None] for image in rows), provenance, overwrite=overwrite
    )


def write_counterfactuals(
    dataset: PreparedDataset,
    source: str,
    names: Sequence[str],
    blocks: Blocks,
    provenance: dict[str, Any],
    *,
    plan: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> PreparedDataset:
    """Store counterfactuals of every record for several interventions: all of them, or none.

    What is already stored stays readable until the new arrays are whole. The dataset's checksum does not change: it
    speaks of the real data.

    Args:
        dataset: the dataset to add to; stays usable, but does not know of the addition.
        source: a short name for the generator, such as "hvae".
        names: the interventions, such as "scanner=other".
        blocks: gives the images from any row on; must give the same blocks when it is called again.
        provenance: which model, which weights, which settings; the same for all names of a source.
        plan: whatever else decides the images, as JSON values. A killed run goes on when plan, names, provenance
            and dataset are the same, else anew. None: ``blocks`` can only begin at row 0, and nothing is kept.
        overwrite: replace counterfactuals of these names; with another provenance, all of this source.

    Returns:
        The dataset, opened anew; its ``status`` is "generated", or "resumed" after an interruption.

    Raises:
        DataError: a name is taken, the provenance is not that of the names already stored, an image does not
            fit, or there are too few or too many of them.
        DensecfError: the disk is full, or another process adds to this source.
    """
    for name in names:
        counterfactual_file(source, name)
    provenance = to_jsonable(provenance)
    with _described(dataset):
        _without_replaced(dataset, source, names, provenance, overwrite)  # refuse before any work is done
    partial = dataset.path / "counterfactuals" / f".{source}.partial"
    busy = f"{dataset.path}: another process is making the counterfactuals {source}. Wait for it."
    with exclusive_lock(partial / _LOCK, busy):
        arrays = {name: RowFile(partial / f"{name}.npy", len(dataset), dataset.size, IMAGE_DTYPE) for name in names}
        whole_plan = to_jsonable(
            {"dataset": dataset.checksum, "names": list(names), "provenance": provenance, "plan": plan}
        )
        try:
            first = _resume(dataset, source, partial, arrays, whole_plan if plan is not None else None)
            _write_blocks(arrays, blocks(first), first, partial / _JOURNAL, source)
            _put_in_place(dataset, source, arrays, provenance, overwrite)
        except BaseException:
            if plan is None:
                shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(partial, ignore_errors=True)
    added = PreparedDataset.open(dataset.path)
    added.status = "resumed" if first else "generated"
    return added


def _described(dataset: PreparedDataset) -> AbstractContextManager[None]:
    return exclusive_lock(dataset.path / _LOCK, f"{dataset.path}: another process is adding to this dataset.")


def _resume(
    dataset: PreparedDataset, source: str, partial: Path, arrays: dict[str, RowFile], plan: dict[str, Any] | None
) -> int:
    """The first row that is not written yet; 0 with fresh arrays unless an earlier run had the same plan."""
    if plan is not None and _same_plan(partial / _PLAN, plan):
        _take_back(dataset, source, arrays)
        if all(array.is_whole() for array in arrays.values()):
            return _rows_on_disk(partial / _JOURNAL, list(arrays.values()))
    with explained_os_errors(partial):
        for path in partial.iterdir():
            if path.name != _LOCK:
                path.unlink()
    try:
        for array in arrays.values():
            array.create()
        write_json_atomic(partial / _PLAN, plan)
    except DensecfError:  # no room: do not hold on to what little there is
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return 0


def _take_back(dataset: PreparedDataset, source: str, arrays: dict[str, RowFile]) -> None:
    """Arrays that a killed run had put in place, but not yet described, are unfinished again."""
    described = read_meta(dataset.path)["files"]
    for name, array in arrays.items():
        placed = counterfactual_file(source, name)
        if not array.path.exists() and placed not in described and (dataset.path / placed).is_file():
            replace_file(dataset.path / placed, array.path)


def _same_plan(path: Path, plan: dict[str, Any]) -> bool:
    try:
        return read_json(path) == plan
    except DensecfError:
        return False


def _rows_on_disk(journal: Path, arrays: list[RowFile]) -> int:
    """How many rows the journal and the arrays agree on: a power cut may have lost what a kill does not."""
    done = 0
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    for line in lines:
        try:
            entry = json.loads(line)
            first, count, crc = int(entry["row"]), int(entry["rows"]), int(entry["crc"])
        except (ValueError, TypeError, KeyError):  # cut off by the kill
            continue
        if first != done or _crc(array.read(first, count) for array in arrays) != crc:
            continue
        done += count
    return done


def _crc(parts: Iterable[bytes]) -> int:
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


def _write_blocks(
    arrays: dict[str, RowFile], blocks: Iterable[np.ndarray], first: int, journal_path: Path, source: str
) -> None:
    """Write all rows from ``first`` on; each block is in the journal once it is in the arrays."""
    total = next(iter(arrays.values())).rows
    row = first
    # One write a line and no buffer: after a kill the journal holds all blocks but the last.
    with open(journal_path, "ab", buffering=0) as journal:
        for block in blocks if first < total else ():
            count = block.shape[1]
            if row + count <= total:
                stored = [
                    quantise(_checked(images, array, f"{source}/{name}", row))
                    for (name, array), images in zip(arrays.items(), block, strict=True)
                ]
                for array, images in zip(arrays.values(), stored, strict=True):
                    array.write(row, images)
                crc = _crc(images.tobytes() for images in stored)
                with explained_os_errors(journal_path):  # the break in front also ends a line that a kill cut off
                    journal.write(f"\n{json.dumps({'row': row, 'rows': count, 'crc': crc})}".encode())
            row += count
    if row != total:
        names = ", ".join(arrays)
        raise DataError(f"{source}/{names}: {row:,} images for {total:,} records; every record needs one.")


def _put_in_place(
    dataset: PreparedDataset, source: str, arrays: dict[str, RowFile], provenance: Any, overwrite: bool
) -> None:
    """Checksum the arrays, move them to their places and describe them."""
    entries = {name: file_entry(array.path) for name, array in arrays.items()}
    with _described(dataset):
        meta, replaced = _without_replaced(dataset, source, list(arrays), provenance, overwrite)
        if replaced:  # forgotten first: no description ever speaks of another file's content
            write_json_atomic(dataset.path / META, meta)
        for name, array in arrays.items():
            replace_file(array.path, dataset.path / counterfactual_file(source, name))
            meta["counterfactuals"].setdefault(source, {"names": [], "provenance": provenance})["names"].append(name)
            meta["files"][counterfactual_file(source, name)] = entries[name]
        write_json_atomic(dataset.path / META, meta)
        for name in set(replaced) - set(arrays):
            (dataset.path / counterfactual_file(source, name)).unlink(missing_ok=True)


def _without_replaced(
    dataset: PreparedDataset, source: str, names: Sequence[str], provenance: Any, overwrite: bool
) -> tuple[dict[str, Any], list[str]]:
    """The description without what stands in the way of these names, and the names that do."""
    meta = read_meta(dataset.path)
    if meta["checksum"] != dataset.checksum:
        raise DataError(f"{dataset.path}: the prepared dataset was replaced meanwhile. Make the counterfactuals again.")
    stored = meta["counterfactuals"].get(source)
    if stored is None:
        return meta, []
    same_maker = stored["provenance"] == provenance
    replaced = [name for name in stored["names"] if name in names] if same_maker else list(stored["names"])
    if replaced and not overwrite:
        why = "are stored already" if same_maker else "were made by another model or with other settings"
        raise DataError(
            f"{dataset.path}: the counterfactuals {source}/{', '.join(replaced)} {why}. Give the new ones another "
            "source name, or replace those with --overwrite."
        )
    for old in replaced:
        stored["names"].remove(old)
        meta["files"].pop(counterfactual_file(source, old))
    if not stored["names"]:
        del meta["counterfactuals"][source]
    return meta, replaced


def _checked(images: np.ndarray, array: RowFile, what: str, first: int) -> np.ndarray:
    """(n, S, S) images of the right shape and range; an error names the first row that is not."""
    if images.shape[1:] != array.shape[1:]:
        raise DataError(f"{what}, row {first}: shape {images.shape[1:]}, expected {array.shape[1:]}.")
    for offset, image in enumerate(images):
        low, high = float(image.min()), float(image.max())
        if not (low >= -1e-4 and high <= 1 + 1e-4) or math.isnan(low):
            raise DataError(f"{what}, row {first + offset}: values from {low:g} to {high:g}, expected 0 to 1.")
    return images
