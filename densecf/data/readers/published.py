"""The published datasets: a mapping for each, and what is truly special to it."""

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from densecf.data.csv_table import CsvTable, read_csv_table
from densecf.data.mapped import Mapped, apply_mapping
from densecf.data.mapping import Mapping, builtin_mapping
from densecf.data.problems import listing
from densecf.data.published_split import draw_split
from densecf.data.query import select
from densecf.data.records import shared_patients, validate
from densecf.errors import ConfigError, DataError

SPLIT_CHOICES = ("patient", "published")
RELATED_CHOICES = ("no", "yes", "unknown")


def one_table(tables: Sequence[Path], only: Collection[str] = ()) -> CsvTable:
    """The table of a dataset that has only one; ``only`` as in `densecf.data.csv_table.read_csv_table`.

    Raises:
        DataError: several files, or none; or as `densecf.data.csv_table.read_csv_table`.
    """
    if len(tables) != 1:
        raise DataError(
            f"This dataset has one table; {len(tables)} files are given: {listing(list(map(str, tables)))}."
        )
    return read_csv_table(tables[0], only)


@dataclass(frozen=True)
class PublishedDataset:
    """One dataset. Its columns, filters, files and splits are in ``readers/mappings/<name>.yaml``.

    Attributes:
        name: as in ``densecf data prepare NAME``.
        title: for help texts.
        tables: which files ``--table`` wants, for help texts and messages.
        read: from these files to one table with a row for each image, where there is more to it than reading one
            CSV file; joins happen here. ``lines`` are those of the file that has the images.
        amend: changes what the mapping gave, before it is validated.
        published_split: where the papers' split is not two plain draws: records -> a table with the column
            ``split``, "train", "val", "test", or "" for records that the papers left out; and where the papers
            tested on images that they also trained on, ``published_test``, 1 for those tested on.
        mapping_name: which mapping, if not that of its own name.
        where: records to keep once the split is drawn (`densecf.data.query`), so that two datasets from the same
            tables agree on who is tested on.
    """

    name: str
    title: str
    tables: str
    read: Callable[[Sequence[Path]], CsvTable] | None = None
    amend: Callable[[Mapped], Mapped] | None = None
    published_split: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    mapping_name: str = ""
    where: str = ""

    def mapping(self) -> Mapping:
        """What its columns mean."""
        return builtin_mapping(self.mapping_name or self.name)


@dataclass(frozen=True)
class Reading:
    """Records and where their files are.

    Attributes:
        records: validated, with ``split`` (unless a mapping of the user's says nothing of one).
        mapped: the same rows before validation, for path templates and run lengths.
        mapping: what was applied.
        split: "patient" or "published".
        shared_patients: how many patients have records in several splits; 0 unless ``split`` is "published".
        report: what was left out, and what is odd, for the user.
    """

    records: pd.DataFrame
    mapped: Mapped
    mapping: Mapping
    split: str
    shared_patients: int
    report: list[str]

    @property
    def places(self) -> list[str]:
        """What to call each row in messages."""
        return [f"line {line}" for line in self.mapped.table.lines]

    def take(self, kept: np.ndarray) -> "Reading":
        """The rows where ``kept`` is true."""
        rows = np.flatnonzero(kept)
        table = CsvTable(
            self.mapped.table.frame.iloc[rows].reset_index(drop=True), [self.mapped.table.lines[i] for i in rows]
        )
        mapped = Mapped(self.mapped.records.iloc[rows].reset_index(drop=True), table, self.mapped.report)
        return replace(self, records=self.records.iloc[rows].reset_index(drop=True), mapped=mapped)


