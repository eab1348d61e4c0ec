"""The table reader: masks, paths, splits, and every way a table can be wrong."""

import os
import pickle

import numpy as np
import pandas as pd
import pytest

from densecf.data.readers.table import TableSource
from densecf.errors import ConfigError, DataError, LeakError
from tests.data.making import cohort, lungs, radiograph, save, source


def mask_of(source, row, size):
    mask = source.load(row, size).mask
    assert mask is not None
    return mask


def table(folder, *rows, header="image,patient_id"):
    path = folder / "t.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_sample_is_what_the_contract_says(tmp_path):
    sample = source(tmp_path).load(0, 32)
    assert sample.mask is not None
    assert sample.image.shape == sample.mask.shape == (32, 32)
    assert sample.image.dtype == np.float32
    assert sample.mask.dtype == np.uint8
    assert set(np.unique(sample.mask)) == {0, 1, 2}
    assert np.isnan(sample.pixel_spacing)
    assert sample.counterfactuals == {}
    np.testing.assert_allclose(np.diag(sample.affine), [1.5, 1.5, 1])


def test_left_and_right_come_first_whatever_the_order_of_the_columns(tmp_path):
    save(tmp_path / "a.png", radiograph(0))
    left, right = lungs()
    for name, drawn in (("l", left), ("r", right), ("h", np.eye(40, 48, k=40, dtype=np.uint8))):
        save(tmp_path / f"{name}.png", drawn)
    header = "heart_mask,image,right_lung_mask,patient_id,left_lung_mask,mask_source,mask_quality"
    loaded = TableSource(table(tmp_path, "h.png,a.png,r.png,1,l.png,me,0.5", header=header))
    assert loaded.class_names == ("background", "left_lung", "right_lung", "heart")
    mask = mask_of(loaded, 0, 48)
    assert mask[24, 36] == 1  # the patient's left is on the image's right
    assert mask[24, 10] == 2
    chosen = TableSource(tmp_path / "t.csv", class_names=("background", "heart"))
    assert chosen.mask_columns == ["heart_mask"]


def test_label_masks(tmp_path):
    save(tmp_path / "a.png", radiograph(0))
    labels = np.zeros((40, 48), np.uint8)
    labels[10:20, 10:20], labels[10:20, 30:40] = 1, 2
    save(tmp_path / "m.png", labels)
    path = table(tmp_path, "a.png,1,m.png", header="image,patient_id,mask")
    np.testing.assert_array_equal(np.unique(mask_of(TableSource(path), 0, 48)), [0, 1, 2])
    with pytest.raises(
        DataError, match=r"m\.png: holds the values 2, which are no class; expected 0 background, 1 lung"
    ):
        TableSource(path, class_names=("background", "lung")).load(0, 48)


def test_records_without_masks(tmp_path):
    loaded = TableSource(cohort(tmp_path, 4, with_mask=lambda i: i > 1))
    assert loaded.records["mask_kind"].tolist() == ["", "", "manual", "manual"]
    assert loaded.load(0, 32).mask is None
    assert loaded.records["split"].tolist() == ["train", "train", "manual", "manual"]
    bare = TableSource(cohort(tmp_path / "bare", 4, masks=False))
    assert bare.records["split"].eq("train").all()


def test_a_table_without_mask_columns(tmp_path):
    save(tmp_path / "a.png", radiograph(0))
    loaded = TableSource(table(tmp_path, "a.png,1"))
    assert loaded.class_names == ("background", "left_lung", "right_lung")
    assert "none" in loaded.summary()


def test_mask_kind_of_the_table_is_kept(tmp_path):
    path = cohort(tmp_path, 4)
    frame = pd.read_csv(path, dtype=str).assign(mask_kind="silver")
    frame.to_csv(path, index=False)
    assert TableSource(path).records["mask_kind"].eq("silver").all()
    frame.assign(left_lung_mask="", right_lung_mask="").to_csv(path, index=False)
    with pytest.raises(DataError, match="line 2: mask_kind is 'silver' but no mask is given"):
        TableSource(path)


def test_some_masks_of_a_record_only(tmp_path):
    path = cohort(tmp_path, 3)
    frame = pd.read_csv(path, dtype=str)
    frame.loc[1, "right_lung_mask"] = ""
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match="line 3: right_lung_mask is empty while others are given"):
        TableSource(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda left, right: (left[:-1], right), r"left_000\.png: the mask has 39 x 48 px .* image 40 x 48 px"),
        (lambda left, right: (np.full_like(left, 255), right), r"left_000\.png: the mask covers the whole image"),
        (lambda left, right: (left, left), r"right_000\.png: overlaps left_000\.png in 240 px"),
    ],
)
def test_masks_that_cannot_be_used(tmp_path, change, message):
    loaded = source(tmp_path, 2)
    for side, mask in zip(("left", "right"), change(*lungs()), strict=True):
        save(tmp_path / f"masks/{side}_000.png", mask)
    with pytest.raises(DataError, match=message):
        loaded.load(0, 32)


def test_a_few_shared_pixels_go_to_the_later_class(tmp_path):
    loaded = source(tmp_path, 2)
    left, right = lungs()
    right[left.nonzero()[0][0], left.nonzero()[1][0]] = 255
    save(tmp_path / "masks/right_000.png", right)
    mask = mask_of(loaded, 0, 48)
    assert (mask == 2).sum() == (right > 0).sum()
    assert (mask == 1).sum() == (left > 0).sum() - 1


