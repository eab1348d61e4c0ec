"""No split divides a patient; folds are balanced, reproducible and shareable."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densecf.data.manual_split import assign_split, patient_order
from densecf.data.splits import Folds, check_no_leak, limit_cases, make_folds
from densecf.errors import ConfigError, DataError, LeakError


def cohort(patients, seed=0, unknown=True):
    """One to three images a patient; effusion by patient."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        effusion = rng.choice([0, 1, np.nan] if unknown else [0, 1])
        rows += [(f"{patient}_{i}.png", f"p{patient:03d}", effusion, "manual") for i in range(rng.integers(1, 4))]
    return pd.DataFrame(rows, columns=["image", "patient_id", "pleural_effusion", "mask_kind"])


@given(st.integers(10, 60), st.integers(2, 6), st.integers(0, 5))
@settings(max_examples=25)
def test_folds_hold_every_image_once_and_never_divide_a_patient(patients, num_folds, seed):
    records = cohort(patients, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folds = make_folds(records, num_folds, seed=seed)
    held_out = [folds.test_rows(records, k) for k in range(num_folds)]
    assert sorted(np.concatenate(held_out)) == list(records.index)
    for k, rows in enumerate(held_out):
        assert len(rows)
        train = folds.train_rows(records, k)
        assert not set(train) & set(rows)
        assert len(train) + len(rows) == len(records)
        check_no_leak(records.loc[train, "patient_id"], records.loc[rows, "patient_id"])


@pytest.mark.parametrize("seed", range(10))
def test_each_fold_has_both_kinds_when_there_are_enough(seed):
    records = cohort(40, seed, unknown=False)
    keep = records["pleural_effusion"].eq(0) | records["patient_id"].isin(
        records["patient_id"][records["pleural_effusion"] == 1].unique()[:5]
    )
    records = records[keep]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = make_folds(records, 5, seed=seed)
    for k in range(5):
        assert set(records.loc[folds.test_rows(records, k), "pleural_effusion"]) == {0, 1}


def test_too_few_of_a_kind_is_a_warning():
    records = cohort(20, unknown=False)
    records["pleural_effusion"] = (records["patient_id"] == "p003").astype(float)
    with pytest.warns(UserWarning, match="no case of one value of pleural_effusion"):
        make_folds(records)


def test_kinds_that_are_all_smaller_than_the_number_of_folds():
    records = pd.DataFrame({"image": list("abcd"), "patient_id": list("pqrs"), "pleural_effusion": [1, 1, 0, np.nan]})
    with pytest.warns(UserWarning, match=r"some of the 4 folds"):
        folds = make_folds(records, 4)
    assert sorted(folds.fold_of.values()) == [0, 1, 2, 3]


def test_folds_depend_on_the_seed_alone():
    records = cohort(30)
    assert make_folds(records, seed=1) == make_folds(records.copy(), seed=1)
    assert make_folds(records, seed=1).fold_of != make_folds(records, seed=2).fold_of


def test_folds_of_a_subset_give_the_rows_of_the_dataset():
    records = cohort(30)
    subset = records[records["patient_id"] > "p010"]
    rows = make_folds(subset, 2).test_rows(subset, 0)
    assert set(rows) <= set(subset.index)
    assert (records.loc[rows, "patient_id"] > "p010").all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_folds": 1}, "at least 2"),
        ({"num_folds": 11}, "11 folds need at least 11 patients, here are 10"),
        ({"stratify": "hospital"}, "no column 'hospital'"),
    ],
)
def test_folds_that_cannot_be_made(options, message):
    with pytest.raises(ConfigError, match=message):
        make_folds(cohort(10), **options)


def test_folds_without_balance():
    records = cohort(10).drop(columns="pleural_effusion")
    assert make_folds(records, 5, stratify="").num_folds == 5


def test_saved_folds_come_back(tmp_path):
    records = cohort(12)
    folds = make_folds(records, 3, seed=4)
    folds.save(tmp_path / "folds.json")
    assert Folds.load(tmp_path / "folds.json", records) == folds
    entry = json.loads((tmp_path / "folds.json").read_text())["images"][0]
    assert set(entry) == {"image", "patient_id", "fold"}


def test_folds_of_other_records_are_refused_by_name(tmp_path):
    records = cohort(12)
    path = tmp_path / "folds.json"
    make_folds(records, 3).save(path)
    with pytest.raises(DataError, match=r"folds\.json.*images of the folds are not among the records \(0_0\.png"):
        Folds.load(path, records[records["patient_id"] != "p000"])
    other = pd.concat([records, pd.DataFrame({"image": ["new.png"], "patient_id": ["x"]})])
    with pytest.raises(DataError, match=r"1 records are in no fold \(new\.png\)"):
        Folds.load(path, other)
    with pytest.raises(DataError, match=r"belong to another patient \(0_0\.png"):
        Folds.load(path, records.assign(patient_id=records["patient_id"].replace("p000", "p999")))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 9}', '{"format": 1, "images": [1]}'])
