import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance
from scipy.ndimage import gaussian_filter

from densecf.errors import DataError
from densecf.evaluation.segmentation import case_columns, case_metrics, summarise
from densecf.views.geometry import IGNORE

NAMES = ("background", "left_lung", "right_lung")


def blobs(seed: int, size: tuple[int, int] = (40, 33)) -> np.ndarray:
    """Random smooth regions of two classes, some of them touching the border."""
    noise = np.random.default_rng(seed).normal(size=(3, *size))
    return gaussian_filter(noise, (0, 4, 4)).argmax(0).astype(np.uint8)


def boundary(mask: np.ndarray) -> list[tuple[int, int]]:
    """Pixels of the mask with one of the four neighbours outside it (or outside the image)."""
    padded = np.pad(mask, 1)
    return [
        (r, c)
        for r, c in zip(*np.nonzero(mask), strict=True)
        if not all((padded[r, c + 1], padded[r + 2, c + 1], padded[r + 1, c], padded[r + 1, c + 2]))
    ]


def slow_metrics(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """DSC, HD95 and ASD of two binary masks by plain loops over boundary pixels."""
    dsc = 100 * 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    p, t = boundary(prediction), boundary(truth)
    forth = [min(math.dist(a, b) for b in t) for a in p]
    back = [min(math.dist(a, b) for b in p) for a in t]
    return dsc, max(np.percentile(forth, 95), np.percentile(back, 95)), float(np.mean(forth + back))


def two_lungs() -> np.ndarray:
    mask = np.zeros((48, 48), np.uint8)
    mask[10:40, 4:18] = 2
    mask[10:40, 28:44] = 1
    return mask


@pytest.mark.parametrize("seed", range(6))
def test_equals_brute_force_on_random_blobs(seed):
    prediction, truth = blobs(seed), blobs(seed + 100)
    got = case_metrics(prediction, truth, NAMES)
    expected = [slow_metrics(prediction == index, truth == index) for index in (1, 2)]
    for name, (dsc, hd95, asd) in zip(NAMES[1:], expected, strict=True):
        assert got[f"{name}_dsc"] == pytest.approx(dsc, rel=1e-5)
        assert got[f"{name}_hd95"] == pytest.approx(hd95, rel=1e-5)
        assert got[f"{name}_asd"] == pytest.approx(asd, rel=1e-5)
    for position, metric in enumerate(("dsc", "hd95", "asd")):
        assert got[metric] == pytest.approx(np.mean([row[position] for row in expected]), rel=1e-5)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's own call
def test_equals_monai_where_nothing_is_missed():
    prediction, truth = blobs(1), blobs(2)
    got = case_metrics(prediction, truth, NAMES)
    p, t = (torch.from_numpy(np.stack([mask == i for i in range(3)]))[None] for mask in (prediction, truth))
    dice = compute_dice(p, t, include_background=False)[0]
    hd95 = compute_hausdorff_distance(p, t, percentile=95)[0]
    asd = compute_average_surface_distance(p, t, symmetric=True)[0]
    for index, name in enumerate(NAMES[1:]):
        assert got[f"{name}_dsc"] == pytest.approx(100 * float(dice[index]))
        assert got[f"{name}_hd95"] == pytest.approx(float(hd95[index]))
        assert got[f"{name}_asd"] == pytest.approx(float(asd[index]))


def test_perfect_prediction():
    got = case_metrics(two_lungs(), two_lungs(), NAMES)
    assert (got["dsc"], got["hd95"], got["asd"], got["n_missed"]) == (100, 0, 0, 0)


@pytest.mark.parametrize("axis", [0, 1])
def test_one_pixel_shift(axis):
    got = case_metrics(np.roll(two_lungs(), 1, axis), two_lungs(), NAMES)
    assert got["hd95"] == 1
    assert 0 < got["asd"] < 1
    assert got["n_missed"] == 0


def test_missed_lung_costs_the_diagonal_and_is_counted():
    truth = two_lungs()
    prediction = np.where(truth == 1, 0, truth)
    got = case_metrics(prediction, truth, NAMES)
    diagonal = math.hypot(48, 48)
    assert got["n_missed"] == 1
    assert (got["left_lung_dsc"], got["left_lung_hd95"], got["left_lung_asd"]) == (0, diagonal, diagonal)
    assert (got["right_lung_dsc"], got["right_lung_hd95"]) == (100, 0)
    assert got["dsc"] == 50
    assert got["hd95"] == pytest.approx(diagonal / 2)


def test_missing_a_lung_is_never_better_than_a_bad_one():
    truth = two_lungs()
    speck = np.where(truth == 1, 0, truth)
    speck[47, 0] = 1
    missed = np.where(truth == 1, 0, truth)
    bad, none = case_metrics(speck, truth, NAMES), case_metrics(missed, truth, NAMES)
    assert none["hd95"] > bad["hd95"]
    assert none["asd"] > bad["asd"]


def test_made_up_structure_is_counted_like_a_missed_one():
    full = two_lungs()
    one = np.where(full == 1, 0, full)
    made_up, missed = case_metrics(full, one, NAMES, spacing=1.0), case_metrics(one, full, NAMES, spacing=1.0)
    assert made_up == missed
    assert made_up["n_missed"] == 1


def test_structure_that_neither_holds_is_left_out():
    one = np.where(two_lungs() == 1, 0, two_lungs())
    got = case_metrics(np.roll(one, 1, 0), one, NAMES)
    assert math.isnan(got["left_lung_dsc"])
    assert got["dsc"] == got["right_lung_dsc"] > 90
    assert got["n_missed"] == 0
    nothing = case_metrics(np.zeros((8, 8), int), np.zeros((8, 8), int), NAMES)
    assert math.isnan(nothing["dsc"])
    assert nothing["n_missed"] == 0


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_symmetric_and_blind_to_the_order_of_classes(seed_a, seed_b):
    a, b = blobs(seed_a, (24, 24)), blobs(seed_b, (24, 24))
    forth, back = case_metrics(a, b, NAMES), case_metrics(b, a, NAMES)
    assert forth == pytest.approx(back, rel=1e-5, nan_ok=True)
    swap = np.array([0, 2, 1])
    renamed = case_metrics(swap[a], swap[b], ("background", "right_lung", "left_lung"))
    assert forth == pytest.approx(renamed, rel=1e-5, nan_ok=True)


def test_ignored_pixels_count_for_nothing():
    truth = two_lungs()
    prediction = truth.copy()
    prediction[:, :3] = 2
    prediction[40:, 28:44] = 1
    marked = truth.copy()
    marked[:, :3] = IGNORE
    marked[40:] = IGNORE
    got = case_metrics(prediction, marked, NAMES)
    assert (got["dsc"], got["hd95"], got["asd"]) == (100, 0, 0)


def test_structure_known_only_where_ignored_is_absent():
    truth = two_lungs()
    truth[truth == 1] = IGNORE
    got = case_metrics(two_lungs(), truth, NAMES)
    assert math.isnan(got["left_lung_dsc"])
    assert (got["dsc"], got["n_missed"]) == (100, 0)


def test_ignored_rim_equals_a_cropped_image():
    prediction, truth = blobs(3), blobs(4)
    rim = truth.copy()
    rim[:5], rim[-4:], rim[:, :6], rim[:, -3:] = (IGNORE,) * 4
    inner = (slice(5, -4), slice(6, -3))
    got, cropped = case_metrics(prediction, rim, NAMES), case_metrics(prediction[inner], truth[inner], NAMES)
    assert got == pytest.approx(cropped, nan_ok=True)


def test_millimetres_only_where_the_spacing_is_known():
    shifted = np.roll(two_lungs(), 1, 0)
    known = case_metrics(shifted, two_lungs(), NAMES, spacing=2.5)
    assert known["hd95_mm"] == 2.5
    assert known["asd_mm"] == pytest.approx(2.5 * known["asd"])
    assert math.isnan(case_metrics(shifted, two_lungs(), NAMES)["hd95_mm"])


def test_wrong_masks_are_refused():
    with pytest.raises(ValueError, match=r"\(8, 8\) and \(8, 9\)"):
        case_metrics(np.zeros((8, 8), int), np.zeros((8, 9), int), NAMES)
    with pytest.raises(DataError, match=r"truth.*\[7\]"):
        case_metrics(np.zeros((8, 8), int), np.full((8, 8), 7), NAMES)
    with pytest.raises(ValueError, match="at least one structure"):
        case_metrics(np.zeros((8, 8), int), np.zeros((8, 8), int), ("background",))


def test_columns_cover_the_metrics():
    columns = case_columns(NAMES)
    assert columns[:8] == ["case", "patient_id", "fold", "pleural_effusion", "dsc", "hd95", "asd", "n_missed"]
    assert set(columns[4:]) == set(case_metrics(two_lungs(), two_lungs(), NAMES))
    assert "right_lung_asd" in columns


CASES = pd.DataFrame(
    {
        "fold": [0, 0, 0, 1, 1],
        "pleural_effusion": [0, 1, 1, 1, np.nan],
        "dsc": [90.0, 80.0, 70.0, 60.0, 100.0],
        "hd95": [1.0, 2.0, 3.0, 4.0, 8.0],
        "asd": [0.5, 0.5, 0.5, 1.0, 2.0],
        "n_missed": [0, 1, 2, 0, 1],
    }
)


def test_summary_by_hand():
    summary = summarise(CASES)
    assert list(summary) == ["dsc", "dsc_nf", "dsc_pe", "hd95", "asd", "n_missed"]
    assert summary["dsc"] == {"mean": 80, "std": 0}
    assert summary["dsc_nf"] == {"mean": 90, "std": 0}  # only the first fold has such a case
    assert summary["dsc_pe"] == {"mean": 67.5, "std": 7.5}
    assert summary["hd95"] == {"mean": 4, "std": 2}
    assert summary["asd"] == {"mean": 1, "std": 0.5}
    assert summary["n_missed"] == {"mean": 2, "std": 1, "total": 4}


def test_summary_says_null_and_is_json():
    summary = summarise(CASES.assign(pleural_effusion=np.nan, hd95_mm=np.nan, asd_mm=np.nan))
    assert summary["dsc_nf"] == summary["dsc_pe"] == {"mean": None, "std": None}
    assert "hd95_mm" not in summary
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_summary_leaves_undefined_cases_and_spacings_out():
    cases = CASES.assign(hd95_mm=[2.0, np.nan, 4.0, np.nan, np.nan], asd_mm=np.nan)
    cases.loc[0, "dsc"] = np.nan
    summary = summarise(cases)
    assert summary["dsc"] == {"mean": 77.5, "std": 2.5}
    assert summary["hd95_mm"] == {"mean": 3, "std": 0}


def test_summary_refuses_tables_it_cannot_read():
    with pytest.raises(DataError, match="'fold'"):
        summarise(CASES.drop(columns="fold"))
    with pytest.raises(DataError, match="no row"):
        summarise(CASES.iloc[:0])
