"""EMBED open data: a table of images and one of findings; see ``mappings/embed.yaml``.

Five scanners are for training; the sixth, Senographe Essential, is the papers' unseen domain. Both published splits
are drawn here, because neither is two plain draws.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from densecf.data.csv_table import CsvTable
from densecf.data.mapping import builtin_mapping
from densecf.data.problems import Problems
from densecf.data.readers.joining import NamedTable, check_cells, find_file, open_table
from densecf.data.readers.published import PublishedDataset
from densecf.data.records import is_missing
from densecf.errors import DataError

HELD_OUT = "Senographe Essential"
VAL_PATIENTS = 600
_SEED = 33
_METADATA = ("EMBED_OpenData_metadata_reduced.csv", "EMBED_OpenData_metadata.csv")
_CLINICAL = ("EMBED_OpenData_clinical_reduced.csv", "EMBED_OpenData_clinical.csv")
_USED = ("empi_anon", "acc_anon", "anon_dicom_path", "ViewPosition", "SeriesDescription")
_EXAM = ("tissueden", "age_at_study")
_DENSITIES = {"1", "2", "3", "4"}


def read_tables(tables: Sequence[Path]) -> CsvTable:
    """One row an image, in the order of the papers' join, on which the published splits depend: exam after exam as
    in the table of findings, and within an exam first the images that came with a view."""
    images = open_table(find_file(tables, _METADATA), _USED)
    exams = _exams(open_table(find_file(tables, _CLINICAL), ["acc_anon", *_EXAM]))
    images, came_without = _with_view(_with_file(images))
    frame = exams.content.frame
    position = {exam: i for i, exam in enumerate(frame["acc_anon"])}
    at = np.array([position.get(exam, len(position)) for exam in images.content.frame["acc_anon"]], dtype=int)
    order = np.lexsort((came_without, at))
    images, at = images.take(order), at[order]
    cells = {name: [*frame[name], ""] for name in _EXAM}  # images of exams without density take the last one
    images = images.with_columns({name: [cells[name][i] for i in at] for name in _EXAM})
    repeated = images.content.frame["file"].duplicated().to_numpy()
    return images.take(np.flatnonzero(~repeated)).content


def _exams(findings: NamedTable) -> NamedTable:
    """The first finding of each exam that states one of the four densities."""
    density = findings.content.frame["tissueden"]
    stated = findings.take(np.flatnonzero(density.map(_as_integer).isin(_DENSITIES)))
    first = stated.take(np.flatnonzero(~stated.content.frame["acc_anon"].duplicated()))
    check_cells(first, _EXAM, builtin_mapping("embed"))
    return first


def _as_integer(cell: str) -> str:
    return cell.removesuffix(".0")


def _with_file(images: NamedTable) -> NamedTable:
    """The path from ``cohort_1`` or ``cohort_2`` on; before that it is about the owner's server."""
    problems = Problems()
    files = []
    for path, place in zip(images.content.frame["anon_dicom_path"], images.places, strict=True):
        start = path.find("cohort_")
        if start < 0 or path.endswith("/"):
            problems.add(place, f"anon_dicom_path is {path!r}, expected .../cohort_1/PATIENT/EXAM/SERIES/IMAGE.dcm")
        files.append(path[start:])
    problems.raise_if_any(f"{images.path}: rows that cannot be used")
    return images.with_columns({"file": files, "stem": [_stem(file) for file in files]})


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _with_view(images: NamedTable) -> tuple[NamedTable, np.ndarray]:
    """Views that were not entered are in the name of the series, except for RXCCL and LXCCL, which are another view.

    Returns:
        The table with a column ``view``, and for each image whether its view was looked up.
    """
    frame = images.content.frame
    views, looked_up = [], []
    for view, series in zip(frame["ViewPosition"], frame["SeriesDescription"], strict=True):
        exaggerated = series in ("RXCCL", "LXCCL")
        missing = is_missing(view) and not is_missing(series) and not exaggerated
        found = next((name for name in ("CC", "MLO") if name in series), "") if missing else view
        views.append("XCCL" if exaggerated else found)
        looked_up.append(missing)
    return images.with_columns({"view": views}), np.array(looked_up, dtype=bool)


