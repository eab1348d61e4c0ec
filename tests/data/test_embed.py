"""EMBED: the join of findings and images, the rules of inclusion, and both published splits with their leaks."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from densecf.data.readers import read_records
from densecf.errors import DataError
from tests.data.published import embed

HELD_OUT = "Senographe Essential"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return embed.build(tmp_path_factory.mktemp("embed"), 80, images=False)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Enough patients for the published split, which puts 600 into val."""
    return embed.build(tmp_path_factory.mktemp("embed"), 4500, seed=1, images=False)


def as_published(table) -> pd.DataFrame:
    """The papers' join and inclusion (generate_embed_csv.ipynb and mammo.py), step by step in their order."""
    images = pd.read_csv(table, index_col=0, low_memory=False)
    images.loc[images["SeriesDescription"].isin(["RXCCL", "LXCCL"]), "ViewPosition"] = "XCCL"
    unknown = images["ViewPosition"].isna() & images["SeriesDescription"].notna()
    named = images[unknown].copy()
    named["ViewPosition"] = [
        "CC" if "CC" in text else "MLO" if "MLO" in text else None for text in named["SeriesDescription"]
    ]
    images = pd.concat([images[~unknown], named], ignore_index=True).drop_duplicates("anon_dicom_path")
    images = images[images["spot_mag"].isna() & images["ViewPosition"].isin(["CC", "MLO"])]
    images = images[images["PatientSex"] == "F"]
    exams = pd.read_csv(str(table).replace("metadata", "clinical"), index_col=0)
    exams = exams[exams["tissueden"].isin([1, 2, 3, 4])].drop_duplicates("acc_anon")
    frame = exams[["tissueden", "acc_anon", "age_at_study"]].merge(images, on="acc_anon")
    frame = frame[(frame["FinalImageType"] == "2D") & frame["age_at_study"].notna()]
    frame["held_out"] = frame["ManufacturerModelName"].str.contains("Essential")
    return frame.assign(uid=[path.split("/")[-1].removesuffix(".dcm") for path in frame["anon_dicom_path"]])


def strata(frame: pd.DataFrame) -> np.ndarray:
    return frame.groupby("empi_anon")["tissueden"].unique().apply(lambda values: values[0]).to_numpy()


def uid(image: str) -> str:
    return image.split("/")[-1].removesuffix(".dcm")


def test_the_papers_images_with_scanner_density_and_patient(small):
    records = read_records("embed", table=small.table)
    names = records["image"].map(uid)
    assert set(names) == set(small.density) == set(as_published(small.table)["uid"])
    assert records["scanner"].tolist() == [small.scanner[name] for name in names]
    assert records["density"].tolist() == [small.density[name] for name in names]
    assert records["patient_id"].tolist() == [small.patient[name] for name in names]
    assert records["scanner"].nunique() == 6
    assert set(records["view"]) == {"CC", "MLO"}
    assert records["age"].between(45, 76).all()
    assert records["image"].str.fullmatch(r"cohort_[12]/\d+/[\d.]+/[\d.]+/[\d.]+\.dcm").all()


def test_the_published_split_of_five_scanners(large):
    records = read_records("embed", table=large.table, split="published")
    assert HELD_OUT not in set(records["scanner"])
    frame = as_published(large.table)
    frame = frame[~frame["held_out"]]
    train, drawn = train_test_split(
        frame["empi_anon"].unique(), test_size=0.25, random_state=33, stratify=strata(frame)
    )
    part = {**dict.fromkeys(train, "train"), **dict.fromkeys(drawn[600:], "test"), **dict.fromkeys(drawn[:600], "val")}
    expected = {name: part[patient] for name, patient in zip(frame["uid"], frame["empi_anon"], strict=True)}
    assert dict(zip(records["image"].map(uid), records["split"], strict=True)) == expected
    assert records["patient_id"][records["split"] == "val"].nunique() == 600
    assert records.attrs["shared_patients"] == 0


def test_the_published_split_of_the_held_out_scanner_tests_on_what_it_trains_on(large):
    with pytest.warns(UserWarning, match="published split has .* patients in more than one part"):
        records = read_records("embed-ood", table=large.table, split="published")
    frame = as_published(large.table)
    frame = frame[frame["held_out"]]
    ids = frame["empi_anon"].unique()
    _, test = train_test_split(ids, test_size=0.25, random_state=33, stratify=strata(frame))
    train, val = train_test_split(ids, test_size=0.10, random_state=33)
    names = records["image"].map(uid)
    for column, value, patients in (("split", "train", train), ("split", "val", val), ("published_test", 1, test)):
        expected = {name for name, patient in zip(frame["uid"], frame["empi_anon"], strict=True) if patient in patients}
        assert set(names[records[column] == value]) == expected
    shared = [patient for patient in test if patient in set(train) | set(val)]
    assert records.attrs["shared_patients"] == len(shared) == len(test)  # every patient tested on was trained on


def test_a_small_table_has_no_published_split(small):
    with pytest.raises(DataError, match=r"puts 600 patients into val.*use split patient"):
        read_records("embed", table=small.table, split="published")


def test_the_held_out_scanner_may_be_absent(small, tmp_path):
    facts = embed.build(tmp_path, 30, images=False)
    frame = pd.read_csv(facts.table, index_col=0, dtype=str)
    frame[~frame["ManufacturerModelName"].str.contains("Essential")].to_csv(facts.table)
    assert HELD_OUT not in set(read_records("embed", table=facts.table)["scanner"])
    for split in ("patient", "published"):
        with pytest.raises(DataError, match=HELD_OUT):
            read_records("embed-ood", table=facts.table, split=split)


def test_a_scanner_that_the_papers_do_not_know(tmp_path):
    facts = embed.build(tmp_path, 30, images=False)
    facts.table.write_text(facts.table.read_text().replace("Clearview CSm", "Aspire Cristalle"))
    message = r"line \d+: ManufacturerModelName is 'Aspire Cristalle', expected one of Selenia Dimensions"
    with pytest.raises(DataError, match=message):
        read_records("embed", table=facts.table)


def test_a_path_without_a_cohort(tmp_path):
    facts = embed.build(tmp_path, 30, images=False)
    facts.table.write_text(facts.table.read_text().replace("/cohort_1/", "/somewhere/", 1))
    with pytest.raises(DataError, match=r"line \d+: anon_dicom_path is .*expected \.\.\./cohort_1/PATIENT"):
        read_records("embed", table=facts.table)
