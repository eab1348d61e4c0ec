"""CheXmask rows and files: real rows, the traps, both flavours in the image's own pixels, streaming."""

import csv
import gzip
import pickle
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from densecf.data import csv_stream, phantom
from densecf.data.chexmask.frames import Frame, find_frame, from_square, untransposed
from densecf.data.chexmask.rows import POINTS
from densecf.data.profiles import PROFILES
from densecf.data.raw_image import RawImage
from densecf.data.readers.chexmask import ChexmaskFile
from densecf.data.run_lengths import decode, encode
from densecf.errors import ConfigError, DataError
from tests.data.chexmask_rows import HEADER, cells, landmarks, polygon, save_rows

LEFT, RIGHT, HEART = 1, 2, 3


def image_of(height, width, borders=(0, 0, 0, 0), white=255.0, seed=0) -> RawImage:
    """Bright noise within black borders (top, bottom, left, right); the border holds values that count as black."""
    top, bottom, left, right = borders
    noise = np.random.default_rng(seed)
    pixels = noise.integers(0, 2, (height, width)).astype(np.float32)
    inner = noise.integers(40, 255, (height - top - bottom, width - left - right))
    pixels[top : height - bottom, left : width - right] = inner
    return RawImage(pixels if white == 255 else pixels * 256 + 255, white=white)


def prepared_by_chexmask(labels, borders):
    """CheXmask's preparation of an image, done to its labels: an independent forward path through PIL."""
    height, width = labels.shape
    top, bottom, left, right = borders
    content = labels[top : height - bottom, left : width - right]
    side = max(content.shape)
    square = np.zeros((side, side), np.uint8)
    y, x = (side - content.shape[0]) // 2, (side - content.shape[1]) // 2
    square[y : y + content.shape[0], x : x + content.shape[1]] = content
    return np.asarray(Image.fromarray(square).resize((1024, 1024), Image.Resampling.NEAREST))


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def centre(mask):
    return np.argwhere(mask).mean(axis=0)


# --- the 50 real rows ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(radiographs):
    return radiographs / "chexmask" / "padchest_50_rows.csv"


