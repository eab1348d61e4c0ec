"""The last step of preparing: records, affines, checksums and description, then one rename."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import densecf
from densecf.data.encode import Unusable, Written
from densecf.data.layout import (
    AFFINE_DTYPE,
    AFFINES,
    FORMAT,
    META,
    RECORDS,
    SKIPPED,
    counterfactual_file,
    overall_checksum,
)
from densecf.data.prepared import PreparedDataset
from densecf.data.records import column_types, records_to_csv
from densecf.data.row_files import RowFile
from densecf.data.sources import Source
from densecf.files import (
    explained_os_errors,
    replace_directory,
    sha256_of_file,
    sync_to_disk,
    to_jsonable,
    write_json_atomic,
    write_text_atomic,
)


def finish(
    folder: Path,
    out: Path,
    source: Source,
    records: pd.DataFrame,
    fingerprint: dict[str, Any],
    files: dict[str, RowFile],
    done: dict[int, Written],
    unusable: list[Unusable],
) -> None:
    """Complete the dataset whose arrays lie in ``folder`` and rename it to ``out``.

    Can be killed at any moment and called again. Records that are unusable are left out of every part.

    Args:
        folder: where the arrays of `densecf.data.encode.row_files` are.
        out: the final place.
        source: where the data came from.
        records: the validated table.
        fingerprint: what decided the content.
        files: the arrays, by name.
        done: all finished rows.
        unusable: all others.
    """
    rows = sorted(done)
    if unusable:
        folder = _compact(folder.with_name("kept"), files, rows)
        write_text_atomic(folder / SKIPPED, list_of_unusable(unusable))
    kept = records.iloc[rows].reset_index(drop=True)
    kept["pixel_spacing"] = [done[row].pixel_spacing for row in rows]
    write_text_atomic(folder / RECORDS, records_to_csv(kept))
    with explained_os_errors(folder / AFFINES):
        np.save(folder / AFFINES, np.array([done[row].affine for row in rows], dtype=AFFINE_DTYPE))
    names = [*files, RECORDS, AFFINES, *([SKIPPED] if unusable else [])]
    profile, version = fingerprint["source"].get("profile") or (None, None)
    meta = {
        "format": FORMAT,
        "densecf_version": densecf.__version__,
        "profile": profile,
        "profile_version": version,
        "size": next(iter(files.values())).size,
        "num_records": len(rows),
        "class_names": list(source.class_names),
        "column_types": column_types(kept),
        "counterfactuals": _counterfactuals(source, fingerprint),
        "fingerprint": fingerprint,
        "skipped": len(unusable),
        "files": {name: file_entry(folder / name) for name in names},
    }
    meta["checksum"] = overall_checksum(meta)
    write_json_atomic(folder / META, meta)
    PreparedDataset.open(folder)  # nothing that does not open is put in place
    replace_directory(folder, out)


def file_entry(path: Path) -> dict[str, Any]:
    """What ``meta.json`` says of a file; its content is on the disk afterwards."""
    with explained_os_errors(path):
        sync_to_disk(path)
        return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def list_of_unusable(unusable: list[Unusable]) -> str:
    """The unusable records as CSV: image, reason."""
    table = pd.DataFrame([(bad.image, bad.reason) for bad in unusable], columns=["image", "reason"])
    return table.to_csv(index=False, lineterminator="\n")


def _compact(folder: Path, files: dict[str, RowFile], rows: list[int]) -> Path:
    """Copy the given rows of all arrays to a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, file in files.items():
        target = RowFile(folder / name, len(rows), file.size, file.dtype)
        target.create()
        for position, row in enumerate(rows):
            target.write(position, np.frombuffer(file.read(row), file.dtype))
    return folder


def _counterfactuals(source: Source, fingerprint: dict[str, Any]) -> dict[str, Any]:
    if not source.counterfactual_names:
        return {}
    for name in source.counterfactual_names:
        counterfactual_file(source.counterfactual_source, name)
    provenance = {"made_by": "the dataset's own source", "fingerprint": fingerprint["source"]}
    entry = {"names": list(source.counterfactual_names), "provenance": provenance}
    return {source.counterfactual_source: to_jsonable(entry)}
