"""PadChest and CheXpert from their real tables: the papers' counts to the last digit."""

import importlib.util
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from densecf.data import read_records
from densecf.data.readers.padchest import PADCHEST
from densecf.data.readers.published import Reading, read_dataset


def shipped(name: str) -> Path:
    """A table of the package torchxrayvision, which is not imported: that would take seconds."""
    found = importlib.util.find_spec("torchxrayvision")
    path = Path(found.origin).parent / "data" / name if found and found.origin else None
    if path is None or not path.is_file():
        pytest.skip(f"the package torchxrayvision (extra 'test'), which ships {name}, is not installed")
    return path


PADCHEST_TABLE, CHEXPERT_TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", "chexpert_train.csv.gz"


@pytest.fixture(scope="module")
def padchest() -> pd.DataFrame:
    path = shipped(PADCHEST_TABLE)
    start = time.process_time()
    records = read_records("padchest", table=path)
    records.attrs["seconds"] = time.process_time() - start
    return records


@pytest.fixture(scope="module")
def chexpert() -> pd.DataFrame:
    return read_records("chexpert", table=shipped(CHEXPERT_TABLE))


def counts(values: pd.Series) -> dict:
    return values.value_counts().to_dict()


def test_padchest_counts_are_those_of_the_papers(padchest):
    assert len(padchest) == 90_185
    assert padchest["patient_id"].nunique() == 61_312
    assert counts(padchest["split"]) == {"train": 64_989, "val": 7_203, "test": 17_993}
    assert counts(padchest["scanner"]) == {"Imaging": 54_021, "Philips": 36_164}
    assert (padchest["pleural_effusion"] == 1).sum() == 3_229
    assert (padchest["pneumonia"] == 1).sum() == 3_259


def test_padchest_is_read_in_good_time(padchest):
    warnings.warn(f"PadChest's table read in {padchest.attrs['seconds']:.1f} s of one core", stacklevel=1)
    assert padchest.attrs["seconds"] < 15


def test_padchest_columns(padchest):
    assert set(padchest["sex"]) == {"M", "F"}
    assert padchest["age"].dropna().between(0, 110).all()
    assert padchest["age"].isna().sum() == 3
    assert (padchest["age"].dropna() % 1 == 0).all()
    assert set(padchest["view"]) == {"PA"}
    assert padchest["image"].is_unique
    assert padchest["image"].str.fullmatch(r"[\w-]+\.png").all()
    unlabelled = padchest["pleural_effusion"].isna()
    assert unlabelled.sum() == 65
    assert (unlabelled == padchest["pneumonia"].isna()).all()


def test_padchest_pixels_times_spacing_make_a_detector(padchest):
    known = padchest["pixel_spacing"].notna()
    assert known.sum() == 28_529
    width = (padchest["pixel_spacing"] * padchest["original_columns"])[known]
    assert width.between(100, 440).all()
    assert 340 < width.median() < 440


def test_padchest_patients_have_one_part_each(padchest):
    assert padchest.groupby("patient_id")["split"].nunique().max() == 1


@pytest.fixture(scope="module")
def other_reading() -> Reading:
    """With all that can be switched switched."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of shared patients
        return read_dataset(PADCHEST, shipped(PADCHEST_TABLE), split="published", related_effusion="unknown")


def test_padchest_related_effusions_are_switchable(padchest, other_reading):
    related = (padchest["related_effusion"] == 1) & (padchest["pleural_effusion"] == 0)
    assert related.sum() == 79
    changed = other_reading.records
    assert changed["pleural_effusion"][related].isna().all()
    pd.testing.assert_frame_equal(changed[~related], padchest[~related])


def test_padchest_published_split_is_by_patient_already(padchest, other_reading):
    assert other_reading.shared_patients == 0
    assert (other_reading.records["split"] == padchest["split"]).all()


def test_padchest_report_says_what_is_left_out(other_reading):
    assert other_reading.report == [
        "69,133 rows left out: other views than PA",
        "53 rows left out: children",
        "1,464 rows left out: labelled exclude or suboptimal study",
        "11 rows left out: sex neither M nor F",
        "15 rows left out: files known to be unreadable",
    ]


def test_chexpert_counts_are_those_of_the_papers(chexpert):
    assert len(chexpert) == 27_148
    # The paper prints 2,449 for val, but its own three numbers have to add up to all images.
    assert counts(chexpert["split"]) == {"train": 13_811, "val": 2_499, "test": 10_838}
    assert chexpert.groupby("patient_id")["split"].nunique().max() == 1


def test_chexpert_columns(chexpert):
    assert set(chexpert["pneumonia"]) == {0.0, 1.0}
    assert set(chexpert["pleural_effusion"].dropna()) == {0.0, 1.0}
    assert counts(chexpert["sex"] == "")[True] == 1  # "Unknown"
    assert chexpert["patient_id"].str.fullmatch(r"patient\d{5}").all()
    assert chexpert["image"].str.fullmatch(r"train/patient\d{5}/study\d+/view\d+_frontal\.jpg").all()


def test_chexpert_against_pandas(chexpert):
    """The same rules, written down once more."""
    table = pd.read_csv(shipped(CHEXPERT_TABLE))
    table = table[(table["AP/PA"] == "PA") & (table["Pneumonia"] != -1)].reset_index(drop=True)
    np.testing.assert_array_equal(chexpert["pneumonia"], table["Pneumonia"].fillna(0))
    np.testing.assert_array_equal(chexpert["age"], table["Age"])
    np.testing.assert_array_equal(chexpert["sex"], table["Sex"].str[0].replace("U", ""))
    effusion = table["Pleural Effusion"].fillna(0).replace(-1, np.nan)
    np.testing.assert_array_equal(chexpert["pleural_effusion"], effusion)