def shoelace(points):
    x, y = points.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_real_rows_agree_with_their_landmarks(real):
    masks = ChexmaskFile(real, heart=True)
    assert (masks.flavour, masks.dataset, masks.skipped) == ("preprocessed", "PadChest", [])
    raw = RawImage(np.full((1024, 1024), 90, np.float32), white=255)
    with open(real, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50
    for row in rows:
        labels = masks.labels(row["ImageID"], raw)
        assert labels is not None
        points = np.array(row["Landmarks"].split(","), float).reshape(-1, 2)
        left, right = labels == LEFT, labels == RIGHT
        assert centre(right)[1] + 200 < centre(left)[1]  # the patient's right is on the image's left
        for mask, part in ((right, points[:44]), (left, points[44:94])):
            assert mask.sum() == pytest.approx(shoelace(part), rel=0.02)
        heart = decode(row["Heart"], 1024, 1024)
        np.testing.assert_array_equal(labels == HEART, heart & ~left & ~right)


def test_real_rows_have_swapped_scores_and_no_sizes(real):
    masks = ChexmaskFile(real)
    report = "\n".join(masks.report())
    assert "30 of 50 rows: Dice RCA (Max) is below Dice RCA (Mean)" in report
    assert "30 of 50 rows: no Height and Width" in report
    with open(real, newline="") as file:
        rows = list(csv.DictReader(file))
    lower = [min(float(row["Dice RCA (Mean)"]), float(row["Dice RCA (Max)"])) for row in rows]
    np.testing.assert_array_equal(masks.quality([row["ImageID"] for row in rows]), lower)


# --- geometry -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("white", [255.0, 65535.0])
def test_the_frame_is_where_the_8_bit_value_exceeds_one(white):
    borders = (13, 40, 7, 22)
    frame = find_frame(image_of(300, 200, borders, white), cropped=True)
    assert frame == Frame(13, 7, 247, 171)
    assert frame.origin == (13, 7 - (247 - 171) // 2)
    assert find_frame(image_of(300, 200, borders, white), cropped=False) == Frame(0, 0, 300, 200)


@pytest.mark.parametrize(("white", "black", "content"), [(255.0, 1, 2), (65535.0, 511, 512)])
def test_the_darkest_value_that_is_content(white, black, content):
    pixels = np.full((30, 20), black, np.float32)
    pixels[4, 7] = pixels[20, 11] = content
    assert find_frame(RawImage(pixels, white=white), cropped=True) == Frame(4, 7, 17, 5)


def test_frames_that_cannot_be_found():
    with pytest.raises(DataError, match="OriginalResolution"):
        find_frame(RawImage(np.ones((20, 20), np.float32)), cropped=True)
    with pytest.raises(DataError, match="brighter than 1"):
        find_frame(RawImage(np.ones((20, 20), np.float32), white=255), cropped=True)


@pytest.mark.parametrize(
    ("size", "borders"),
    [
        ((1024, 1024), (0, 0, 0, 0)),
        ((1500, 1200), (0, 0, 0, 0)),
        ((1200, 1501), (0, 0, 0, 0)),
        ((1400, 1300), (31, 90, 0, 57)),
        ((700, 512), (5, 0, 60, 11)),
    ],
)
def test_preprocessed_masks_come_back_to_the_images_own_pixels(tmp_path, size, borders):
    height, width = size
    top, bottom, left, right = borders
    points = landmarks(height - top - bottom, width - left - right) + np.array([left, top])
    true = {organ: polygon(points[POINTS[organ]], height, width) for organ in POINTS}
    row = cells()
    for name, organ in (("Left Lung", "left_lung"), ("Right Lung", "right_lung"), ("Heart", "heart")):
        row[name] = encode(prepared_by_chexmask(true[organ].astype(np.uint8), borders))
    row["Landmarks"] = ""  # drawn in the image here, not in the square
    masks = ChexmaskFile(save_rows(tmp_path / "m.csv", row), flavour="preprocessed")
    labels = masks.labels("a.png", image_of(height, width, borders))
    assert labels is not None
    assert labels.shape == size
    for index, organ in ((LEFT, "left_lung"), (RIGHT, "right_lung")):
        assert dice(labels == index, true[organ]) > 0.99
        np.testing.assert_allclose(centre(labels == index), centre(true[organ]), atol=0.5)
    assert not labels[:top].any()
    assert not labels[height - bottom :].any()


@pytest.mark.parametrize("name", list(PROFILES))
def test_both_flavours_agree_after_any_profile(tmp_path, name):
    """The phantom within black borders: its mask by way of either flavour is the mask of the phantom itself."""
    source = phantom.cohort(2, 0)
    entry = source.iloc[0]
    record = phantom.record(0, entry["image"], entry["patient_id"])
    size, borders = 480, (24, 0, 10, 62)
    top, bottom, left, right = borders
    image = phantom.render(record.parents, record.noise, size)
    shape = size + top + bottom, size + left + right
    pixels, true = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    pixels[top : top + size, left : left + size] = 2 + np.round(image * 250)
    true[top : top + size, left : left + size] = phantom.masks(record.parents, record.noise, size)
    assert phantom.CLASS_NAMES[:3] == ("background", "left_lung", "right_lung")
    raw = RawImage(pixels, white=255)
    rows = {}
    for flavour, drawn in (("original", true), ("preprocessed", prepared_by_chexmask(true, borders))):
        rows[flavour] = cells() | {
            "Left Lung": encode(drawn == LEFT),
            "Right Lung": encode(drawn == RIGHT),
            "Landmarks": "",
            "Height": drawn.shape[0],
            "Width": drawn.shape[1],
        }
    expected = PROFILES[name].mask(np.where(true > 2, 0, true), 224, 3)
    for flavour, row in rows.items():
        masks = ChexmaskFile(save_rows(tmp_path / f"{flavour}.csv", row))
        assert masks.flavour == flavour
        labels = masks.labels("a.png", raw)
        assert labels is not None
        prepared = PROFILES[name].mask(labels, 224, 3)
        for index in (LEFT, RIGHT):
            assert dice(prepared == index, expected == index) > 0.985
            np.testing.assert_allclose(centre(prepared == index), centre(expected == index), atol=0.25)
        if flavour == "original":
            np.testing.assert_array_equal(prepared, expected)


def test_an_image_prepared_by_chexmask_itself_is_mapped_to_itself(tmp_path):
    labels = np.zeros((1024, 1024), np.uint8)
    labels[100:900, 600:800], labels[100:900, 200:400] = LEFT, RIGHT
    raw = image_of(1024, 1024, (0, 0, 100, 101))  # padded left and right
    np.testing.assert_array_equal(from_square(labels, find_frame(raw, cropped=True), (1024, 1024)), labels)


def test_masks_of_images_made_smaller(tmp_path):
    path = save_rows(tmp_path / "m.csv", cells(height=1200, width=1000))
    raw = image_of(300, 250)
    with pytest.raises(DataError, match=r"m\.csv: line 2 \(a\.png\): the mask has 1200 x 1000 px .* 300 x 250; say so"):
        ChexmaskFile(path).labels("a.png", raw)
    labels = ChexmaskFile(path, resized=True).labels("a.png", raw)
    assert labels is not None
    true = polygon(landmarks(1200, 1000)[44:94], 1200, 1000)
    np.testing.assert_allclose(centre(labels == LEFT), centre(true) / 4 - 0.375, atol=0.2)
    with pytest.raises(DataError, match="not the images it is from"):
        ChexmaskFile(path, resized=True).labels("a.png", image_of(300, 300))


# --- traps --------------------------------------------------------------------------------------------------------


def labels_of(path, height=1200, width=1000, borders=(0, 0, 0, 0), **options):
    masks = ChexmaskFile(path, **options)
    return masks, masks.labels("a.png", image_of(height, width, borders))


def expected_lungs(height=1200, width=1000):
    points = landmarks(height, width)
    return polygon(points[POINTS["left_lung"]], height, width), polygon(points[POINTS["right_lung"]], height, width)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"Height": 1000, "Width": 1200}, "Height and Width are swapped, as"),
        ({"Height": "", "Width": ""}, "no Height and Width"),
        ({"Height": "1200.0", "Width": "1000.0"}, ""),
        ({"Dice RCA (Mean)": 0.9, "Dice RCA (Max)": 0.8}, "is below"),
        ({"Landmarks": ""}, "no Landmarks"),
        ({"Landmarks": str(landmarks(1200, 1000))}, ""),  # a printed array over 120 lines, as published
    ],
)
def test_what_is_certain_is_repaired_and_said(tmp_path, change, said):
    path = save_rows(tmp_path / "m.csv", cells(height=1200, width=1000) | change)
    masks, labels = labels_of(path)
    left, right = expected_lungs()
    np.testing.assert_array_equal(labels == LEFT, left)
    np.testing.assert_array_equal(labels == RIGHT, right)
    assert masks.quality(["a.png"]) == [0.8]
    assert said in "\n".join(masks.report())
    assert bool(masks.report()) == bool(said)


