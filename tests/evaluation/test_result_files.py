"""Results of a fine-tuning, read again from its run folder."""

import json

import numpy as np
import pandas as pd
import pytest

from densecf.errors import DataError, DensecfError
from densecf.evaluation.result_files import read_cases, read_curves, read_summary
from densecf.evaluation.segmentation import case_columns, summarise
from densecf.evaluation.selection import CURVE_COLUMNS, curve_rows

NAMES = ("background", "left_lung", "right_lung")


@pytest.fixture
def cases() -> pd.DataFrame:
    """Six cases of two folds, with all digits, and millimetres of none."""
    draw = np.random.default_rng(0)
    table = pd.DataFrame({name: draw.uniform(0, 100, 6) for name in case_columns(NAMES)})
    names = {"case": ["NA", "017", "a,b", "None", "1e5", "x"], "patient_id": ["1", "01", "NA", "", "2", "2"]}
    names["patient_id"][3] = "nan"
    return table.assign(
        **names, fold=[0, 0, 0, 1, 1, 1], n_missed=[0, 1, 0, 0, 2, 0], hd95_mm=np.nan, asd_mm=np.nan,
        pleural_effusion=[1.0, 0.0, np.nan, 1.0, 1.0, 0.0],
    )  # fmt: skip


def test_every_digit_and_every_name_comes_back(tmp_path, cases):
    cases.to_csv(tmp_path / "cases.csv", index=False)
    pd.testing.assert_frame_equal(read_cases(tmp_path / "cases.csv"), cases, check_exact=True)
    rows = [*curve_rows(cases[cases["fold"] == 0], 10), *curve_rows(cases[cases["fold"] == 1], 10)]
    curves = pd.DataFrame(rows, columns=list(CURVE_COLUMNS))
    curves.to_csv(tmp_path / "curves.csv", index=False)
    pd.testing.assert_frame_equal(read_curves(tmp_path / "curves.csv"), curves, check_exact=True)
    (tmp_path / "summary.json").write_text(json.dumps(summarise(cases)))
    assert read_summary(tmp_path / "summary.json") == summarise(cases)


CASES = b"case,patient_id,fold,pleural_effusion,dsc,hd95,asd,n_missed\na,1,0,,90.5,3,1,0\nb,2,1,1,91,3,1,0\n"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (CASES, b"", "no rows"),
        (b"hd95", b"hd59", "lacks the columns hd95"),
        (b"90.5", b"9O.5", "line 2: dsc is '9O.5', expected a number or nothing"),
        (b"90.5", b"inf", "expected a number"),
        (b"90.5", b"1e999", "expected a number"),
        (b"2,1,1,91", b"2,1.5,1,91", "line 3: fold is '1.5', expected a whole number"),
        (b"b,2,1,1,91", b"a,2,0,1,91", "a case twice in one fold"),
        (b"a,1,0", b",1,0", "column case is empty"),
        (b"a,1,0", b"\xff,1,0", "UTF-8"),
    ],
)
def test_damaged_cases_are_named(tmp_path, before, after, why):
    path = tmp_path / "cases.csv"
    path.write_bytes(CASES)
    assert len(read_cases(path)) == 2
    path.write_bytes(CASES.replace(before, after, 1))
    with pytest.raises(DataError, match=why) as error:
        read_cases(path)
    assert str(path) in str(error.value)


def test_an_unknown_subset_of_a_curve_is_refused(tmp_path):
    (tmp_path / "curves.csv").write_text("fold,epoch,subset,dsc,hd95,asd\n0,10,al,90,3,1\n")
    with pytest.raises(DataError, match="subset is 'al', expected all or nf or pe"):
        read_curves(tmp_path / "curves.csv")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "\xff", '{"dsc": 3}', '{"dsc": {"mean": "3", "std": 1}}', '{"dsc": {"mean": NaN, "std": 1}}',
        '{"dsc": {"mean": 3, "std": 1}, "n_missed": {"mean": 0, "std": 0}}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_summary_is_named(tmp_path, text):
    (tmp_path / "summary.json").write_text(text, encoding="latin-1")
    with pytest.raises(DensecfError) as error:
        read_summary(tmp_path / "summary.json")
    assert str(tmp_path / "summary.json") in str(error.value)
