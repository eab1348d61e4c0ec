"""The table: what is read, what is refused, and that all of it is refused at once."""

import gzip
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from densecf.data.csv_table import read_csv_table
from densecf.data.records import column_types, describe, load_records, records_to_csv, validate
from densecf.errors import DataError, LeakError


def write(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


PLAIN = "image,patient_id,note\na.png,007,x\nb.png,008,y\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace("\n", "\n\n").encode(),
        PLAIN.encode("utf-16"),
        gzip.compress(PLAIN.encode()),
        PLAIN.strip().encode(),
    ],
    ids=["plain", "bom", "crlf", "cr", "semicolons", "tabs", "empty lines", "utf-16", "gzip", "no last break"],
)
def test_csv_files_as_people_write_them(tmp_path, content):
    frame = read_csv_table(write(tmp_path, content)).frame
    assert frame.to_dict("list") == {"image": ["a.png", "b.png"], "patient_id": ["007", "008"], "note": ["x", "y"]}


def test_lines_are_those_of_the_file_even_after_a_quoted_break(tmp_path):
    path = write(tmp_path, 'image,patient_id,note\na,1,"two\nlines"\n\nb,2,"a, comma"\n')
    table = read_csv_table(path)
    assert table.lines == [2, 5]
    assert table.frame["note"].tolist() == ["two\nlines", "a, comma"]


def test_columns_that_nobody_asked_for(tmp_path):
    path = write(tmp_path, PLAIN)
    table = read_csv_table(path, only=["note", "image", "other"])
    assert table.frame.to_dict("list") == {"image": ["a.png", "b.png"], "note": ["x", "y"]}
    assert table.left_out == ("patient_id",)
    with pytest.raises(DataError, match="line 2: 4 cells"):
        read_csv_table(write(tmp_path, "image,patient_id,note\na,b,c,d\n"), only=["image"])


def test_an_unnamed_index_column_is_let_through(tmp_path):
    assert list(read_csv_table(write(tmp_path, ",image\n0,a\n")).frame) == ["row", "image"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no rows"),
        (b"image,patient_id\n", "holds no rows"),
        (b"image,image\na,b\n", "more than once: image"),
        (b"image,,patient_id\na,b,c\n", "column 2 of the header has no name"),
        (b"image,patient_id\na,b,c\nd\n", r"(?s)2 problems.*line 2: 3 cells.*line 3: 1 cells"),
        (b"image\n\xff\xfa\n", "not a text file in UTF-8"),
        (b"\x89PNG\0\0\0", "not a text file"),
        (b"\x1f\x8b\x08broken", "damaged or cut off"),
    ],
)
def test_damaged_tables(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_csv_table(write(tmp_path, content))
    assert "t.csv" in str(caught.value)


def test_a_missing_table(tmp_path):
    with pytest.raises(DataError, match="there is no such table"):
        read_csv_table(tmp_path / "none.csv")


def frame(**columns):
    n = len(next(iter(columns.values())))
    base = {"image": [f"{i}.png" for i in range(n)], "patient_id": [f"p{i}" for i in range(n)]}
    return pd.DataFrame(base | columns)


def test_types_are_converted():
    records = validate(
        frame(
            pleural_effusion=["1", "no", "TRUE", "", "0.0"],
            age=["45", "45.5", "", "NaN", "unknown"],
            sex=["m", "Female", "F", "", "NA"],
            scanner=["A", "", "N/A", " B ", "C"],
            extra=["1", "2", "3", "4", "5"],
        )
    )
    assert records["pleural_effusion"].tolist()[:3] == [1, 0, 1]
    assert math.isnan(records["pleural_effusion"][3])
    assert records["age"].dropna().tolist() == [45, 45.5]
    assert records["sex"].tolist() == ["M", "F", "F", "", ""]
    assert records["scanner"].tolist() == ["A", "", "", "B", "C"]
    assert records["extra"].tolist() == ["1", "2", "3", "4", "5"]
    assert records["mask_kind"].tolist() == [""] * 5
    assert records["pixel_spacing"].isna().all()


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("pleural_effusion", "2", "expected 1 or 0"),
        ("pleural_effusion", "-1", "expected 1 or 0"),
        ("pleural_effusion", "maybe", "expected 1 or 0"),
        ("age", "old", "expected years from 0 to 130"),
        ("age", "414", "expected years"),
        ("age", "inf", "expected years"),
        ("age", "-1", "expected years"),
        ("sex", "x", "expected M or F"),
        ("split", "training", "expected train, val, test or manual"),
        ("split", "", "expected train, val, test or manual"),
        ("mask_kind", "gold", "expected manual, silver or empty"),
        ("mask_quality", "good", "expected a number"),
        ("pixel_spacing", "0", "expected millimetres above 0"),
        ("patient_id", "", "expected an identifier"),
        ("patient_id", "nan", "expected an identifier"),
        ("image", "", "expected a path"),
    ],
)
def test_bad_cells_name_line_and_expectation(column, value, expected):
    with pytest.raises(DataError, match=expected) as caught:
        validate(frame(**{column: [value]}), [7], "t.csv")
    assert "t.csv" in str(caught.value)
    assert "line 7" in str(caught.value)