def test_exchanged_lungs_are_exchanged_back(tmp_path):
    row = cells(height=1200, width=1000)
    row["Left Lung"], row["Right Lung"] = row["Right Lung"], row["Left Lung"]
    masks, labels = labels_of(save_rows(tmp_path / "m.csv", row))
    np.testing.assert_array_equal(labels == LEFT, expected_lungs()[0])
    assert "hold each other's mask" in masks.report()[0]
    row["Landmarks"] = ""  # nothing tells which of the two is right
    with pytest.raises(DataError, match="right lung lies on the right of the image"):
        labels_of(save_rows(tmp_path / "m.csv", row))


@pytest.mark.parametrize("size", [(1200, 1000), (1000, 1300)])
def test_a_canvas_with_sides_swapped_is_drawn_anew(tmp_path, size):
    """What the published back-projection does to images that are not square: a part of the mask falls off."""
    height, width = size
    row = cells(height=width, width=height, points=landmarks(height, width))
    path = save_rows(tmp_path / "m.csv", row)
    masks, labels = labels_of(path, height, width)
    left, right = expected_lungs(height, width)
    assert (dice(labels == LEFT, left), dice(labels == RIGHT, right)) == (1, 1)
    assert "cut a part off" in "\n".join(masks.report()) or landmarks(height, width).max() < min(size)


def test_a_swapped_canvas_of_an_image_with_black_borders(tmp_path):
    height, width, borders = 1200, 1000, (220, 100, 0, 0)
    frame = Frame(220, 0, 880, 1000)
    true = landmarks(880, 1000) + np.array([0, 220])
    side = max(width - 320, height)  # the script takes 1200 where 1000 is right
    origin = np.array(frame.origin[::-1])
    projected = np.round((true - origin) * (side / 1000) + origin).astype(int)
    row = cells(height=width, width=height, points=projected)
    _, labels = labels_of(save_rows(tmp_path / "m.csv", row), height, width, borders)
    for index, organ in ((LEFT, "left_lung"), (RIGHT, "right_lung")):
        expected = polygon(true[POINTS[organ]], height, width)
        assert dice(labels == index, expected) > 0.99
        np.testing.assert_allclose(centre(labels == index), centre(expected), atol=0.5)