def test_binary_masks_may_be_zero_and_one_or_empty(tmp_path):
    loaded = source(tmp_path, 2)
    save(tmp_path / "masks/left_000.png", lungs()[0] // 255)
    save(tmp_path / "masks/right_000.png", np.zeros((40, 48), np.uint8))
    mask = mask_of(loaded, 0, 48)
    assert (mask == 1).sum() == (lungs()[0] > 0).sum()
    assert not (mask == 2).any()


@pytest.mark.parametrize(
    ("header", "class_names", "message"),
    [
        ("image,patient_id,mask,left_lung_mask", None, "both mask and left_lung_mask"),
        ("image,patient_id,left_lung_mask", ("background", "heart"), "need the columns heart_mask"),
        ("image,patient_id,left_lung_mask", ("left_lung",), "background first"),
        ("image,patient_id,left_lung_mask", ("left_lung", "background"), "background first"),
    ],
)
def test_mask_columns_that_do_not_fit(tmp_path, header, class_names, message):
    path = table(tmp_path, ",".join(["a.png", "1", *[""] * (header.count(",") - 1)]), header=header)
    with pytest.raises(DataError, match=message):
        TableSource(path, class_names=class_names)


def test_all_missing_files_are_named_at_once(tmp_path):
    path = cohort(tmp_path, 4)
    (tmp_path / "images/001.png").unlink()
    (tmp_path / "masks/left_003.png").unlink()
    with pytest.raises(
        DataError, match=r"(?s)2 problems.*line 3: image 'images/001.png' is missing.*line 5: left"
    ) as caught:
        TableSource(path)
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match=r"001\.png: there is no such file"):
        TableSource(path, check_files=False).load(1, 32)


def test_missing_files_are_named_beside_values_that_cannot_be_read(tmp_path):
    lines = ["gone.png,1,divorced", f"{save(tmp_path / 'here.png', radiograph(0)).name},2,F"]
    path = table(tmp_path, *lines, header="image,patient_id,sex")
    with pytest.raises(DataError, match=r"(?s)line 2: sex is 'divorced'.*line 2: image 'gone.png' is missing"):
        TableSource(path)


@pytest.mark.parametrize(
    "text", ["../outside.png", "a/../../outside.png", "{outside}", "link.png", "folder/outside.png"]
)
def test_paths_that_leave_the_root(tmp_path, text):
    outside = save(tmp_path / "outside.png", radiograph(0))
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.png").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    with pytest.raises(DataError, match=r"line 2: image .* leads out of"):
        TableSource(table(root, f"{text.format(outside=outside)},1"))


def test_paths_within_the_root(tmp_path):
    inside = save(tmp_path / "real/a.png", radiograph(0))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    save(tmp_path / "real/b.png", radiograph(1)).rename(tmp_path / "real/c.png")
    path = table(tmp_path, f"{inside},1", "link/c.png,2")
    assert TableSource(path).load(0, 32).image.max() > 0
    assert TableSource(path).load(1, 32).image.max() > 0
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere/t.csv")
    with pytest.raises(DataError, match="leads out of"):
        TableSource(moved)
    assert len(TableSource(moved, root=tmp_path).records) == 2
    with pytest.raises(DataError, match="no such folder"):
        TableSource(moved, root=tmp_path / "nowhere")


def test_one_file_under_two_names(tmp_path):
    save(tmp_path / "a.png", radiograph(0))
    with pytest.raises(DataError, match=r"line 3: image './a.png' is the same file as on line 2"):
        TableSource(table(tmp_path, "a.png,1", "./a.png,2"))


def test_the_manual_split_by_condition(tmp_path):
    chosen = source(tmp_path, manual="age<=31").records
    assert set(chosen["patient_id"][chosen["split"] == "manual"]) == {"000"}
    assert (chosen["split"] == "manual").sum() == 2  # the other image of the same patient comes along
    with pytest.raises(DataError, match="never '3'"):
        source(tmp_path, manual="pleural_effusion=3")
    with pytest.raises(DataError, match="no record with 'age<30' has a mask"):
        source(tmp_path, manual="age<30")


def test_the_split_of_the_table(tmp_path):
    path = cohort(tmp_path, 4)
    frame = pd.read_csv(path, dtype=str)
    frame.assign(split=["manual", "manual", "train", "train"]).to_csv(path, index=False)
    assert TableSource(path).records["split"].tolist() == ["manual", "manual", "train", "train"]
    with pytest.raises(DataError, match="Leave one of them out"):
        TableSource(path, manual="age>0")
    frame.assign(split=["manual", "train", "train", "train"]).to_csv(path, index=False)
    with pytest.raises(LeakError, match="000"):
        TableSource(path)


def test_spacing_of_the_table_is_scaled(tmp_path):
    save(tmp_path / "a.png", radiograph(0, 64, 64))
    path = table(tmp_path, "a.png,1,0.2", header="image,patient_id,pixel_spacing")
    assert TableSource(path).load(0, 32).pixel_spacing == pytest.approx(0.4)


def test_the_fingerprint_follows_content_and_settings(tmp_path):
    first = source(tmp_path)
    base = TableSource(first.table).fingerprint()
    assert TableSource(first.table).fingerprint() == base
    assert TableSource(first.table, profile="authors").fingerprint() != base
    assert TableSource(first.table, manual="age<=31").fingerprint() != base
    os.utime(tmp_path / "images/000.png", ns=(0, 0))
    assert TableSource(first.table).fingerprint() != base


def test_sources_travel_to_worker_processes(tmp_path):
    original = source(tmp_path)
    copy = pickle.loads(pickle.dumps(original))
    np.testing.assert_array_equal(copy.load(3, 32).image, original.load(3, 32).image)


def test_unknown_profile(tmp_path):
    with pytest.raises(ConfigError, match="no profile 'best'"):
        source(tmp_path, profile="best")
