"""The best epoch on the test fold."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densecf.errors import DataError
from densecf.evaluation.segmentation import summarise
from densecf.evaluation.selection import CURVE_COLUMNS, best_epoch_summary, curve_rows
from densecf.evaluation.tables import summaries_markdown

# Two folds, three looks: DSC is best in the middle, the distances elsewhere; fold 1 has no case without finding.
CURVES = pd.DataFrame(
    [
        (0, 1, "all", 50.0, 4.0, 3.0),
        (0, 2, "all", 80.0, 8.0, 2.0),
        (0, 3, "all", 70.0, 6.0, 2.5),
        (1, 1, "all", 60.0, 9.0, 1.0),
        (1, 2, "all", 90.0, 7.0, 5.0),
        (1, 3, "all", 88.0, 2.0, 4.0),
        (0, 1, "nf", 99.0, 1.0, 1.0),
        (0, 2, "nf", 95.0, 1.0, 1.0),
        (0, 3, "nf", 91.0, 1.0, 1.0),
        (0, 1, "pe", 40.0, 1.0, 1.0),
        (0, 2, "pe", 30.0, 1.0, 1.0),
        (0, 3, "pe", 20.0, 1.0, 1.0),
        (1, 1, "pe", 60.0, 9.0, 1.0),
        (1, 2, "pe", 90.0, 7.0, 5.0),
        (1, 3, "pe", 88.0, 2.0, 4.0),
    ],
    columns=list(CURVE_COLUMNS),
)


def test_best_epochs_by_hand():
    assert best_epoch_summary(CURVES) == {
        "dsc": {"mean": 85, "std": 5},
        "dsc_nf": {"mean": 99, "std": 0},
        "dsc_pe": {"mean": 65, "std": 25},
        "hd95": {"mean": 3, "std": 1},
        "asd": {"mean": 1.5, "std": 0.5},
    }


def test_a_subset_without_cases_is_null_and_all_is_json():
    found = best_epoch_summary(CURVES[CURVES["subset"] == "all"])
    assert found["dsc_nf"] == found["dsc_pe"] == {"mean": None, "std": None}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_undefined_looks_are_passed_over():
    curves = CURVES.copy()
    curves.loc[(curves["fold"] == 0) & (curves["epoch"] == 3), "dsc"] = np.nan
    assert best_epoch_summary(curves)["dsc"] == {"mean": 85, "std": 5}


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 6))
def test_best_equals_a_loop(seed, folds, epochs):
    rng = np.random.default_rng(seed)
    rows = [(f, e, s, *rng.uniform(0, 100, 3)) for f in range(folds) for e in range(1, epochs + 1)
            for s in ("all", "nf", "pe")]  # fmt: skip
    curves = pd.DataFrame(rows, columns=list(CURVE_COLUMNS)).sample(frac=1, random_state=seed)
    best = best_epoch_summary(curves)
    for key, column, subset, better in (
        ("dsc", 3, "all", max), ("dsc_nf", 3, "nf", max), ("dsc_pe", 3, "pe", max), ("hd95", 4, "all", min),
        ("asd", 5, "all", min),
    ):  # fmt: skip
        each = [[row[column] for row in rows if row[0] == f and row[2] == subset] for f in range(folds)]
        assert best[key]["mean"] == pytest.approx(np.mean([better(fold) for fold in each]))
        assert best[key]["std"] == pytest.approx(np.std([better(fold) for fold in each]), abs=1e-9)


def test_rows_of_a_look_are_the_means_that_the_summary_takes():
    cases = pd.DataFrame(
        {
            "fold": [3, 3, 3, 3],
            "pleural_effusion": [0, 1, 1, np.nan],
            "dsc": [90.0, 80.0, 60.0, np.nan],
            "hd95": [1.0, 2.0, 4.0, 5.0],
            "asd": [0.5, 1.0, 2.0, 0.5],
            "n_missed": [0, 0, 1, 0],
        }
    )
    rows = curve_rows(cases, 20)
    means = [("all", 230 / 3, 3, 1), ("nf", 90, 1, 0.5), ("pe", 70, 3, 1.5)]
    assert rows == [
        {"fold": 3, "epoch": 20, "subset": subset, "dsc": pytest.approx(dsc), "hd95": hd95, "asd": asd}
        for subset, dsc, hd95, asd in means
    ]
    summary = summarise(cases)
    assert best_epoch_summary(pd.DataFrame(rows)) == {key: summary[key] for key in summary if key != "n_missed"}
    assert [row["subset"] for row in curve_rows(cases[1:3], 1)] == ["all", "pe"]


def test_tables_take_a_summary_that_knows_no_missed_structures():
    row = summaries_markdown({"best": best_epoch_summary(CURVES)}, "T").splitlines()[4]
    assert row.startswith("| best | 85.00 ± 5.00 | 99.00")
    assert row.endswith("| n/a |")


def test_tables_that_are_no_curves_are_refused():
    with pytest.raises(DataError, match="'epoch'"):
        best_epoch_summary(CURVES.drop(columns="epoch"))
    with pytest.raises(DataError, match="'all'"):
        best_epoch_summary(CURVES[CURVES["subset"] == "pe"])
    with pytest.raises(DataError, match="'all'"):
        best_epoch_summary(CURVES.iloc[:0])
