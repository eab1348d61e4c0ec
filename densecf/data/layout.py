"""What lies where in a prepared dataset, and how its description is read.

::

    records.csv             row i of the table = row i of the arrays
    images.npy              (n, S, S) uint16, value / 65535 = image in [0, 1]
    masks.npy               (n, S, S) uint8 class indices, 255 where the record has no mask; absent without any mask
    affines.npy             (n, 3, 3) float64, prepared pixel index -> original pixel index
    counterfactuals/<source>/<name>.npy    like images.npy, same gain
    skipped.csv             records that were left out on demand
    meta.json               format, versions, profile, classes, checksums
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Interval, MinLen
from pydantic.types import Strict

from densecf.errors import DataError, DensecfError
from densecf.files import read_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = 2
IMAGE_DTYPE, MASK_DTYPE, AFFINE_DTYPE = "<u2", "|u1", "<f8"
WHITE = 65535
NO_MASK = 255
META, RECORDS, IMAGES, MASKS, AFFINES, SKIPPED = (
    "meta.json",
    "records.csv",
    "images.npy",
    "masks.npy",
    "affines.npy",
    "skipped.csv",
)
TRUTH = "truth"
"""The source of counterfactuals that only a phantom has: the true ones."""
META_KEYS = {
    "format",
    "densecf_version",
    "profile",
    "profile_version",
    "size",
    "num_records",
    "class_names",
    "column_types",
    "counterfactuals",
    "fingerprint",
    "skipped",
    "files",
    "checksum",
}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9=+,._ -]*[A-Za-z0-9=+,._-])?")  # a space may stand inside: "Aurora DR"


_Number = Annotated[int, Strict(), Ge(0)]


@dataclass(frozen=True)
class _Entry:
    bytes: _Number
    sha256: str


@dataclass(frozen=True)
class _Stored:
    names: list[str]


@dataclass(frozen=True)
class _Meta:
    """The types of what is in ``meta.json``."""

    size: Annotated[int, Strict(), Interval(ge=1, le=1 << 14)]
    num_records: Annotated[int, Strict(), Ge(1)]
    class_names: Annotated[list[str], MinLen(1)]
    column_types: dict[str, Literal["str", "float64", "int64", "bool"]]
    counterfactuals: dict[str, _Stored]
    fingerprint: dict[str, Any]
    skipped: _Number
    files: dict[str, _Entry]
    checksum: str
    profile: str | None
    profile_version: Any
    densecf_version: Any


def counterfactual_file(source: str, name: str) -> str:
    """The file of one counterfactual, relative to the dataset.

    Raises:
        DataError: a name that cannot be a file name.
    """
    for part in (source, name):
        if not _NAME.fullmatch(part):
            raise DataError(f"{part!r} cannot name a counterfactual: use letters, digits, = + , . _ - and spaces only.")
    return f"counterfactuals/{source}/{name}.npy"


def overall_checksum(meta: dict[str, Any]) -> str:
    """One checksum for the records, images, masks and affines; counterfactuals have their own."""
    core = sorted((name, entry["sha256"]) for name, entry in meta["files"].items() if "/" not in name)
    described = [core, meta["size"], list(meta["class_names"])]
    return hashlib.sha256(repr(described).encode()).hexdigest()


def quantise(image: np.ndarray) -> np.ndarray:
    """[0, 1] floats to uint16, rounded; real and counterfactual images alike."""
    return np.rint(np.clip(image, 0, 1) * np.float32(WHITE)).astype(IMAGE_DTYPE)


def read_meta(path: Path) -> dict[str, Any]:
    """``meta.json`` of a prepared dataset, checked for version and keys.

    Raises:
        DataError: see `PreparedDataset.open`.
    """
    if not (path / META).is_file():
        partial = path.with_name(path.name + ".partial")
        if not path.exists() and partial.exists():
            raise DataError(
                f"{path}: this dataset was never finished. Run the same 'densecf data prepare' again: it resumes."
            )
        reason = "is not a prepared dataset (it has no meta.json)" if path.exists() else "there is no such folder"
        raise DataError(f"{path}: {reason}. Make one with 'densecf data prepare'.")
    try:
        meta = read_json(path / META, "dataset description")
    except DensecfError as error:
        raise DataError(str(error)) from error
    if not isinstance(meta, dict) or "format" not in meta:
        raise DataError(f"{path / META}: not the description of a prepared dataset.")
    if meta["format"] != FORMAT:
        raise DataError(
            f"{path}: prepared in format {meta['format']} (densecf {meta.get('densecf_version', '?')}), this version "
            f"reads format {FORMAT}. Prepare it again, or use that version of densecf."
        )
    if set(meta) != META_KEYS:
        odd = [f"unknown {key}" for key in sorted(set(meta) - META_KEYS)]
        odd += [f"missing {key}" for key in sorted(META_KEYS - set(meta))]
        raise DataError(f"{path / META}: the keys do not fit ({', '.join(odd)}). Prepare the dataset again.")
    _check_entries(path / META, meta)
    for source, entry in meta["counterfactuals"].items():
        absent = [name for name in entry["names"] if counterfactual_file(source, name) not in meta["files"]]
        if absent:
            raise DataError(f"{path / META}: names counterfactuals without a file: {', '.join(absent)}.")
    return meta


def _check_entries(path: Path, meta: dict[str, Any]) -> None:
    """Raises DataError unless every entry has the type and range that the rest of densecf takes for granted."""
    from pydantic import ValidationError

    try:
        _described().validate_python({name: meta[name] for name in META_KEYS})
        allowed = {RECORDS, IMAGES, MASKS, AFFINES, SKIPPED}
        allowed |= {counterfactual_file(s, n) for s, entry in meta["counterfactuals"].items() for n in entry["names"]}
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)[:5])
        raise DataError(f"{path}: damaged ({found}). Prepare the dataset again.") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    foreign = sorted(set(meta["files"]) - allowed)
    missing = sorted({RECORDS, IMAGES, AFFINES} - set(meta["files"]))
    if foreign or missing:
        raise DataError(
            f"{path}: lists the files {', '.join(foreign) or '-'} that are none of a dataset, and lacks "
            f"{', '.join(missing) or 'none'}. Prepare the dataset again."
        )


@lru_cache(1)
def _described() -> "TypeAdapter":
    from pydantic import TypeAdapter

    return TypeAdapter(_Meta)


def check_length(path: Path, expected: int) -> None:
    try:
        length = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: this part of the prepared dataset is missing. Prepare the dataset again.") from error
    if length != expected:
        raise DataError(f"{path}: {length:,} bytes, expected {expected:,}. Prepare the dataset again.")
