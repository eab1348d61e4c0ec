"""Any CSV file with the columns image and patient_id, and masks and parents if there are any."""

from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from densecf.data.csv_table import read_csv_table
from densecf.data.manual_split import assign_split
from densecf.data.problems import Problems
from densecf.data.query import select
from densecf.data.readers.image_source import DEFAULT_CLASSES, ImageSource
from densecf.data.readers.mask_files import FileMasks
from densecf.data.readers.paths import FileState, TableRoot
from densecf.data.records import describe, is_missing, validate
from densecf.errors import DataError
from densecf.files import sha256_of_file

_SUFFIX = "_mask"


class TableSource(ImageSource):
    """Images and masks listed in a CSV file; see `densecf.data.records` for the columns it may have.

    Masks are either one column ``<class>_mask`` for each class (binary images) or one column ``mask``
    (an image of class indices); an empty cell is a record without mask. ``mask_kind`` is "manual"
    where a mask exists, unless the table says otherwise. A column ``pixel_spacing`` (millimetres per
    pixel of the file) goes before what the file itself says.

    Without a column ``split`` the records are divided by patient: those that ``manual`` chooses, with
    all other records of the same patients; else a fifth of the patients who have masks
    (`densecf.data.manual_split.assign_split`).

    Args:
        table: the CSV file.
        root: the folder that paths are relative to and may not leave; by default the table's folder.
        profile: "robust", "breast" or "authors", see `densecf.data.profiles`.
        manual: a condition such as "source=montgomery" (`densecf.data.query`) for the manual split.
        class_names: "background" first; needed where masks are label images of other classes than
            left and right lung, and to choose or order the ``<class>_mask`` columns.
        check_files: report files that are missing now, all at once, rather than at `load`.

    Raises:
        DataError: anything wrong with the table or its paths; all rows are reported at once.
        LeakError: a ``split`` column that divides a patient.
        ConfigError: no such profile.
    """

    def __init__(
        self,
        table: str | Path,
        root: str | Path | None = None,
        profile: str = "robust",
        manual: str = "",
        class_names: Sequence[str] | None = None,
        check_files: bool = True,
    ):
        self.table = Path(table)
        self.manual = manual
        content = read_csv_table(self.table)
        places = [f"line {line}" for line in content.lines]
        folder = TableRoot(self.table.parent if root is None else Path(root))

        def resolve(frame: pd.DataFrame) -> tuple[dict[str, list[Path]], list[FileState]]:
            columns = ["image", *self.mask_columns]
            return folder.resolve_all(frame, columns, places, str(self.table), check_files)

        names, self.mask_columns = _mask_columns(list(content.frame.columns), class_names, self.table)
        try:
            records = validate(content.frame, content.lines, str(self.table))
            _set_mask_kind(records, self.mask_columns, places, self.table)
        except DataError as wrong:
            if "image" not in content.frame:
                raise
            try:  # a table is mended once: its files are looked for all the same
                resolve(content.frame)
            except DataError as also_wrong:
                raise type(wrong)(f"{wrong}\n{also_wrong}") from wrong
            raise
        paths, states = resolve(records)
        _set_split(records, manual, self.table)
        has_mask = (records["mask_kind"] != "").to_numpy()
        files = {
            image: [paths[name][row] for name in self.mask_columns]
            for row, image in enumerate(records["image"])
            if has_mask[row]
        }
        super().__init__(
            records,
            paths["image"],
            states,
            [FileMasks(names, files, self.mask_columns == ["mask"])],
            np.where(has_mask, 0, -1),
            profile,
            {"reader": "table", "table_sha256": sha256_of_file(self.table), "manual": manual},
        )

    def summary(self) -> str:
        """A few lines for a human: classes, and images, patients and masks of each split."""
        classes = ", ".join(self.class_names[1:]) if self.mask_columns else "none (the table has no mask columns)"
        return f"{self.table.name}: profile {self.profile.name}, classes: {classes}\n{describe(self.records)}"


def _set_mask_kind(records: pd.DataFrame, columns: list[str], places: list[str], table: Path) -> None:
    """Set mask_kind, and refuse records with some of their masks only."""
    problems = Problems()
    given = ~records[columns].map(is_missing)
    any_given, all_given = given.any(axis=1), given.all(axis=1)
    for row in np.flatnonzero(any_given & ~all_given):
        absent = [name for name in columns if not given[name].iloc[row]]
        problems.add(places[row], f"{', '.join(absent)} is empty while others are given, expected all or none")
    stated = records["mask_kind"]
    for row in np.flatnonzero(~any_given & (stated != "")):
        problems.add(places[row], f"mask_kind is {stated.iloc[row]!r} but no mask is given")
    problems.raise_if_any(f"{table}: rows that cannot be used")
    records["mask_kind"] = pd.Series(np.where(any_given, stated.where(stated != "", "manual"), ""), dtype="str")


def _set_split(records: pd.DataFrame, manual: str, table: Path) -> None:
    if "split" in records:
        if manual:
            raise DataError(
                f"{table}: the table has a column split, so the condition {manual!r} for the manual split has no "
                "effect. Leave one of them out."
            )
        return
    chosen = select(records, manual) if manual else None
    if chosen is not None and not (records["mask_kind"][chosen] != "").any():
        raise DataError(f"{table}: no record with {manual!r} has a mask to fine-tune on.")
    records["split"] = assign_split(records, chosen)


def _mask_columns(
    columns: list[str], class_names: Sequence[str] | None, table: PurePath
) -> tuple[tuple[str, ...], list[str]]:
    """The class names, and the mask columns in the order of the classes."""
    names = tuple(class_names) if class_names is not None else None
    if names is not None and (len(names) < 2 or names[0] != "background" or len(set(names)) < len(names)):
        raise DataError(f"The classes {', '.join(names)} do not fit: give each once, background first.")
    found = [name.removesuffix(_SUFFIX) for name in columns if name.endswith(_SUFFIX) and name != _SUFFIX]
    if "mask" in columns:
        clash = [name for name in found if names is None or name in names]
        if clash:
            raise DataError(f"{table}: both mask and {clash[0]}{_SUFFIX} are given; leave one kind of column out.")
        return names or DEFAULT_CLASSES, ["mask"]
    if names is None:
        lungs = [name for name in DEFAULT_CLASSES if name in found]
        names = ("background", *lungs, *(name for name in found if name not in lungs))
        return (names, [name + _SUFFIX for name in names[1:]]) if found else (DEFAULT_CLASSES, [])
    absent = [name + _SUFFIX for name in names[1:] if name not in found]
    if found and absent:
        raise DataError(f"{table}: the classes need the columns {', '.join(absent)}; the table has {', '.join(found)}.")
    return names, [name + _SUFFIX for name in names[1:]] if found else []