def read_dataset(
    dataset: PublishedDataset,
    table: str | Path | Sequence[str | Path],
    *,
    mapping: Mapping | None = None,
    split: str = "patient",
    exclude: str | Path | None = None,
    related_effusion: str = "no",
) -> Reading:
    """Read the tables of a dataset; no image is touched.

    Args:
        dataset: a row of `densecf.data.readers.DATASETS`.
        table: its file or files.
        mapping: instead of the built-in one.
        split: "patient" never divides a patient; "published" is the papers' split, with its leaks, which are
            counted and warned of.
        exclude: CSV of images to leave out (a column ``image``, or only one column), such as those with masks
            drawn by hand. The split is drawn before. With "patient" all images of their patients go.
        related_effusion: what the records become that have a finding in ``related_effusion`` and no effusion:
            "no" effusion, as published, "yes", or "unknown".

    Raises:
        DataError: anything wrong with the tables.
        ConfigError: no such split or choice.
    """
    _check_choice("split", split, SPLIT_CHOICES)
    _check_choice("related_effusion", related_effusion, RELATED_CHOICES)
    tables = [Path(path) for path in ([table] if isinstance(table, str | Path) else table)]
    where = " + ".join(str(path) for path in tables) or dataset.name
    mapping = mapping or dataset.mapping()
    content = one_table(tables, mapping.table_columns()) if dataset.read is None else dataset.read(tables)
    mapped = apply_mapping(mapping, content, where)
    if dataset.amend is not None:
        mapped = dataset.amend(mapped)
    frame, lines = mapped.records, mapped.table.lines
    records = validate(frame, lines, where, split == "published", mapping.titles())
    records = _with_related(records, related_effusion, dataset.name)
    rule = (mapping.published_split if split == "published" else None) or mapping.split
    if split == "published" and dataset.published_split is not None:
        drawn = dataset.published_split(records)
        records[drawn.columns] = drawn
    elif rule is not None:
        records["split"] = draw_split(records, rule, where)
    reading = Reading(records, mapped, mapping, split, 0, list(mapped.report))
    if dataset.where:
        chosen = select(records, dataset.where).to_numpy()
        reading = reading.take(chosen)
        reading.report.append(f"{(~chosen).sum():,} images left out: not {dataset.where}")
        records = reading.records
    if "split" in records and (outside := (records["split"] == "").to_numpy()).any():
        reading = reading.take(~outside)
        reading.report.append(f"{outside.sum():,} images are in no part of the published split")
    if exclude is not None:
        reading = _without(reading, Path(exclude))
    return _leaks_counted(reading, where)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}, expected {' or '.join(choices)}.")


def _with_related(records: pd.DataFrame, choice: str, name: str) -> pd.DataFrame:
    if choice == "no":
        return records
    if "related_effusion" not in records:
        raise ConfigError(f"related_effusion is {choice!r}, but {name} has no column related_effusion.")
    related = (records["related_effusion"] == 1) & (records["pleural_effusion"] != 1)
    records.loc[related, "pleural_effusion"] = 1.0 if choice == "yes" else np.nan
    return records


def _without(reading: Reading, path: Path) -> Reading:
    """Leave out the images that a file lists."""
    frame = read_csv_table(path).frame
    names = [name for name in ("image", "ImageID") if name in frame] or list(frame.columns[:1])
    if len(frame.columns) > 1 and names[0] not in ("image", "ImageID"):
        raise DataError(f"{path}: expected a column image (or only one column); it has {', '.join(frame.columns)}.")
    # A plain list has no header: its first line is an image too.
    listed = {*frame[names[0]], names[0]} - {"image", "ImageID", ""}
    images, patients = reading.records["image"], reading.records["patient_id"]
    chosen = images.isin(listed).to_numpy()
    if not chosen.any():
        raise DataError(
            f"{path}: none of its {len(listed):,} images is in the table (the first: {frame[names[0]].iloc[0]}). "
            "Is this the right list?"
        )
    left_out = chosen if reading.split == "published" else patients.isin(set(patients[chosen])).to_numpy()
    if left_out.all():
        raise DataError(f"{path}: leaves no image.")
    others = int(left_out.sum() - chosen.sum())
    words = f"{int(left_out.sum()):,} images left out: {int(chosen.sum()):,} that {path.name} lists"
    words += f" and {others:,} more of the same patients" if others else ""
    unseen = sorted(listed - set(images) - {names[0]})
    if unseen:
        words += f"; not among the images used, by their filters or by their names: {listing(unseen, 5)}"
    reading.report.append(words)
    return reading.take(~left_out)


def _leaks_counted(reading: Reading, where: str) -> Reading:
    if "split" not in reading.records:
        return reading
    shared = shared_patients(reading.records)
    if "published_test" in reading.records:
        trained_on = reading.records["split"].isin(["train", "val"]) & (reading.records["published_test"] == 1)
        shared = sorted({*shared, *reading.records["patient_id"][trained_on]})
    if not shared:
        return reading
    words = f"the {reading.split} split has {len(shared):,} patients in more than one part: {listing(shared, 5)}"
    if reading.split != "published":
        raise DataError(f"{where}: {words}.")
    warnings.warn(f"{where}: {words}. Scores on its test part are too good.", stacklevel=3)
    return replace(reading, shared_patients=len(shared), report=[*reading.report, words])