def test_black_borders_and_swapped_sides_scale_the_landmarks():
    """back_padchest.py written out for one landmark, with the sides swapped and not."""
    shape, frame = (2000, 1800), Frame(250, 0, 1600, 1800)
    square = np.array([[100.0, 300.0], [900.0, 800.0]])
    pad_left, pad_top = (1800 - 1800) // 2, (1800 - 1600) // 2

    def projected(height, width):
        side = max(height - 400, width)
        return square / 1024 * side - [pad_left, pad_top] + [0, 250]

    np.testing.assert_allclose(untransposed(projected(1800, 2000), frame, shape), projected(2000, 1800))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Left Lung": ""}, "no run lengths for left_lung"),
        ({"Left Lung": "5 x 7"}, "not pairs of whole numbers"),
        ({"Left Lung": "5 3"}, "do not fit the landmarks on 1200 x 1000 nor 1000 x 1200"),
        ({"Dice RCA (Mean)": "good"}, r"Dice RCA \(Mean\) is 'good'"),
        ({"Dice RCA (Mean)": ""}, "expected a number from 0 to 1"),
        ({"Dice RCA (Max)": 17}, r"Dice RCA \(Max\) is '17'"),
        ({"Landmarks": "1,2,3"}, "expected 120 pairs"),
        ({"Height": "-3"}, "Height is '-3'"),
        ({"Height": 1201, "Width": 1001}, "do not fit"),
        ({"ImageID": ""}, "no image id"),
    ],
)
def test_rows_that_cannot_be_trusted_are_left_out_and_listed(tmp_path, change, reason):
    bad = cells("b.png", 1200, 1000) | change
    masks = ChexmaskFile(save_rows(tmp_path / "m.csv", cells(height=1200, width=1000), bad))
    (line, _, why), *rest = masks.skipped
    assert (line, rest) == (3, [])
    np.testing.assert_array_equal(masks.quality(["a.png", "b.png"]), [0.8, np.nan])
    assert masks.labels("b.png", image_of(1200, 1000)) is None
    with pytest.raises(DataError, match=f"no row can be used.\n  line 2 .*{reason}"):
        ChexmaskFile(save_rows(tmp_path / "n.csv", bad))
    assert why in "\n".join(masks.report())


def test_masks_that_lie_elsewhere_than_their_landmarks_are_left_out(tmp_path):
    row = cells(height=1200, width=1000)
    shifts = {"down": np.array([0, 40]), "aside": np.array([300, 0])}
    for name, shift in shifts.items():
        moved = cells(height=1200, width=1000, points=landmarks(1200, 1000) + shift)["Right Lung"]
        masks = ChexmaskFile(save_rows(tmp_path / f"{name}.csv", cells("b.png"), row | {"Right Lung": moved}))
        assert [(line, why[:11]) for line, _, why in masks.skipped] == [(3, "the run len")]


def test_mirrored_images_are_left_out(tmp_path):
    points = landmarks(1200, 1000)
    points[:, 0] = 999 - points[:, 0]
    with pytest.raises(DataError, match="a mirrored image"):
        ChexmaskFile(save_rows(tmp_path / "m.csv", cells(height=1200, width=1000, points=points)))


def test_damage_in_the_middle_is_found_when_the_mask_is_made(tmp_path):
    row = cells(height=1200, width=1000)
    tokens = row["Left Lung"].split()
    tokens[100] = tokens[102]
    path = save_rows(tmp_path / "m.csv", row | {"Left Lung": " ".join(tokens)})
    with pytest.raises(DataError, match=r"m\.csv: line 2 \(a\.png\): left_lung: run \d+ .*begins before"):
        labels_of(path)


def test_one_image_twice(tmp_path):
    first, other = cells("a.png"), cells("a.png", points=landmarks() + 3)
    masks = ChexmaskFile(save_rows(tmp_path / "m.csv", first, first, cells("b.png")))
    assert masks.report() == ["1 of 3 rows: repeat an earlier row"]
    masks = ChexmaskFile(save_rows(tmp_path / "n.csv", first, cells("b.png"), other, first))
    np.testing.assert_array_equal(masks.quality(["a.png", "b.png"]), [np.nan, 0.8])
    assert [line for line, _, _ in masks.skipped] == [2, 4]


