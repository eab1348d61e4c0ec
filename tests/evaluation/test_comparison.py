import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from densecf.errors import DataError
from densecf.evaluation.comparison import compare_cases, paired_differences
from densecf.evaluation.tables import comparison_markdown


def table(dsc, patients=None, effusion=None, **more) -> pd.DataFrame:
    n = len(dsc)
    return pd.DataFrame(
        {
            "case": [f"case{i}" for i in range(n)],
            "patient_id": patients if patients is not None else [f"p{i}" for i in range(n)],
            "pleural_effusion": effusion if effusion is not None else [i % 2 for i in range(n)],
            "dsc": dsc,
            **more,
        }
    )


def test_by_hand():
    a, b = table([90.0, 80.0, 70.0, 60.0]), table([88.0, 81.0, 70.0, 50.0])
    got = paired_differences(a, b)
    assert got.mean == pytest.approx(11 / 4)
    assert (got.better, got.worse, got.num_cases, got.num_patients, got.num_undefined) == (2, 1, 4, 4, 0)
    assert got.p_value == pytest.approx(wilcoxon([2, -1, 0, 10]).pvalue)


def test_rows_are_matched_by_case_not_by_place():
    rng = np.random.default_rng(0)
    a, b = table(rng.normal(90, 3, 20)), table(rng.normal(88, 3, 20))
    assert paired_differences(a, b.sample(frac=1, random_state=1)) == paired_differences(a, b)
    assert paired_differences(a.sample(frac=1, random_state=2), b) == paired_differences(a, b)


def test_swapping_the_runs_changes_the_sign():
    rng = np.random.default_rng(0)
    a, b = table(rng.normal(90, 3, 20)), table(rng.normal(88, 3, 20))
    forth, back = paired_differences(a, b), paired_differences(b, a)
    assert forth.mean == pytest.approx(-back.mean)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert (forth.better, forth.worse) == (back.worse, back.better)


def test_smaller_distances_are_better():
    a, b = table([90.0, 90.0], hd95=[1.0, 5.0]), table([90.0, 90.0], hd95=[4.0, 6.0])
    got = paired_differences(a, b, metric="hd95")
    assert (got.mean, got.better, got.worse) == (-2, 2, 0)


def test_numbers_and_text_name_the_same_case():
    a, b = table([90.0, 80.0, 70.0]), table([80.0, 80.0, 70.0])
    a["case"], b["case"] = [1, 2, 3], ["1", "2", "3"]
    assert paired_differences(a, b).num_cases == 3


def test_subset_by_effusion():
    a, b = table([91.0, 85.0, 93.0, 87.0]), table([90.0, 80.0, 90.0, 80.0])
    assert paired_differences(a, b, subset="nf").mean == pytest.approx(2)
    assert paired_differences(a, b, subset="pe").mean == pytest.approx(6)


def test_interval_is_the_seeds():
    rng = np.random.default_rng(0)
    a, b = table(rng.normal(90, 3, 20)), table(rng.normal(88, 3, 20))
    assert paired_differences(a, b, seed=1) == paired_differences(a, b, seed=1)
    assert paired_differences(a, b, seed=1).low != paired_differences(a, b, seed=2).low


def test_intervals_cover_the_truth():
    """200 experiments with 40 patients of one to three cases each; the truth is a gain of 1."""
    rng = np.random.default_rng(0)
    covered = 0
    for experiment in range(200):
        patients = np.repeat(np.arange(40), rng.integers(1, 4, 40))
        of_patient = rng.normal(0, 2, 40)[patients]
        b = rng.normal(85, 5, len(patients))
        a = b + 1 + of_patient + rng.normal(0, 1, len(patients))
        got = paired_differences(table(a, patients), table(b, patients), num_resamples=500, seed=experiment)
        covered += got.low <= 1 <= got.high
    assert 0.88 <= covered / 200 <= 0.99


def test_cases_of_one_patient_are_not_independent():
    """Ten copies of each case must not narrow the interval."""
    rng = np.random.default_rng(3)
    gain = rng.normal(1, 3, 15)
    once = paired_differences(table(gain), table(np.zeros(15)))
    many = paired_differences(
        table(np.repeat(gain, 10), np.repeat(np.arange(15), 10)), table(np.zeros(150), np.repeat(np.arange(15), 10))
    )
    assert many.high - many.low == pytest.approx(once.high - once.low, rel=0.05)
    assert many.p_value == pytest.approx(once.p_value)
    assert (many.num_cases, many.num_patients) == (150, 15)


def test_chunks_do_not_change_the_interval(monkeypatch):
    a, b = table(np.arange(90.0, 100)), table(np.arange(80.0, 100, 2))
    whole = paired_differences(a, b, num_resamples=100)
    monkeypatch.setattr("densecf.evaluation.comparison.CHUNK", 70)
    assert paired_differences(a, b, num_resamples=100) == whole


def test_equal_runs():
    a = table([90.0, 80.0, 70.0, 60.0, 50.0, 40.0])
    got = paired_differences(a, a)
    assert (got.mean, got.low, got.high, got.p_value, got.better, got.worse) == (0, 0, 0, 1, 0, 0)
    assert not got.significant


def test_undefined_pairs_are_left_out_and_counted():
    got = paired_differences(table([90.0, np.nan, 70.0]), table([80.0, 80.0, 70.0]))
    assert (got.num_cases, got.num_undefined, got.mean) == (2, 1, 5)


def test_compare_cases_skips_what_is_not_there():
    more = {"hd95": [1.0, 2.0], "asd": [1.0, 2.0]}
    a = table([90.0, 80.0], effusion=[1, 1], **more)
    got = [(d.metric, d.subset) for d in compare_cases(a, a)]
    assert got == [("dsc", None), ("dsc", "pe"), ("hd95", None), ("asd", None)]


def test_refusals_name_the_cases():
    a = table([90.0, 80.0, 70.0])
    with pytest.raises(DataError, match="only in run A: case2; only in run B: none"):
        paired_differences(a, a.iloc[:2])
    with pytest.raises(DataError, match="more than once: case0"):
        paired_differences(pd.concat([a, a.iloc[:1]]), a)
    with pytest.raises(DataError, match="patient of these cases: case1"):
        paired_differences(a, a.assign(patient_id=["p0", "other", "p2"]))
    with pytest.raises(DataError, match="'hd95'"):
        paired_differences(a, a, metric="hd95")
    with pytest.raises(DataError, match="no case with PE"):
        paired_differences(a.assign(pleural_effusion=0), a, subset="pe")
    with pytest.raises(DataError, match="unknown subset"):
        paired_differences(a, a, subset="xx")


def test_a_handful_of_patients_has_no_interval():
    few = paired_differences(table([91.0] * 5), table([90.0] * 5))
    assert (few.mean, few.interval, few.significant) == (1.0, (None, None), False)
    assert "| n/a |" in comparison_markdown([few], "a", "b")
    enough = paired_differences(table([91.0] * 6), table([90.0] * 6))
    assert (enough.interval, enough.significant) == ((1.0, 1.0), True)