def test_every_bad_row_is_reported_at_once_up_to_twenty():
    with pytest.raises(DataError) as caught:
        validate(frame(age=["x"] * 30, sex=["M"] * 29 + ["?"]), list(range(2, 32)), "t.csv")
    message = str(caught.value)
    assert "(31 problems)" in message
    assert "line 2:" in message
    assert "line 21:" in message
    assert "line 22:" not in message
    assert "and 11 more" in message


def test_duplicate_images():
    with pytest.raises(DataError, match=r"line 4: image 'a' is already on line 2"):
        validate(pd.DataFrame({"image": ["a", "b", "a"], "patient_id": list("xyz")}), [2, 3, 4])


def test_missing_columns_are_named_with_those_there_are():
    with pytest.raises(DataError, match=r"missing: patient_id\. It has: image, PatientID"):
        validate(pd.DataFrame({"image": ["a"], "PatientID": ["b"]}))


def test_a_patient_in_both_splits():
    table = pd.DataFrame({"image": ["a", "b"], "patient_id": ["x", "x"], "split": ["train", "manual"]})
    with pytest.raises(LeakError, match="1 patients have rows in several splits: x"):
        validate(table)


def test_pretrain_is_another_word_for_train():
    table = pd.DataFrame({"image": ["a", "b"], "patient_id": ["x", "y"], "split": ["pretrain", "test"]})
    assert validate(table)["split"].tolist() == ["train", "test"]


text = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\n",;é'), max_size=8).map(str.strip)


@given(
    st.lists(
        st.tuples(
            text, st.floats(allow_infinity=False), st.integers(-(2**60), 2**60), st.booleans(), st.sampled_from("MF")
        ),
        min_size=1,
        max_size=8,
    )
)
def test_records_survive_the_round_trip(tmp_path_factory, rows):
    records = pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(len(rows))],
            "patient_id": [f"00{i}" for i in range(len(rows))],
            "note": pd.Series([row[0] for row in rows], dtype="str"),
            "level": [row[1] for row in rows],
            "count": [row[2] for row in rows],
            "flag": [row[3] for row in rows],
            "sex": [row[4] for row in rows],
        }
    )
    path = tmp_path_factory.mktemp("round") / "records.csv"
    path.write_bytes(records_to_csv(records).encode())
    loaded = load_records(path, column_types(records))
    pd.testing.assert_frame_equal(loaded, records.astype({"image": "str", "patient_id": "str", "sex": "str"}))


def test_description_counts():
    records = validate(frame(pleural_effusion=["1", "0", ""], mask_kind=["manual", "silver", ""]))
    assert "3 images of 3 patients; masks: 1 manual, 1 silver; effusion: 1 yes, 1 no, 1 unknown" in describe(records)


def test_a_comma_at_the_end_of_every_line_is_passed_over(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("image,patient_id,,\na,1,,\nb,2,,\n")
    frame = read_csv_table(path).frame
    assert list(frame.columns) == ["image", "patient_id"]
    assert frame["patient_id"].tolist() == ["1", "2"]
    path.write_text("image,patient_id,\na,1,\nb,2,x\n")
    with pytest.raises(DataError, match="line 3: a cell beyond the last named column"):
        read_csv_table(path)
    path.write_text("image,patient_id,\na,1,\nb,2\n")
    with pytest.raises(DataError, match="line 3: 2 cells where the header has 3"):
        read_csv_table(path)