def test_one_odd_row_does_not_turn_the_flavour(tmp_path):
    rows = [cells(f"{i}.png") for i in range(4)]
    path = save_rows(tmp_path / "m.csv", *rows, cells("odd.png", 1200, 1000))
    masks = ChexmaskFile(path)
    assert masks.flavour == "preprocessed"
    assert [(line, why[:11]) for line, _, why in masks.skipped] == [(6, "not 1024 x ")]
    assert ChexmaskFile(path, flavour="original").flavour == "original"
    with pytest.raises(ConfigError, match="no CheXmask flavour 'half'"):
        ChexmaskFile(path, flavour="half")


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "cell", "image", "dataset", "cropped"),
    [
        ("ImageID", "1_2.png", "0/1_2.png", "PadChest", True),
        ("dicom_id", "02aa-5", "p10/p1/s5/02aa-5.jpg", "MIMIC-CXR-JPG", True),
        (
            "Path",
            "train/patient1/study2/view1_frontal.jpg",
            "CheXpert-v1.0-small/train/patient1/study2/view1_frontal.jpg",
            "CheXpert",
            False,
        ),
        ("image_id", "00f1", "train/00f1.dicom", "VinDr-CXR", False),
        ("Image Index", "00001_000.png", "images_001/images/00001_000.png", "ChestX-ray8", False),
    ],
)
def test_the_files_of_all_datasets(tmp_path, column, cell, image, dataset, cropped):
    row = cells() | {column: cell}
    header = [column if name == "ImageID" else name for name in HEADER]
    masks = ChexmaskFile(save_rows(tmp_path / "m.csv", row, header=header))
    assert masks.dataset == dataset
    np.testing.assert_array_equal(masks.quality([image, "other.png"]), [0.8, np.nan])
    labels = masks.labels(image, image_of(1024, 1024, (200, 200, 0, 0)))
    assert labels is not None
    top = np.flatnonzero(labels.any(axis=1))[0]
    plain = np.flatnonzero(polygon(landmarks()[POINTS["right_lung"]], 1024, 1024).any(axis=1))[0]
    assert top == plain  # padded back to the same square, or never cropped
    labels = masks.labels(image, image_of(1024, 1024, (200, 100, 50, 0)))
    assert labels is not None
    assert (np.flatnonzero(labels.any(axis=1))[0] == plain) != cropped


def test_of_chexpert_only_whole_paths_count(tmp_path):
    header = ["Path", *HEADER[1:]]
    row = cells() | {"Path": "train/patient1/study2/view1_frontal.jpg"}
    masks = ChexmaskFile(save_rows(tmp_path / "m.csv", row, header=header))
    assert np.isnan(masks.quality(["train/patient1/study3/view1_frontal.jpg", "view1_frontal.jpg"])).all()


@pytest.mark.parametrize(
    "options",
    [{"delimiter": ";"}, {"delimiter": "\t"}, {"quoting": csv.QUOTE_ALL}, {"lineterminator": "\r\n"}],
)
def test_ways_to_write_csv(tmp_path, options):
    path = save_rows(tmp_path / "m.csv", cells("a.png"), cells("b.png"), header=HEADER[::-1], **options)
    path.write_bytes(b"\xef\xbb\xbf\n" + path.read_bytes().replace(b"b.png", b" b.png ") + b"\n\n")
    masks = ChexmaskFile(path)
    np.testing.assert_array_equal(masks.quality(["a.png", "b.png"]), [0.8, 0.8])
    assert (masks.labels("b.png", image_of(1024, 1024)) == LEFT).any()


