import math

import numpy as np
import pandas as pd
import pytest

from densecf.data.label_split import split_labels
from densecf.data.labels import read_labels
from densecf.evaluation.label_efficiency import (
    Fit,
    LinearFits,
    Task,
    TestSet,
    curves,
    measure,
    probe_markdown,
    summarise,
    undefined_groups,
)


@pytest.fixture
def task() -> Task:
    rng = np.random.default_rng(0)
    records = pd.DataFrame(
        {
            "image": [str(i) for i in range(200)],
            "patient_id": [str(i // 2) for i in range(200)],
            "label": (rng.random(200) < 0.4).astype(float),
            "scanner": rng.choice(["A", "B"], 200),
        }
    )
    labels = read_labels(records, "label")
    split = split_labels(records, labels)
    strata = {"scanner": records["scanner"].to_numpy(dtype=object)[split.test]}
    own = TestSet("own", split.test, labels.codes[split.test], strata)
    other = TestSet("other", np.arange(6), np.array([0, 1] * 3), {"scanner": np.array(["C"] * 5 + ["D"], object)})
    return Task(records, labels, split, [own, other], (0.25, 1.0), (0, 1, 2))


def test_every_fraction_and_seed_is_fitted_and_tested(task):
    asked = []

    def fit(train, fraction, seed):
        asked.append((fraction, seed, len(train)))
        return Fit([test.codes + 0.1 * seed for test in task.tests], {"note": seed})

    table, fits = measure("mine", task, fit)
    assert [(f, s) for f, s, _ in asked] == [(f, s) for s in (0, 1, 2) for f in (0.25, 1.0)]
    assert list(table.columns) == ["run", "fraction", "seed", "dataset", "group", "auc", "n", "positives"]
    assert len(table) == 6 * (3 + 3)  # all and two scanners, in two datasets
    assert (table["auc"].dropna() == 1).all()
    assert fits[0]["images"] == asked[0][2]
    assert fits[0]["patients"] == len(set(task.records["patient_id"][task.subsets(0)[0.25]]))


def test_the_summary_is_mean_and_standard_error_over_seeds(task):
    def fit(train, fraction, seed):
        rng = np.random.default_rng([seed, round(100 * fraction)])
        return Fit([test.codes + rng.normal(size=len(test.codes)) for test in task.tests], {})

    table, _ = measure("mine", task, fit)
    summary = summarise(table)
    one = summary[(summary["dataset"] == "own") & (summary["group"] == "all") & (summary["fraction"] == 0.25)].iloc[0]
    aucs = table[(table["dataset"] == "own") & (table["group"] == "all") & (table["fraction"] == 0.25)]["auc"]
    assert one["auc"] == pytest.approx(aucs.mean())
    assert one["se"] == pytest.approx(aucs.std(ddof=1) / math.sqrt(3))
    assert (one["seeds"], one["n"]) == (3, len(task.split.test))
    # Scanner D has one image, so no AUC; it is named, and neither table nor picture stumbles over it.
    assert undefined_groups(summary) == ["other: scanner=D (1 images)"]
    assert "n/a" in probe_markdown(summary, "label")
    assert "other: scanner=D" not in set(curves(summary)["panel"])
    assert {"own", "own: scanner=A", "other: scanner=C"} <= set(curves(summary)["panel"])


def test_the_best_run_is_bold_and_gaps_are_better_small():
    rows = [
        ("one", 0.1, "d", "all", 0.8, 0.01, 3, 10, 5),
        ("two", 0.1, "d", "all", 0.9, 0.01, 3, 10, 5),
        ("one", 0.1, "d", "sex gap", 0.05, 0.01, 3, 10, None),
        ("two", 0.1, "d", "sex gap", 0.07, np.nan, 3, 10, None),
    ]
    columns = ["run", "fraction", "dataset", "group", "auc", "se", "seeds", "n", "positives"]
    text = probe_markdown(pd.DataFrame(rows, columns=columns).astype({"positives": "Int64"}), "title", ["A note."])
    assert "| all | two | **90.0 ± 1.0** | 10 (5 positive) |" in text
    assert "| sex gap | one | **5.0 ± 1.0** | 10 |" in text
    assert "| sex gap | two | 7.0 | 10 |" in text
    assert text.endswith("A note.\n")


def test_linear_fits_see_only_their_rows_and_equal_ones_once(task, monkeypatch):
    """Features that hold the row number show which rows a fit was given."""
    rows = np.sort(np.concatenate([task.split.train, task.split.val]))
    asked = []

    def fake(train, train_codes, val, val_codes, classes):
        asked.append(train[:, 0].tolist())
        np.testing.assert_array_equal(train_codes, task.labels.codes[train[:, 0].astype(int)])
        np.testing.assert_array_equal(val[:, 0], task.split.val)

        class Probe:
            strength, val_auc = 1.0, 0.5

            def __call__(self, features):
                return features[:, 0]

        return Probe()

    monkeypatch.setattr("densecf.evaluation.label_efficiency.fit_linear_probe", fake)
    tests = [test.rows[:, None].astype(float) for test in task.tests]
    fits = LinearFits(task, rows[:, None].astype(float), rows, tests)
    measure("mine", task, fits)
    assert len(asked) == 4  # three draws of a quarter, and everything once for all seeds
    assert asked[1] == task.split.train.tolist()
    assert asked[0] == task.subsets(0)[0.25].tolist()
