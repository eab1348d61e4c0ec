"""``densecf data prepare padchest`` and its neighbours, on small datasets in each one's own layout."""

import csv
import errno
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from densecf.commands.options import PreparePublishedOptions
from densecf.commands.prepare_published import prepare_published
from densecf.data.prepared import PreparedDataset
from densecf.data.run_lengths import encode
from densecf.errors import ConfigError, DataError, DensecfError
from tests.data.published import padchest
from tests.data.published.all import CASES

BASE = PreparePublishedOptions(table=(), out=Path(), size=32, workers=1, quiet=True)


def run(folder: Path, out: str = "out", images: Path | None = None, **options) -> PreparedDataset:
    given = {"table": (folder / padchest.TABLE,), "images": images or folder, "out": folder / out} | options
    return prepare_published("padchest", replace(BASE, **given))


@pytest.fixture
def folder(tmp_path) -> Path:
    padchest.build(tmp_path, 24)
    return tmp_path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_dataset_from_its_files(case, tmp_path, run_densecf):
    case.build(tmp_path, 30)
    tables = [tmp_path / name for name in case.tables]
    printed = run_densecf(
        tmp_path, "data", "prepare", case.name, "--table", *tables, "--images", tmp_path, "--out", "out", "--size", 32,
        "--quiet", "--workers", 1,
    ).stdout  # fmt: skip
    data = PreparedDataset.open(tmp_path / "out")
    assert {"train", "test"} <= set(data.records["split"]) <= {"train", "val", "test"}
    assert data.records.groupby("patient_id")["split"].nunique().max() == 1
    assert "rows left out" in printed
    assert (np.asarray(data.images).reshape(len(data), -1).std(axis=1) > 0).all()


