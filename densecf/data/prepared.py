"""The prepared dataset: a folder that every later step reads, and nothing else (`densecf.data.layout`)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from densecf.data.layout import (
    AFFINE_DTYPE,
    AFFINES,
    IMAGE_DTYPE,
    IMAGES,
    MASK_DTYPE,
    MASKS,
    META,
    RECORDS,
    WHITE,
    check_length,
    counterfactual_file,
    overall_checksum,
    read_meta,
)
from densecf.data.problems import listing
from densecf.data.records import load_records
from densecf.data.row_files import open_array
from densecf.errors import DataError
from densecf.files import sha256_of_file


class PreparedDataset:
    """An opened prepared dataset. Reading is safe from any number of processes; pickling costs little.

    Attributes:
        path: the folder.
        records: the table, see `densecf.data.records`; its index 0..n-1 counts the rows of the arrays.
        class_names: "background" first.
        size: S.
        meta: the content of ``meta.json``.
        checksum: identifies the content (records, images, masks, affines), for provenance.
        images: (n, S, S) uint16 memory map.
        masks: (n, S, S) uint8 memory map, or None.
        affines: (n, 3, 3) float64 memory map, prepared -> original pixel index.
        counterfactuals: source -> names of the stored interventions.
        status: how `densecf.data.prepare.prepare` came by it: "prepared", "resumed" after an interruption,
            or "reused" when it was there already; "generated" or "resumed" after counterfactuals were added;
            "opened" otherwise.
    """

    path: Path
    records: pd.DataFrame
    class_names: tuple[str, ...]
    size: int
    meta: dict[str, Any]
    checksum: str
    images: np.ndarray
    masks: np.ndarray | None
    affines: np.ndarray
    counterfactuals: dict[str, tuple[str, ...]]
    status: str
    _has_mask: np.ndarray

    @classmethod
    def open(cls, path: str | Path) -> "PreparedDataset":
        """Open a folder after quick checks (no checksums: see `verify`).

        Raises:
            DataError: there is none, it is unfinished, of another version, or its parts do not fit together.
        """
        dataset = cls.__new__(cls)
        dataset.path = Path(path)
        dataset.meta = read_meta(dataset.path)
        dataset.status = "opened"
        dataset._open_arrays()
        dataset.records = load_records(dataset.path / RECORDS, dataset.meta["column_types"])
        if len(dataset.records) != dataset.meta["num_records"]:
            raise DataError(
                f"{dataset.path / RECORDS}: {len(dataset.records)} records for {dataset.meta['num_records']} images. "
                "Prepare the dataset again."
            )
        dataset._has_mask = (dataset.records["mask_kind"] != "").to_numpy()
        return dataset

    def _open_arrays(self) -> None:
        self.class_names = tuple(self.meta["class_names"])
        self.size = int(self.meta["size"])
        self.checksum = self.meta["checksum"]
        for name, entry in self.meta["files"].items():
            check_length(self.path / name, entry["bytes"])
        n, size = int(self.meta["num_records"]), self.size
        self.images = open_array(self.path / IMAGES, (n, size, size), IMAGE_DTYPE)
        has_masks = MASKS in self.meta["files"]
        self.masks = open_array(self.path / MASKS, (n, size, size), MASK_DTYPE) if has_masks else None
        self.affines = open_array(self.path / AFFINES, (n, 3, 3), AFFINE_DTYPE)
        self.counterfactuals = {source: tuple(entry["names"]) for source, entry in self.meta["counterfactuals"].items()}
        self._counterfactual_arrays: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"PreparedDataset({str(self.path)!r}, {len(self)} records, {self.size} px)"

    def __getstate__(self) -> dict[str, Any]:
        arrays = {"images", "masks", "affines", "_counterfactual_arrays"}
        return {name: value for name, value in self.__dict__.items() if name not in arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if read_meta(self.path)["checksum"] != self.checksum:
            raise DataError(f"{self.path}: the prepared dataset was replaced while it was in use. Start again.")
        self._open_arrays()

    def image(self, row: int) -> np.ndarray:
        """The image of a row, (S, S) float32 in [0, 1]."""
        return _to_float(self.images[row])

    def mask(self, row: int) -> np.ndarray | None:
        """The class indices of a row, (S, S) uint8; None when the record has no mask."""
        if self.masks is None or not self._has_mask[row]:
            return None
        return np.array(self.masks[row])

    def counterfactual(self, source: str, name: str, row: int) -> np.ndarray:
        """A stored counterfactual of a row, (S, S) float32 in [0, 1].

        Raises:
            DataError: this one is not stored; says which are.
        """
        if name not in self.counterfactuals.get(source, ()):
            stored = listing([f"{s}/{n}" for s, names in self.counterfactuals.items() for n in names])
            raise DataError(
                f"{self.path}: no counterfactual {source}/{name} is stored; stored are: {stored or 'none'}."
            )
        file = counterfactual_file(source, name)
        if file not in self._counterfactual_arrays:
            shape = (len(self), self.size, self.size)
            self._counterfactual_arrays[file] = open_array(self.path / file, shape, IMAGE_DTYPE)
        return _to_float(self._counterfactual_arrays[file][row])

    def verify(self) -> None:
        """Read every file and compare its checksum.

        Raises:
            DataError: names the files that changed since they were written.
        """
        changed = [
            name for name, entry in self.meta["files"].items() if sha256_of_file(self.path / name) != entry["sha256"]
        ]
        if overall_checksum(self.meta) != self.checksum:
            changed.append(META)
        if changed:
            raise DataError(
                f"{self.path}: {', '.join(changed)} changed since the dataset was prepared. "
                "Prepare it again with --overwrite."
            )


def _to_float(stored: np.ndarray) -> np.ndarray:
    return stored.astype(np.float32) / np.float32(WHITE)
