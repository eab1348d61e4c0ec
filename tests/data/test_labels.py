import numpy as np
import pandas as pd
import pytest

from densecf.data.labels import UNKNOWN, read_labels
from densecf.errors import DataError

RECORDS = pd.DataFrame(
    {
        "image": list("abcde"),
        "pneumonia": [1.0, 0.0, np.nan, 0.0, 1.0],
        "flag": [True, False, True, True, False],
        "finding": ["clear", "", "mass", "nodule", "clear"],
        "age": [20.0, 31.5, 40.0, 55.0, 62.0],
        "empty": ["", "unknown", "nan", "", ""],
        "grade": [10, 2, 1, 2, 10],
    }
)


def test_numbers_booleans_and_text_become_classes():
    found = read_labels(RECORDS, "pneumonia")
    assert (found.classes, found.codes.tolist()) == (("0", "1"), [1, 0, UNKNOWN, 0, 1])
    assert read_labels(RECORDS, "flag").codes.tolist() == [1, 0, 1, 1, 0]
    finding = read_labels(RECORDS, "finding")
    assert (finding.classes, finding.codes.tolist()) == (("clear", "mass", "nodule"), [0, UNKNOWN, 1, 2, 0])
    assert read_labels(RECORDS, "grade").classes == ("1", "2", "10")  # as numbers, not as words


def test_classes_of_another_dataset_keep_their_places():
    found = read_labels(RECORDS, "finding", classes=("clear", "mass"))
    assert found.codes.tolist() == [0, UNKNOWN, 1, UNKNOWN, 0]
    assert found.foreign == ("nodule",)


def test_columns_that_are_no_labels():
    with pytest.raises(DataError, match="'cough'; the columns are image, pneumonia"):
        read_labels(RECORDS, "cough")
    with pytest.raises(DataError, match="unknown for all 5 records"):
        read_labels(RECORDS, "empty")
    many = pd.DataFrame({"age": np.linspace(20, 80, 30)})
    with pytest.raises(DataError, match="30 different numbers"):
        read_labels(many, "age", where="cohort")
