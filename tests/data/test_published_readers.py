"""What holds for the reader of every published dataset: splits, and tables that are not as they should be."""

import csv
import functools
import gzip
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from densecf.data.readers import DATASETS, read_records
from densecf.errors import DataError
from tests.data.published.all import CASES, Case

each_dataset = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_table = pytest.mark.parametrize(
    ("case", "name"),
    [(case, name) for case in CASES if case.name != "embed-ood" for name in case.tables],  # the tables of embed
    ids=lambda value: getattr(value, "name", value),
)


def read(case: Case, folder: Path, split: str = "patient") -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*published split has")
        return read_records(case.name, table=folder / case.table, split=split)


def read_or_complain(case: Case, folder: Path) -> pd.DataFrame | str:
    try:
        return read(case, folder)
    except DataError as error:
        return str(error)


def columns_from(case: Case, title: str) -> list[str]:
    """The record columns that are read from a table's column, or from what is joined or made of it."""
    rules = DATASETS[case.name].mapping().columns
    return [name for name, rule in rules.items() if title in rule.table_columns] + ["acc_anon", "image"]


@functools.cache
def rows_of(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write(path: Path, rows: list[list[str]], *, end: str = "\n", encoding: str = "utf-8", quoting: int = 0) -> None:
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, lineterminator=end, quoting=quoting).writerows(rows)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, Path]:
    """Each dataset's tables, of 30 patients, untouched."""
    folders = {}
    for case in CASES:
        folders[case.name] = tmp_path_factory.mktemp(case.name)
        case.build(folders[case.name], 30, images=False)
    return folders


@pytest.fixture
def folder(case, originals, tmp_path) -> Path:
    shutil.copytree(originals[case.name], tmp_path / "data")
    return tmp_path / "data"


def test_every_dataset_is_tested_here():
    assert {case.name for case in CASES} == set(DATASETS)


@each_dataset
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patients=st.integers(25, 80), seed=st.integers(0, 2**16))
def test_no_patient_is_in_two_parts(case, tmp_path_factory, patients, seed):
    folder = tmp_path_factory.mktemp("any")
    case.build(folder, patients, seed=seed, images=False)
    records = read(case, folder)
    part_of: dict[str, str] = {}
    for patient, part in zip(records["patient_id"], records["split"], strict=True):
        assert part_of.setdefault(patient, part) == part
        assert part in ("train", "val", "test")
    assert records.attrs["shared_patients"] == 0
    assert records["image"].is_unique


def test_both_readings_of_embed_agree_on_who_is_tested_on(originals):
    embed, held_out = (read(case, originals[case.name]) for case in CASES if case.name.startswith("embed"))
    assert set(held_out["scanner"]) == {"Senographe Essential"}
    both = embed.merge(held_out, on="image", suffixes=("", "_held_out"))
    assert len(both) == len(held_out) > 0
    assert (both["split"] == both["split_held_out"]).all()


@each_table
@pytest.mark.parametrize(
    "change",
    ["crlf", "bom", "utf-16", "gzip", "quoted", "shuffled columns", "empty lines", "awkward texts", "semicolons"],
)
def test_how_a_table_is_written_does_not_matter(case, name, change, originals, folder):
    path = folder / name
    rows = rows_of(originals[case.name] / name)
    if change == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes()))
    elif change == "shuffled columns":
        order = np.random.default_rng(0).permutation(len(rows[0]))
        if "" in rows[0]:  # nameless: pandas' index at the beginning, NIH's last comma at the end
            fixed = rows[0].index("")
            order = np.r_[order[order < fixed], fixed, order[order > fixed]]
        write(path, [[row[i] for i in order] for row in rows])
    elif change == "empty lines":
        path.write_text("\n" + "\n\n".join(path.read_text().splitlines()) + "\n\n\n")
    elif change == "awkward texts":
        write(
            path,
            [[*row[:1], "a note" if i == 0 else 'he said "no",\nand; left', *row[1:]] for i, row in enumerate(rows)],
        )
    elif change == "semicolons":
        with open(path, "w", newline="") as file:
            csv.writer(file, delimiter=";", lineterminator="\n").writerows(rows)
    else:
        how = {
            "crlf": {"end": "\r\n"},
            "bom": {"encoding": "utf-8-sig"},
            "utf-16": {"encoding": "utf-16"},
            "quoted": {"quoting": csv.QUOTE_ALL},
        }
        write(path, rows, **how[change])  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(read(case, folder), read(case, originals[case.name]))


@each_table
def test_a_missing_column_is_named_or_not_needed(case, name, originals, folder):
    rows = rows_of(originals[case.name] / name)
    expected = read(case, originals[case.name])
    needed = 0
    for column, title in enumerate(rows[0]):
        if not title:
            continue
        write(folder / name, [[*row[:column], *row[column + 1 :]] for row in rows])
        records = read_or_complain(case, folder)
        if isinstance(records, str):
            needed += 1
            assert title in records
            assert Path(name).name in records
        else:
            pd.testing.assert_frame_equal(records.drop(columns="age"), expected.drop(columns="age"))
    assert needed >= 2


CELLS = st.sampled_from(["", "abc", "-1", "2", "nan", "1e999", "'", '"', "[", "['", "Ä\n", "../../etc", "0x1", "1,5"])


@each_table
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_wrong_cell_is_named_with_its_line_or_does_no_harm(case, name, originals, folder, data):
    rows = rows_of(originals[case.name] / name)
    columns = [i for i, title in enumerate(rows[0]) if title]
    row, column = data.draw(st.integers(1, len(rows) - 1)), data.draw(st.sampled_from(columns))
    cell = data.draw(CELLS)
    write(
        folder / name, [[cell if (i, j) == (row, column) else c for j, c in enumerate(r)] for i, r in enumerate(rows)]
    )
    records = read_or_complain(case, folder)
    if isinstance(records, str):
        complained_of = next(table for table in case.tables if Path(table).name in records)
        # A key that is gone from a second table is missed in the first.
        assert (f"line {row + 1}" if complained_of == name else "line ") in records
        assert any(title in records for title in (rows[0][column], *columns_from(case, rows[0][column])))
    else:
        expected = read(case, originals[case.name])
        assert list(records.columns) == list(expected.columns)
        assert abs(len(records) - len(expected)) <= 5  # one exam
        assert set(records["split"]) <= {"train", "val", "test"}
        assert not (records[["image", "patient_id"]] == "").any().any()


@each_table
def test_a_table_that_is_none(case, name, folder):
    path = folder / name
    for content in (b"", b"\n\n", b"image\n", b"\x00\x01\x02", b"\xff\xd8\xff\xe0JFIF", b"a,b\n1,2\n"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=path.name):
            read(case, folder)
    path.unlink()
    with pytest.raises(DataError, match=path.stem.split("2017")[0]):
        read(case, folder)