def test_a_place_that_cannot_be_written_is_named(folder, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(DensecfError, match=r"out cannot be written: no permission"):
        run(folder)


def flat(folder: Path) -> None:
    for file in [*folder.glob("0/*.png"), *folder.glob("1/*.png")]:
        file.rename(folder / file.name)


def zipped(folder: Path, prefix: str = "") -> None:
    for part in ("0", "1"):
        with zipfile.ZipFile(folder / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted((folder / part).iterdir()):
                archive.write(file, prefix.format(part) + file.name)
                file.unlink()
        (folder / part).rmdir()


@pytest.mark.parametrize(
    "layout", [flat, zipped, lambda folder: zipped(folder, "{}/")], ids=["flat", "zipped", "zipped with folders"]
)
def test_padchest_is_the_same_in_every_layout(folder, layout):
    nested = run(folder)
    layout(folder)
    other = run(folder, "other")
    np.testing.assert_array_equal(nested.images, other.images)
    pd.testing.assert_frame_equal(nested.records, other.records)


def test_what_the_table_says_of_black_and_white_goes_before_the_file(folder):
    """A record whose table says MONOCHROME1 comes out as one stored the other way round and saying MONOCHROME2."""
    data = run(folder)
    inverted = (data.records["photometric"] == "MONOCHROME1").to_numpy()
    assert 0 < inverted.sum() < len(data)
    table = folder / padchest.TABLE
    table.write_text(table.read_text().replace("MONOCHROME1", "MONOCHROME2"))
    for name in data.records["image"][inverted]:
        path = next(folder.glob(f"[01]/{name}"))
        pixels = np.asarray(Image.open(path))
        Image.fromarray((pixels.max() - pixels).astype(np.uint16)).save(path)
    other = run(folder, "other")
    difference = np.abs(np.asarray(data.images, np.float64) - np.asarray(other.images))
    assert difference.max() <= 0.01 * np.asarray(data.images).max()


def test_a_few_bad_images_are_listed_and_more_are_an_error(folder):
    images = sorted(folder.glob("[01]/*.png"))
    kept = [path for path in images if path.name in set(run(folder).records["image"])]
    kept[0].write_bytes(kept[0].read_bytes()[:200])
    kept[1].unlink()
    with pytest.raises(DataError, match=r"records cannot be used \(2 problems\)|2 of \d+ files are missing") as caught:
        run(folder, "strict", max_bad=1.5 / len(kept))
    assert "a --max-bad above" in str(caught.value)
    data = run(folder, "lenient", max_bad=0.3)
    skipped = pd.read_csv(folder / "lenient/skipped.csv")
    assert set(skipped["image"]) == {kept[0].name, kept[1].name}
    assert len(data) == len(kept) - 2


def test_manual_images_are_excluded_with_their_patients(folder, capsys):
    everything = run(folder).records
    counts = everything["patient_id"].value_counts()
    patient = counts.index[counts > 1][0]
    image = everything["image"][everything["patient_id"] == patient].iloc[0]
    (folder / "manual.csv").write_text(f"image\n{image}\n")
    by_patient = run(folder, "a", exclude=folder / "manual.csv").records
    assert patient not in set(by_patient["patient_id"])
    published = run(folder, "b", exclude=folder / "manual.csv", split="published").records
    assert image not in set(published["image"])
    assert len(published) == len(everything) - 1
    # Who is in which part does not depend on who is left out.
    for records in (by_patient, published):
        merged = records.merge(everything, on="image")
        assert (merged["split_x"] == merged["split_y"]).all()
    (folder / "plain.txt").write_text(f"{image}\nnot_there.png\n")
    capsys.readouterr()
    pd.testing.assert_frame_equal(run(folder, "c", exclude=folder / "plain.txt").records, by_patient)
    assert "not among the images used, by their filters or by their names: not_there.png" in capsys.readouterr().out
    (folder / "other.csv").write_text("image\nnot_there.png\n")
    with pytest.raises(DataError, match=r"other\.csv: none of its 1 images is in the table"):
        run(folder, "d", exclude=folder / "other.csv")
    (folder / "wide.csv").write_text("name,of\na,b\n")
    with pytest.raises(DataError, match="expected a column image"):
        run(folder, "d", exclude=folder / "wide.csv")


def lungs(height: int = 48, width: int = 40) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.zeros((2, height, width), bool)
    left[10:40, 24:36], right[10:40, 4:16] = True, True
    return left, right


def chexmask(path: Path, images: list[str], quality: list[float]) -> Path:
    left, right = lungs()
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        scores = ("Dice RCA (Max)", "Dice RCA (Mean)")
        writer.writerow(["ImageID", *scores, "Landmarks", "Left Lung", "Right Lung", "Heart", "Height", "Width"])
        for image, value in zip(images, quality, strict=True):
            writer.writerow([image, value, value, "", encode(left), encode(right), "", 48, 40])
    return path


def drawn(folder: Path, images: list[str]) -> Path:
    left, right = lungs()
    for image in images:
        path = folder / "labels" / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(left.astype(np.uint8) + 2 * right.astype(np.uint8)).save(path)
    return folder


def test_chexmask_above_the_quality_is_joined(folder, capsys):
    images = run(folder).records["image"].tolist()
    quality = np.linspace(0.5, 0.9, len(images) - 1).round(3).tolist()
    masks = chexmask(folder / "Padchest.csv", images[:-1], quality)
    data = run(folder, "masked", chexmask=masks, min_quality=0.7)
    good = np.array([*quality, 0]) >= 0.7
    assert (data.records["mask_kind"] == "silver").tolist() == good.tolist()
    np.testing.assert_allclose(data.records["mask_quality"][good], np.array([*quality, 0])[good])
    assert data.class_names == ("background", "left_lung", "right_lung")
    mask = np.asarray(data.masks[int(np.flatnonzero(good)[0])])
    assert mask[16, 24] == 1
    assert mask[16, 8] == 2
    said = capsys.readouterr().out
    assert f"{len(images) - 1} of {len(images)} images have a silver mask, {sum(q < 0.7 for q in quality)} of" in said


def test_masks_of_another_dataset(folder):
    masks = chexmask(folder / "Padchest.csv", ["other.png"], [0.9])
    with pytest.raises(DataError, match=r"has a mask for none of the \d+ images"):
        run(folder, chexmask=masks)


def test_masks_drawn_by_hand_are_set_apart_with_their_patients(folder, capsys):
    everything = run(folder).records
    counts = everything["patient_id"].value_counts()
    patient = counts.index[counts > 1][0]
    images = everything["image"].tolist()
    chosen = everything["image"][everything["patient_id"] == patient].iloc[0]
    silver = chexmask(folder / "Padchest.csv", images, [0.9] * len(images))
    manual = drawn(folder / "drawn", [chosen])
    data = run(folder, "both", chexmask=silver, manual_masks=(manual,))
    own = data.records[data.records["patient_id"] == patient]
    assert own["image"].tolist() == [chosen]
    assert own["split"].tolist() == ["manual"]
    assert own["mask_kind"].tolist() == ["manual"]
    others = data.records[data.records["image"] != chosen].merge(everything, on="image")
    assert (others["split_x"] == others["split_y"]).all()
    assert (others["mask_kind_x"] == "silver").all()
    assert re.search(r"\d+ other images of their patients are left out", capsys.readouterr().out)
    published = run(folder, "published", manual_masks=(manual,), split="published")
    assert len(published) == len(everything)
    assert published.meta["fingerprint"]["source"]["shared_patients"] == 1
    assert "1 patients are in more than one part now" in capsys.readouterr().out


def test_the_small_copies_that_masks_were_drawn_on(folder):
    everything = run(folder).records
    chosen = everything["image"].tolist()[:3]
    manual = folder / "drawn"
    for index, image in enumerate(chosen):
        for name in ("labels", "images"):
            (manual / name).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(index)
        Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(manual / "images" / image)
        labels = np.zeros((32, 32, 3), np.uint8)
        labels[8:24, 18:28, 2], labels[8:24, 4:14, 1] = 255, 255
        Image.fromarray(labels).save(manual / "labels" / image)
    data = run(folder, "copies", manual_masks=(manual,), manual_copies=True)
    assert sorted(data.records["image"]) == sorted(chosen)
    assert set(data.records["split"]) == {"manual"}
    assert set(np.unique(data.masks)) == {0, 1, 2}
    with pytest.raises(ConfigError, match="needs --manual-masks"):
        run(folder, "none", manual_copies=True)


def test_images_are_needed(folder):
    with pytest.raises(ConfigError, match="--images is needed"):
        prepare_published("padchest", replace(BASE, table=(folder / padchest.TABLE,), out=folder / "out"))


def test_related_effusions_count_when_asked(folder):
    plain, counted = run(folder).records, run(folder, "yes", related_effusion="yes").records
    related = plain["related_effusion"] == 1
    assert related.any()
    assert (plain["pleural_effusion"][related] == 0).all()
    assert (counted["pleural_effusion"][related] == 1).all()
    assert (counted["pleural_effusion"][~related] == plain["pleural_effusion"][~related]).all()


def test_nothing_is_left_behind(folder):
    run(folder)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