def _patients(records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Patients as they first appear, and the papers' strata for them.

    The strata are the densities of the patients *in the order of their ids*, a slip that the published split keeps.
    """
    first = records.drop_duplicates("patient_id")
    ids = first["patient_id"].to_numpy()
    by_id = sorted(zip(ids, first["density"], strict=True), key=lambda pair: (len(pair[0]), pair[0]))
    return ids, np.array([density for _, density in by_id])


def split_five_scanners(records: pd.DataFrame) -> pd.DataFrame:
    """The papers' split of the five training scanners: a quarter of the patients, of whom 600 are val.

    Returns:
        ``split``, "" for the held-out scanner.

    Raises:
        DataError: so few patients that no test part is left.
    """
    inside = (records["scanner"] != HELD_OUT).to_numpy()
    ids, drawn = _draw_a_quarter(records[inside])
    if len(drawn) <= VAL_PATIENTS:
        raise DataError(
            f"EMBED: the published split puts {VAL_PATIENTS} patients into val, but a quarter of the {len(ids):,} "
            "patients are fewer. It is for the whole table; use split patient."
        )
    part = dict.fromkeys(ids, "train") | dict.fromkeys(drawn, "test") | dict.fromkeys(drawn[:VAL_PATIENTS], "val")
    split = [part[patient] if ok else "" for patient, ok in zip(records["patient_id"], inside, strict=True)]
    return pd.DataFrame({"split": pd.Series(split, dtype="str")})


def split_held_out_scanner(records: pd.DataFrame) -> pd.DataFrame:
    """The papers' split of the held-out scanner: train and val are drawn from all patients, those of test included.

    Returns:
        ``split`` with every image of that scanner in train or val, "" for the others; and ``published_test``, 1 for
        the quarter of its patients that is tested on.

    Raises:
        DataError: too few patients, or none.
    """
    from sklearn.model_selection import train_test_split

    inside = (records["scanner"] == HELD_OUT).to_numpy()
    if not inside.any():
        raise DataError(f"EMBED: no image is from the held-out scanner, {HELD_OUT}.")
    ids, test = _draw_a_quarter(records[inside])
    _, val = train_test_split(ids, test_size=0.10, random_state=_SEED)
    part = dict.fromkeys(ids, "train") | dict.fromkeys(val, "val")
    split = [part[patient] if ok else "" for patient, ok in zip(records["patient_id"], inside, strict=True)]
    tested = records["patient_id"].isin(set(test)) & inside
    return pd.DataFrame({"split": pd.Series(split, dtype="str"), "published_test": tested.astype("float64")})


def _draw_a_quarter(records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """All patients, and a quarter of them."""
    from sklearn.model_selection import train_test_split

    ids, strata = _patients(records)
    try:
        _, drawn = train_test_split(ids, test_size=0.25, random_state=_SEED, stratify=strata)
    except ValueError as error:
        raise DataError(f"EMBED: the published split cannot be drawn from {len(ids):,} patients ({error}).") from error
    return ids, drawn


_TABLES = "EMBED_OpenData_metadata_reduced.csv, with EMBED_OpenData_clinical_reduced.csv beside"
EMBED = PublishedDataset("embed", "EMBED, all six scanners", _TABLES, read_tables, published_split=split_five_scanners)
EMBED_OOD = PublishedDataset(
    "embed-ood",
    f"EMBED, the held-out scanner alone ({HELD_OUT})",
    _TABLES,
    read_tables,
    published_split=split_held_out_scanner,
    mapping_name="embed",
    where=f"scanner={HELD_OUT}",
)
