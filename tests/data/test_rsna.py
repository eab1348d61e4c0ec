"""RSNA Pneumonia: the join, the label, and both splits against a slow join with pandas."""

import importlib.util
import itertools
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from densecf.data.readers import read_records
from densecf.errors import DataError
from tests.data.published import rsna

NIH_JSON = rsna.MAPPING


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return rsna.build(tmp_path_factory.mktemp("rsna"), 60, images=False)


@pytest.fixture
def fresh(tmp_path):
    return rsna.build(tmp_path, 40, images=False)


def as_published(folder) -> pd.DataFrame:
    """The papers' join and split (rsna_generate_full_csv.py and xray.py), step by step in their order."""
    entries = json.loads((folder / NIH_JSON).read_text())
    names = pd.DataFrame({"patientId": [e["subset_img_id"] for e in entries], "i": [e["img_id"] for e in entries]})
    nih = pd.read_csv(folder / "Data_Entry_2017.csv", index_col=False).rename(columns={"Image Index": "i"})
    frame = names.merge(nih).merge(pd.read_csv(folder / "stage_2_train_labels.csv"))
    frame = frame.drop_duplicates("patientId")
    frame = frame[frame["View Position"] == "PA"]
    rest, test = train_test_split(np.arange(len(frame)), test_size=0.3, random_state=33)
    train, val = train_test_split(np.arange(len(rest)), test_size=0.15, random_state=33)
    parts = {"train": frame.iloc[rest].iloc[train], "val": frame.iloc[rest].iloc[val], "test": frame.iloc[test]}
    return pd.concat([part.assign(split=name) for name, part in parts.items()]).set_index("patientId")


def test_the_papers_images_with_their_label_and_the_nih_patient(dataset):
    records = read_records("rsna", table=dataset.table).set_index("image")
    assert set(records.index) == {name for name, view in dataset.view.items() if view == "PA"}
    for name, row in records.iterrows():
        assert row["patient_id"] == dataset.nih_patient[name]
        assert row["pneumonia"] == dataset.pneumonia[name]
        patient = int(row["patient_id"])
        assert row["age"] == 20 + patient % 60
        assert row["sex"] == "MF"[patient % 2]
    assert 0 < records["pneumonia"].mean() < 1
    assert records["patient_id"].nunique() < len(records)


def test_the_published_split_and_its_leak(dataset):
    with pytest.warns(UserWarning, match="published split has .* patients in more than one part"):
        records = read_records("rsna", table=dataset.table, split="published")
    expected = as_published(dataset.table.parent)
    assert dict(zip(records["image"], records["split"], strict=True)) == expected["split"].to_dict()
    rows = list(zip(expected["Patient ID"], expected["split"], strict=True))
    shared = {a for (a, part), (b, other) in itertools.combinations(rows, 2) if a == b and part != other}
    assert records.attrs["shared_patients"] == len(shared) > 0


@pytest.mark.parametrize("written", ["058Y", "58", "0058", "696M", "3028W"])
def test_ages_as_the_releases_write_them(fresh, written):
    path = fresh.table.parent / "Data_Entry_2017.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[4], cells[6] = written, "PA"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]))
    records = read_records("rsna", table=fresh.table).set_index("nih_image")
    assert records.loc[cells[0], "age"] == pytest.approx(58, abs=0.1)
    cells[4] = "414"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]))
    assert np.isnan(read_records("rsna", table=fresh.table).set_index("nih_image").loc[cells[0], "age"])


def test_the_other_tables_may_be_named_and_lie_elsewhere(fresh, tmp_path):
    expected = read_records("rsna", table=fresh.table)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    nih = (tmp_path / "Data_Entry_2017.csv").rename(folder / "Data_Entry_2017_v2020.csv")
    with pytest.raises(DataError, match=r"Data_Entry_2017\.csv is needed and not in .*name it as a further file"):
        read_records("rsna", table=fresh.table)
    pd.testing.assert_frame_equal(read_records("rsna", table=[fresh.table, nih]), expected)
    pd.testing.assert_frame_equal(read_records("rsna", table=[tmp_path, folder]), expected)
    # NIH wrote "Patient Sex" in one of its releases.
    nih.write_text(nih.read_text().replace("Patient Gender", "Patient Sex"))
    pd.testing.assert_frame_equal(read_records("rsna", table=[fresh.table, nih]), expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable JSON file"),
        ("{}", "expected a list of images, found dict"),
        ("[1]", "entry 1: expected an object with subset_img_id and img_id"),
        ('[{"subset_img_id": "a"}]', "entry 1: expected an object"),
        (
            '[{"subset_img_id": "a", "img_id": "b"}, {"subset_img_id": "a", "img_id": "c"}]',
            "entry 2: a is c, but was b",
        ),
        ('[{"subset_img_id": "a", "img_id": "b"}]', r"line 2: patientId is .* expected one that is a subset_img_id in"),
    ],
)
def test_a_mapping_that_is_none(fresh, content, message):
    (fresh.table.parent / NIH_JSON).write_text(content)
    with pytest.raises(DataError, match=message):
        read_records("rsna", table=fresh.table)


def test_boxes_of_one_image_must_agree(fresh):
    lines = fresh.table.read_text().splitlines()
    name = lines[1].split(",")[0]
    target = lines[1].split(",")[-1]
    fresh.table.write_text("\n".join([*lines, f"{name},,,,,{1 - int(target)}"]))
    with pytest.raises(DataError, match=rf"line {len(lines) + 1}: Target of {name} is .*, but not on line 2"):
        read_records("rsna", table=fresh.table)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The real labels and NIH table, which torchxrayvision ships. The mapping, which it does not ship, is made up: each
    image leads to another NIH image of the same view."""
    found = importlib.util.find_spec("torchxrayvision")
    if found is None or found.origin is None:
        pytest.skip("torchxrayvision is not installed; it ships the real tables")
    tables = Path(found.origin).parent / "data"
    folder = tmp_path_factory.mktemp("real")
    with zipfile.ZipFile(tables / "kaggle_stage_2_train_labels.csv.zip") as archive:
        archive.extract("stage_2_train_labels.csv", folder)
    shutil.copy(tables / "Data_Entry_2017_v2020.csv.gz", folder)
    headers = pd.read_csv(tables / "kaggle_stage_2_train_images_dicom_headers.csv.gz")
    nih = pd.read_csv(tables / "Data_Entry_2017_v2020.csv.gz")
    free = {view: iter(part["Image Index"]) for view, part in nih.groupby("View Position")}
    pairs = zip(headers["PatientID"], headers["ViewPosition"], strict=True)
    entries = [{"subset_img_id": name, "img_id": next(free[view])} for name, view in pairs]
    (folder / NIH_JSON).write_text(json.dumps(entries))
    return folder / "stage_2_train_labels.csv"


def test_the_real_labels_give_the_published_counts(real):
    with pytest.warns(UserWarning, match="published split has"):
        records = read_records("rsna", table=real, split="published")
    assert records["split"].value_counts().to_dict() == {"train": 8633, "test": 4354, "val": 1524}  # the paper, table 1
    assert records["pneumonia"].isin([0, 1]).all()
    by_patient = read_records("rsna", table=real)
    assert len(by_patient) == 14511
    assert (by_patient.groupby("patient_id")["split"].nunique() == 1).all()
