import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from densecf.errors import DataError
from densecf.visualization.overlays import PREDICTION, TRUTH, pick_cases, save_overlays


def cases(dsc: list[float]) -> pd.DataFrame:
    n = len(dsc)
    return pd.DataFrame(
        {
            "case": [f"case{i}" for i in range(n)],
            "patient_id": [f"p{i}" for i in range(n)],
            "fold": [i % 2 for i in range(n)],
            "pleural_effusion": [i % 2 for i in range(n)],
            "dsc": dsc,
            "hd95": [3.0] * n,
            "asd": [1.0] * n,
            "n_missed": [0] * n,
        }
    )


def load(case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A 64 px image with two ellipses; the prediction of each case is shifted by its number."""
    rows, columns = np.mgrid[:64, :64]
    lungs = [((rows - 32) / 22) ** 2 + ((columns - centre) / 10) ** 2 < 1 for centre in (45, 19)]
    truth = (lungs[0] + 2 * lungs[1]).astype(np.uint8)
    image = np.where(truth > 0, 0.2, 0.6).astype(np.float32)
    return image, truth, np.roll(truth, int(case.removeprefix("case")), axis=1)


def near(picture: np.ndarray, color: str) -> int:
    return int((np.abs(picture[..., :3] - to_rgb(color)).max(-1) < 0.05).sum())


def picked(dsc: list[float]) -> dict[str, str]:
    return {place: row["case"] for place, row in pick_cases(cases(dsc)).items()}


def test_picks_best_median_worst():
    assert picked([80, 95, 90, 60, 85]) == {"best": "case1", "median": "case4", "worst": "case3"}
    assert picked([80, 95, 90, 60]) == {"best": "case1", "median": "case0", "worst": "case3"}
    assert picked([90, 90, 90]) == {"best": "case0", "median": "case1", "worst": "case2"}
    assert picked([np.nan, 70, np.nan, 80]) == {"best": "case3", "worst": "case1"}
    assert picked([np.nan, 70]) == {"only": "case1"}
    with pytest.raises(DataError, match="no case has a DSC"):
        pick_cases(cases([np.nan]))


def test_picture_shows_both_outlines(tmp_path):
    loaded = []

    def remember(case):
        loaded.append(case)
        return load(case)

    path = tmp_path / "overlays.png"
    assert save_overlays(path, cases([97, 90, 80, 70]), remember) == {
        "best": "case0",
        "median": "case2",
        "worst": "case3",
    }
    assert loaded == ["case0", "case2", "case3"]
    picture = imread(path)
    assert picture.shape[0] > 500
    assert picture.shape[1] > 1200
    assert near(picture, TRUTH) > 500
    assert near(picture, PREDICTION) > 500
    assert [file.name for file in tmp_path.iterdir()] == ["overlays.png"]


def test_panels_are_in_order(tmp_path):
    path = tmp_path / "overlays.png"
    save_overlays(path, cases([97, 80, 70]), lambda case: load("case0") if case == "case0" else load("case8"))
    best, _, worst = np.array_split(imread(path)[120:-80], 3, axis=1)
    shaded = [int(((part[..., 0] - part[..., 1]) > 0.2).sum()) for part in (best, worst)]
    assert shaded[1] > 2 * shaded[0], "the shifted prediction shows more disagreement than the exact one"


def test_swapped_lungs_are_visible(tmp_path):
    def swapped(case):
        image, truth, _ = load(case)
        return image, truth, np.array([0, 2, 1])[truth]

    save_overlays(tmp_path / "right.png", cases([97]), lambda case: load("case0"))
    save_overlays(tmp_path / "swapped.png", cases([0]), swapped)
    pink = [
        int(((p[..., 0] - p[..., 1]) > 0.2).sum())
        for p in map(imread, (tmp_path / "right.png", tmp_path / "swapped.png"))
    ]
    assert pink[1] > pink[0] + 10_000


def test_empty_prediction_ignored_border_and_odd_names(tmp_path):
    def hard(case):
        image, truth, _ = load("case0")
        truth[:, :4] = 255
        return image[:, :60], truth[:, :60], np.zeros((64, 60), np.uint8)

    table = cases([0.0, 0.0, 0.0]).assign(case=["a$b_{$" + "x" * 80, "b/äöü.png", "c"], n_missed=2, fold="site A")
    table["pleural_effusion"] = np.nan
    save_overlays(tmp_path / "overlays.png", table, hard)
    assert (tmp_path / "overlays.png").stat().st_size > 10_000


def test_shapes_must_agree(tmp_path):
    def wrong(case):
        image, truth, prediction = load("case0")
        return image, truth, prediction[:32]

    with pytest.raises(ValueError, match=r"\(32, 64\) differ"):
        save_overlays(tmp_path / "overlays.png", cases([90]), wrong)
    assert not list(tmp_path.iterdir())
