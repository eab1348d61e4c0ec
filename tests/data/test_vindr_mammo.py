"""VinDr-Mammo: the join, and both splits against a slow join with pandas."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from densecf.data.readers import read_records
from densecf.errors import DataError
from tests.data.published import vindr_mammo


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return vindr_mammo.build(tmp_path_factory.mktemp("vindr"), 60, images=False)


def as_published(folder) -> pd.DataFrame:
    """The papers' join and split (mammo.py), step by step."""
    frame = pd.read_csv(folder / "breast-level_annotations.csv")
    tags = pd.read_csv(folder / "metadata.csv")
    frame = pd.merge(frame, tags, left_on="image_id", right_on="SOP Instance UID")
    rest, test = train_test_split(frame["Series Instance UID"].astype(object).unique(), test_size=0.3, random_state=33)
    train, val = train_test_split(rest, test_size=0.2, random_state=33)
    part = {**dict.fromkeys(train, "train"), **dict.fromkeys(val, "val"), **dict.fromkeys(test, "test")}
    return frame.assign(part=frame["Series Instance UID"].map(part)).set_index("image_id")


def test_the_papers_images_with_density_scanner_and_exam(dataset):
    records = read_records("vindr-mammo", table=dataset.table).set_index("image")
    tags = pd.read_csv(dataset.table.parent / "metadata.csv").set_index("SOP Instance UID")
    assert set(records.index) == set(dataset.study)
    assert set(records["density"]) == set("ABCD")
    assert set(records["birads"]) == set("12345")
    for name, row in records.iterrows():
        assert row["density"] == dataset.density[name]
        assert row["patient_id"] == dataset.study[name]
        assert row["series"] == dataset.series[name]
        assert row["scanner"] == tags.loc[name, "Manufacturer's Model Name"]
        age = tags.loc[name, "Patient's Age"]
        assert np.isnan(row["age"]) if pd.isna(age) else row["age"] == int(age[:3])
        assert row["view"] in ("CC", "MLO")
        assert row["sex"] == "F"


def test_the_published_split_and_its_leak(dataset):
    with pytest.warns(UserWarning, match="published split has .* patients in more than one part"):
        records = read_records("vindr-mammo", table=dataset.table, split="published")
    expected = as_published(dataset.table.parent)
    assert dict(zip(records["image"], records["split"], strict=True)) == expected["part"].to_dict()
    rows = [(dataset.study[image], expected["part"][image]) for image in dataset.study]
    shared = {a for (a, part), (b, other) in itertools.combinations(rows, 2) if a == b and part != other}
    assert records.attrs["shared_patients"] == len(shared) > 0


def test_images_without_tags_are_named(dataset, tmp_path):
    vindr_mammo.build(tmp_path, 5, images=False)
    path = tmp_path / "metadata.csv"
    lines = path.read_text().splitlines()
    gone = lines.pop(3).split(",")[0]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"line \d+: image_id is '{gone}', expected one .* of metadata\.csv"):
        read_records("vindr-mammo", table=tmp_path / "breast-level_annotations.csv")


def test_ages_may_be_absent(dataset, tmp_path):
    vindr_mammo.build(tmp_path, 10, images=False)
    tags = pd.read_csv(tmp_path / "metadata.csv", dtype=str).drop(columns="Patient's Age")
    tags.to_csv(tmp_path / "metadata.csv", index=False)
    assert read_records("vindr-mammo", table=tmp_path)["age"].isna().all()
