"""Folders of masks drawn by hand: codings, alignment with the dataset's images, and as a dataset of their own."""

import pickle

import numpy as np
import pandas as pd
import pytest

from densecf.data.images import read_image
from densecf.data.prepare import prepare
from densecf.data.profiles import PROFILES
from densecf.data.raw_image import RawImage
from densecf.data.readers.manual_masks import ALIGNMENTS, ManualMasks, manual_source
from densecf.data.readers.mask_coding import Coding
from densecf.data.records import validate
from densecf.data.resampling import resample, resample_nearest
from densecf.data.splits import make_folds
from densecf.errors import ConfigError, DataError
from tests.data.making import save

SIZE = 64


def labels_of_size(height=SIZE, width=SIZE):
    labels = np.zeros((height, width), np.uint8)
    labels[height // 4 : 3 * height // 4, 5 * width // 8 : 7 * width // 8] = (
        1  # the patient's left, on the image's right
    )
    labels[height // 4 : 3 * height // 4, width // 8 : 3 * width // 8] = 2
    return labels


def authors_png(labels):
    """As CF-Seg's: blue (channel 2) is the left lung, green (channel 1) the right one."""
    image = np.zeros((*labels.shape, 3), np.uint8)
    image[labels == 1, 2], image[labels == 2, 1] = 255, 128
    return image


def folder_of(path, names=("1_1.png",), labels=None, encode=authors_png):
    for name in names:
        save(path / "labels" / name, encode(labels_of_size() if labels is None else labels))
    return path


def smooth(height, width, seed=0):
    """An image without symmetry: a crop of it is like no other crop."""
    noise = np.random.default_rng(seed).random((7, 6)).astype(np.float32)
    rows, columns = np.linspace(0, 5.99, height), np.linspace(0, 4.99, width)
    y, x = rows.astype(int), columns.astype(int)
    fy, fx = (rows - y)[:, None], (columns - x)[None]
    grid = lambda i, j: noise[np.ix_(y + i, x + j)]  # noqa: E731
    mixed = (grid(0, 0) * (1 - fy) + grid(1, 0) * fy) * (1 - fx) + (grid(0, 1) * (1 - fy) + grid(1, 1) * fy) * fx
    return (20 + 230 * mixed).astype(np.float32)


def raw_of(height=SIZE, width=SIZE):
    return RawImage(smooth(height, width), white=255)


def test_the_authors_channels(tmp_path):
    masks = ManualMasks(folder_of(tmp_path, ["1_1.png", "2_2.png"]))
    assert (masks.kind, masks.class_names) == ("manual", ("background", "left_lung", "right_lung"))
    np.testing.assert_array_equal(masks.quality(["0/2_2.png", "3.png", "1_1.png"]), [1, np.nan, 1])
    np.testing.assert_array_equal(masks.labels("0/1_1.png", raw_of()), labels_of_size())
    assert masks.labels("3.png", raw_of()) is None
    assert "2 masks drawn by hand (left_lung, right_lung)" in masks.report()[0]
    assert not any("belong to none" in line for line in masks.report(["0/2_2.png", "1_1.png"]))
    assert "1 of them belong to none of the images used: 2_2" in masks.report(["1_1.png", "3.png"])[-1]
    copy = pickle.loads(pickle.dumps(masks))
    assert copy.fingerprint() == masks.fingerprint()
    np.testing.assert_array_equal(copy.labels("2_2.png", raw_of()), labels_of_size())


@pytest.mark.parametrize(
    ("encode", "declared"),
    [
        (lambda labels: labels, ""),  # grey: class indices
        (lambda labels: np.array([0, 90, 200], np.uint8)[labels], "values: {left_lung: 90, right_lung: 200}"),
        (lambda labels: authors_png(labels)[..., ::-1], "channels: {right_lung: 1, left_lung: 0}"),
    ],
)
def test_other_codings(tmp_path, encode, declared):
    folder = folder_of(tmp_path, encode=lambda labels: np.ascontiguousarray(encode(labels)))
    if declared:
        (folder / "masks.yaml").write_text(declared)
    masks = ManualMasks(folder)
    assert masks.class_names == ("background", "left_lung", "right_lung")
    np.testing.assert_array_equal(masks.labels("1_1.png", raw_of()), labels_of_size())


def test_one_folder_a_class(tmp_path):
    labels = labels_of_size()
    for index, name in enumerate(("left_lung", "right_lung"), start=1):
        save(tmp_path / name / "a.png", np.where(labels == index, 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(ManualMasks(tmp_path).labels("a.png", raw_of()), labels)
    save(tmp_path / "heart" / "a.png", np.where(labels == 0, 255, 0).astype(np.uint8))
    assert ManualMasks(tmp_path).class_names == ("background", "left_lung", "right_lung", "heart")
    lungs = Coding(files={"right_lung": "right_lung", "left_lung": "left_lung"})
    np.testing.assert_array_equal(ManualMasks(tmp_path, lungs).labels("a.png", raw_of()), labels)
    save(tmp_path / "heart" / "b.png", labels)
    with pytest.raises(DataError, match=r"some of the folders left_lung, right_lung, heart only: b"):
        ManualMasks(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "channels: {left_lung: 7}", "values: {a: 1}\nchannels: {a: 1}", "values: {a: 1, b: 1}", "x: 1", "a: [",
     "files: {left_lung: ../other}"],
)  # fmt: skip
def test_codings_that_cannot_be_used(tmp_path, text):
    (folder_of(tmp_path) / "masks.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"masks\.yaml: "):
        ManualMasks(tmp_path)


@pytest.mark.parametrize(
    ("labels", "encode", "message"),
    [
        (None, lambda labels: authors_png(labels[:, ::-1]), "left lung lies on the left of the image"),
        (None, lambda labels: np.full((SIZE, SIZE, 3), 9, np.uint8), "right_lung overlaps other classes in 4,096 px"),
        (None, lambda labels: np.zeros((SIZE, SIZE, 3), np.uint8), "the mask is empty"),
        (None, lambda labels: labels * 100, "holds the values 100, 200, which are no class"),
    ],
)
def test_masks_that_cannot_be_right(tmp_path, labels, encode, message):
    masks = ManualMasks(folder_of(tmp_path, encode=encode))
    with pytest.raises(DataError, match=message) as caught:
        masks.labels("1_1.png", raw_of())
    assert "1_1.png" in str(caught.value)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        ManualMasks(tmp_path / "none")
    with pytest.raises(DataError, match="expected masks in labels"):
        ManualMasks(tmp_path)
    folder_of(tmp_path, ["a.png"])
    save(tmp_path / "labels" / "a.tif", labels_of_size())
    with pytest.raises(DataError, match=r"a\.png and a\.tif would be of the same image"):
        ManualMasks(tmp_path)
    (tmp_path / "labels" / "a.tif").unlink()
    (tmp_path / "labels" / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.png: not a readable"):
        ManualMasks(tmp_path)


@pytest.mark.parametrize("shape", [(300, 240), (240, 300), (250, 250)])
@pytest.mark.parametrize("name", list(ALIGNMENTS))
def test_masks_of_small_copies_are_aligned_by_their_image(tmp_path, name, shape):
    """The copy's own way of being made is found, and the copy's mask comes back from the dataset's image."""
    raw = raw_of(*shape)
    affine = ALIGNMENTS[name](*shape, SIZE)
    folder = folder_of(tmp_path)
    copy = resample(raw.pixels, affine, SIZE)
    save(folder / "images" / "1_1.png", np.clip(255 - np.round(copy), 0, 255).astype(np.uint8))  # shown inverted
    labels = ManualMasks(folder).labels("1_1.png", raw)
    assert labels is not None
    assert labels.shape == shape
    back = resample_nearest(labels, affine, SIZE)
    drawn = np.where(resample_nearest(np.ones(shape, np.uint8), affine, SIZE), labels_of_size(), 0)  # padding has none
    np.testing.assert_array_equal(back, drawn)


def test_without_their_image_small_masks_are_the_papers_centre_crop(tmp_path):
    masks = ManualMasks(folder_of(tmp_path))
    labels = masks.labels("1_1.png", raw_of(300, 240))
    assert labels is not None
    np.testing.assert_array_equal(PROFILES["authors"].mask(labels, SIZE, 3), labels_of_size())
    assert not labels[:30].any()  # cut off by the crop
    assert "centre crop" in masks.report()[-1]


def test_a_copy_of_another_image_is_refused(tmp_path):
    folder = folder_of(tmp_path)
    save(folder / "images" / "1_1.png", smooth(SIZE, SIZE, seed=5).astype(np.uint8))
    with pytest.raises(DataError, match=r"1_1\.png: is no centre crop, padding, stretching of the dataset's image"):
        ManualMasks(folder).labels("1_1.png", raw_of(300, 240))
    save(folder / "images" / "1_1.png", smooth(32, 32).astype(np.uint8))
    with pytest.raises(DataError, match="has 32 x 32 px, its mask 64 x 64"):
        ManualMasks(folder).labels("1_1.png", raw_of(300, 240))


def parent(names):
    return validate(
        pd.DataFrame(
            {
                "image": [f"0/{name}" for name in names],
                "patient_id": [f"p{i // 2}" for i in range(len(names))],
                "pleural_effusion": [float(i // 2 % 2) for i in range(len(names))],
                "scanner": ["A", "B"] * (len(names) // 2),
                "split": ["train"] * len(names),
                "pixel_spacing": [0.14] * len(names),
                "sex": ["F"] * len(names),
            }
        )
    )


def test_the_copies_as_a_dataset_of_their_own(tmp_path):
    names = [f"{i}_x.png" for i in range(20)]
    folder = folder_of(tmp_path / "manual", names)
    for i, name in enumerate(names):
        save(folder / "images" / name, smooth(SIZE, SIZE, seed=i).astype(np.uint8))
    source = manual_source(folder, parent(sorted([*names, "other_a.png", "other_b.png"])))
    records = source.records
    assert len(records) == 20
    assert set(records["split"]) == set(records["mask_kind"]) == {"manual"}
    assert records["pixel_spacing"].isna().all()
    data = prepare(source, tmp_path / "prepared", size=SIZE, workers=1, progress=False)
    np.testing.assert_array_equal(data.masks[3], labels_of_size())
    expected = PROFILES["robust"].image(read_image(folder / "images" / records["image"][3].split("/")[1]), SIZE)[0]
    np.testing.assert_allclose(data.images[3] / 65535, expected, atol=1e-4)
    assert {"scanner", "sex"} <= set(data.records.columns)
    folds = make_folds(data.records, 5)
    patient = data.records["patient_id"]
    for fold in range(5):
        held_out = set(patient[folds.test_rows(data.records, fold)])
        assert held_out
        assert not held_out & set(patient[folds.train_rows(data.records, fold)])


def test_copies_without_a_record_or_an_image_are_refused(tmp_path):
    folder = folder_of(tmp_path, ["a.png", "b.png"])
    save(folder / "images" / "a.png", smooth(SIZE, SIZE).astype(np.uint8))
    with pytest.raises(DataError, match=r"(?s)a: is not in the table.*b: has no image"):
        manual_source(folder, parent(["c.png", "d.png"]))