def test_gzip_needs_a_place_for_its_rows(tmp_path):
    plain = save_rows(tmp_path / "m.csv", cells("a.png"), cells("b.png", points=landmarks() + 2))
    packed = tmp_path / "m.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(DataError, match=r"m\.csv\.gz: .*gzip -dk"):
        ChexmaskFile(packed)
    masks, same = ChexmaskFile(packed, unpack_to=tmp_path / "scratch", wanted=["b.png"]), ChexmaskFile(plain)
    raw = image_of(900, 800)
    np.testing.assert_array_equal(masks.labels("b.png", raw), same.labels("b.png", raw))
    assert masks.labels("a.png", raw) is None
    assert masks.fingerprint() == same.fingerprint()
    packed.write_bytes(gzip.compress(plain.read_bytes())[:-900])
    with pytest.raises(DataError, match="damaged or cut off"):
        ChexmaskFile(packed, unpack_to=tmp_path / "scratch")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"a,b\n1,2\n", "line 1: the columns imageid or dicom_id .* are missing"),
        (b"PK\x03\x04", "zip archive"),
        (b"\xff\xfea\x00", "UTF-16"),
        (",".join(HEADER).encode() + b'\na.png,.8,.9,"1,2', "line 2 opens a quote that is not closed"),
        (",".join(HEADER).encode() + b"\n\xff\xfe,1\n", "not text in UTF-8"),
        (",".join(HEADER).encode() + b"\na.png,.8\n", "2 cells where the header has 9"),
    ],
)
def test_files_that_are_no_chexmask(tmp_path, content, message):
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        ChexmaskFile(path)
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        ChexmaskFile(tmp_path / "none.csv")


def test_a_quote_that_swallows_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_stream, "LONGEST_ROW", 1 << 20)
    path = save_rows(tmp_path / "m.csv", cells())
    with open(path, "ab") as file:
        file.write(b'b.png,.8,.9,"1\n' + b"1,2,3\n" * 300_000)
    with pytest.raises(DataError, match=r"m\.csv: line 3 begins a row of more than 1 MB; is a quote not closed"):
        ChexmaskFile(path)


def test_a_file_changed_after_opening(tmp_path):
    path = save_rows(tmp_path / "m.csv", cells())
    masks = ChexmaskFile(path)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(DataError, match="has changed"):
        masks.labels("a.png", image_of(50, 50))
    path.unlink()
    with pytest.raises(DataError, match="no longer be read"):
        masks.labels("a.png", image_of(50, 50))


def test_copies_in_worker_processes_give_the_same(tmp_path):
    path = save_rows(tmp_path / "m.csv", *(cells(f"{i}.png", points=landmarks() + i) for i in range(3)))
    masks = ChexmaskFile(path, heart=True)
    copy = pickle.loads(pickle.dumps(masks))
    for i in (2, 0, 1):
        np.testing.assert_array_equal(
            copy.labels(f"{i}.png", image_of(99, 88)), masks.labels(f"{i}.png", image_of(99, 88))
        )
    assert copy.fingerprint() == masks.fingerprint() == ChexmaskFile(path, heart=True).fingerprint()
    assert masks.fingerprint() != ChexmaskFile(path).fingerprint()
    assert masks.class_names == ("background", "left_lung", "right_lung", "heart")


def test_memory_is_bounded_by_rows_not_by_their_length(tmp_path):
    """2,000 rows of 17 kB (34 MB) are indexed in less than 3 MB."""
    path = save_rows(tmp_path / "m.csv", *[cells("0.png")])
    header, row = path.read_bytes().split(b"\r\n", 1)
    with open(path, "wb") as file:
        file.write(header + b"\r\n")
        for i in range(2000):
            file.write(row.replace(b"0.png", f"{i:08d}.png".encode(), 1))
    assert path.stat().st_size > 2.5e7
    tracemalloc.start()
    masks = ChexmaskFile(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite(masks.quality(["00001999.png"])).all()
    assert peak < 3e6
    assert sys.getsizeof(pickle.dumps(masks)) < 300_000


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_to_the_file_is_refused_or_harmless(tmp_path_factory, data):
    """Bytes changed, cut out or doubled: labels are the right ones, or there are none, or a DataError says why."""
    folder = tmp_path_factory.mktemp("fuzz")
    points = landmarks(48, 40)
    path = save_rows(folder / "m.csv", cells("a.png", 48, 40, points), cells("b.png", 48, 40, points))
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(0, 30))
    content[start : start + length] = data.draw(
        st.binary(max_size=8) | st.text('0123456789," \n-.', max_size=8).map(str.encode)
    )
    path.write_bytes(content)
    try:
        masks = ChexmaskFile(path, flavour="original")
        for image in ("a.png", "b.png"):
            labels = masks.labels(image, image_of(48, 40))
            assert labels is None or labels.shape == (48, 40)
            assert (labels is None) == np.isnan(masks.quality([image])[0])
    except DataError as error:
        assert "m.csv" in str(error)  # noqa: PT017