def test_damaged_folds_files(tmp_path, content):
    (tmp_path / "folds.json").write_text(content)
    with pytest.raises(DataError, match=r"folds\.json"):
        Folds.load(tmp_path / "folds.json")


def test_a_folds_file_that_divides_a_patient(tmp_path):
    path = tmp_path / "folds.json"
    make_folds(cohort(12), 3).save(path)
    content = json.loads(path.read_text())
    for entry in content["images"]:
        entry["patient_id"] = "same"
    path.write_text(json.dumps(content))
    with pytest.raises(LeakError, match="patient same is in folds"):
        Folds.load(path)
    with pytest.raises(DataError, match=r"folds\.json.*no such file|cannot be read"):
        Folds.load(tmp_path / "none.json")


def test_folds_that_do_not_exist():
    records = cohort(12)
    with pytest.raises(ConfigError, match="0 to 2"):
        make_folds(records, 3).test_rows(records, 3)


def test_leaks_say_how_many_who_and_what_to_do():
    with pytest.raises(LeakError, match=r"7 patients .* 0, 1, 2, 3, 4 and 2 more.*--exclude") as caught:
        check_no_leak(map(str, range(20)), map(str, range(7)))
    assert "--where" in str(caught.value)
    check_no_leak(["a"], ["b"])


@given(st.integers(4, 40), st.integers(0, 3), st.data())
@settings(max_examples=25)
def test_fewer_cases_are_nested_whole_patients(patients, seed, data):
    records = cohort(patients, seed)
    rows = records.index.to_numpy()[1:]
    n = data.draw(st.integers(1, len(rows)))
    few = limit_cases(rows, n, seed, records)
    assert len(set(few)) == n
    assert list(few) == sorted(few)
    assert set(limit_cases(rows, max(1, n - 1), seed, records)) <= set(few)
    counts = records.loc[few, "patient_id"].value_counts()
    full = records.loc[rows, "patient_id"].value_counts()
    assert (counts < full[counts.index]).sum() <= 1  # only the last patient may be cut


def test_fewer_cases_stay_balanced():
    records = cohort(200, unknown=False).drop_duplicates("patient_id")
    few = limit_cases(records.index.to_numpy(), 20, 0, records)
    share = records["pleural_effusion"].mean()
    assert records.loc[few, "pleural_effusion"].mean() == pytest.approx(share, abs=0.051)


@pytest.mark.parametrize("n", [0, -1, 1000])
def test_more_cases_than_there_are(n):
    records = cohort(10)
    with pytest.raises(ConfigError, match=f"{n} training cases"):
        limit_cases(records.index.to_numpy(), n, 0, records)


@given(st.integers(1, 60), st.integers(0, 5))
@settings(max_examples=25)
def test_a_fifth_of_the_patients_with_masks_is_for_fine_tuning(patients, seed):
    records = cohort(patients, seed)
    records.loc[records["patient_id"] < "p005", "mask_kind"] = ""
    split = assign_split(records, seed=seed)
    manual = set(records["patient_id"][split == "manual"])
    assert not manual & set(records["patient_id"][split == "train"])
    with_mask = set(records["patient_id"][records["mask_kind"] != ""])
    assert manual <= with_mask
    assert len(manual) == (max(1, round(0.2 * len(with_mask))) if with_mask else 0)
    pd.testing.assert_series_equal(split, assign_split(records.copy(), seed=seed))


def test_chosen_records_bring_their_patients_along():
    records = cohort(10)
    split = assign_split(records, records["image"] == "3_0.png")
    assert set(records["patient_id"][split == "manual"]) == {"p003"}
    assert (split == "manual").sum() == (records["patient_id"] == "p003").sum()


def test_masks_drawn_by_hand_go_first():
    records = cohort(20)
    records["mask_kind"] = np.where(records["patient_id"] < "p010", "manual", "silver")
    assert (records["patient_id"][assign_split(records) == "manual"] < "p010").all()


def test_every_beginning_of_the_order_is_balanced():
    records = cohort(300)
    effusion = records.groupby("patient_id")["pleural_effusion"].max().fillna(-1)
    order = effusion[patient_order(records, 0)]
    shares = effusion.value_counts(normalize=True)
    for n in (30, 100, 200):
        assert (order[:n].value_counts() - n * shares).abs().max() <= 2
