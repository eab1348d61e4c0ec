"""RSNA Pneumonia Detection Challenge: boxes become one label an image, and NIH ChestX-ray14 says whose image it is.

The challenge calls every image a patient. Its mapping leads to the name of the NIH image, and the NIH table from there
to the patient, who may have many images in the challenge; see ``mappings/rsna.yaml`` for the rest.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from densecf.data.csv_table import CsvTable
from densecf.data.mapping import builtin_mapping
from densecf.data.problems import Problems
from densecf.data.readers.joining import NamedTable, check_cells, find_file, look_up, open_table, read_ages
from densecf.data.readers.published import PublishedDataset
from densecf.errors import DataError
from densecf.files import parse_json

LABELS = ("stage_2_train_labels.csv",)
NIH_NAMES = ("pneumonia-challenge-dataset-mappings_2018.json",)
NIH = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
_KEYS = ("subset_img_id", "img_id")


def read_tables(tables: Sequence[Path]) -> CsvTable:
    """One row an image, in the order of the mapping, on which the published split depends."""
    labels = open_table(find_file(tables, LABELS), ["patientId", "Target"])
    return read_labels(labels, find_file(tables, NIH_NAMES), find_file(tables, NIH))


def read_labels(labels: NamedTable, nih_names: Path, nih_table: Path) -> CsvTable:
    """Join the three files; see `read_tables`."""
    images = _one_row_an_image(labels)
    names = _read_nih_names(nih_names)
    known = images.content.frame["patientId"].tolist()
    problems = Problems()
    for name, place in zip(known, images.places, strict=True):
        if name not in names:
            problems.add(place, f"patientId is {name!r}, expected one that is a subset_img_id in {nih_names.name}")
    problems.raise_if_any(f"{labels.path}: rows that cannot be used")
    position = {name: i for i, name in enumerate(names)}
    images = images.take(np.argsort([position[name] for name in known], kind="stable"))
    images = images.with_columns({"Image Index": [names[n] for n in images.content.frame["patientId"]]})

    nih = open_table(nih_table, ["Image Index", "Patient ID", "Patient Age", "View Position"])
    if "Patient Sex" in nih.content.frame:  # so some of the releases call it
        nih = nih.with_columns({"Patient Gender": nih.content.frame["Patient Sex"].tolist()})
    nih.require(["Patient Gender"])
    used = nih.content.frame["Image Index"].isin(images.content.frame["Image Index"])
    nih = read_ages(nih.take(np.flatnonzero(used)), "Patient Age")
    columns = ["Patient ID", "Patient Age", "Patient Gender", "View Position"]
    check_cells(nih, columns, builtin_mapping("rsna"))
    return look_up(images, "Image Index", nih, "Image Index", columns).content


def _one_row_an_image(labels: NamedTable) -> NamedTable:
    """The first row of each image; its boxes are further rows.

    Raises:
        DataError: an image is said to show and not to show pneumonia.
    """
    frame = labels.content.frame
    problems = Problems()
    first: dict[str, int] = {}
    for row, (name, target) in enumerate(zip(frame["patientId"], frame["Target"], strict=True)):
        before = first.setdefault(name, row)
        if target != frame["Target"].iloc[before]:
            problems.add(labels.places[row], f"Target of {name} is {target}, but not on {labels.places[before]}")
    problems.raise_if_any(f"{labels.path}: rows that contradict each other")
    return labels.take(np.array(list(first.values()), dtype=int))


def _read_nih_names(path: Path) -> dict[str, str]:
    """Image of the challenge -> image of NIH ChestX-ray14, in the order of the file."""
    try:
        entries = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error}).") from error
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a list of images, found {type(entries).__name__}.")
    problems = Problems()
    names: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        ours, nih = (str(entry.get(k) or "").strip() if isinstance(entry, dict) else "" for k in _KEYS)
        if not ours or not nih:
            problems.add(f"entry {number}", f"expected an object with {' and '.join(_KEYS)}")
        elif names.setdefault(ours, nih) != nih:
            problems.add(f"entry {number}", f"{ours} is {nih}, but was {names[ours]} before")
    problems.raise_if_any(f"{path}: entries that cannot be used")
    return names


RSNA = PublishedDataset(
    "rsna",
    "RSNA Pneumonia",
    "stage_2_train_labels.csv, with pneumonia-challenge-dataset-mappings_2018.json and Data_Entry_2017.csv beside",
    read=read_tables,
)
