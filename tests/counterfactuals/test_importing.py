"""Importing a folder of counterfactual images: grey levels as they are, nothing outside the folder."""

import os
import shutil

import numpy as np
import pytest

from densecf.counterfactuals.importing import image_stem, import_counterfactuals, parse_names
from densecf.data import PreparedDataset, prepare
from densecf.errors import ConfigError, DataError
from tests.counterfactuals.fake import SIZE, FakeSource
from tests.data.making import save, source

NAMES = {"sc": "scanner=other", "sc_pe": "scanner=other+pleural_effusion=other"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(FakeSource(6, ()), tmp_path_factory.mktemp("fake") / "data", size=SIZE, progress=False)


@pytest.fixture
def data(prepared, tmp_path):
    return PreparedDataset.open(shutil.copytree(prepared.path, tmp_path / "data"))


def dim(data, row, by):
    return np.rint(data.image(row) * by * 255).astype(np.uint8)


@pytest.fixture
def folder(data, tmp_path):
    """8-bit images that are darker than the real ones: nowhere near white."""
    for row in range(6):
        save(tmp_path / f"made/image-{row:04d}_sc.png", dim(data, row, 0.7))
        save(tmp_path / f"made/image-{row:04d}_sc_pe.png", dim(data, row, 0.8))
    return tmp_path / "made"


def test_grey_levels_are_taken_as_they_are(data, folder, capsys):
    made = import_counterfactuals(data, folder, NAMES, progress=False)
    assert made.counterfactuals["imported"] == tuple(NAMES.values())
    for name, by in zip(NAMES.values(), (0.7, 0.8), strict=True):
        for row in range(6):
            found = made.counterfactual("imported", name, row)
            np.testing.assert_allclose(found, dim(data, row, by) / 255, atol=1e-5)  # to the stored depth: exact
            np.testing.assert_allclose(found, data.image(row) * by, atol=0.51 / 255)
    made.verify()
    shown = capsys.readouterr().out
    assert "scanner=other: grey level 0.70 times that of the real images, correlation with them 1.00" in shown
    assert "hardly like" not in shown


def test_the_authors_gain_is_there_when_asked_for(data, folder):
    data.meta["profile"] = "authors"
    made = import_counterfactuals(data, folder, NAMES, gain="own", source="authors", progress=False)
    for row in range(6):
        stored = dim(data, row, 0.7)
        np.testing.assert_allclose(
            made.counterfactual("authors", "scanner=other", row), stored / stored.max(), atol=1e-4
        )


@pytest.mark.parametrize("depth", [255, 65535])
def test_the_depth_of_the_file_is_its_white(data, tmp_path, depth):
    kind = np.uint8 if depth == 255 else np.uint16
    for row in range(6):
        save(tmp_path / f"made/image-{row:04d}_sc.png", np.rint(data.image(row) * 0.5 * depth).astype(kind))
    made = import_counterfactuals(data, tmp_path / "made", {"sc": "scanner=other"}, progress=False)
    np.testing.assert_allclose(
        made.counterfactual("imported", "scanner=other", 3), data.image(3) / 2, atol=0.51 / depth
    )


def test_images_of_original_size_take_the_datasets_geometry(tmp_path):
    """An untouched copy of the original comes out where the real image lies, for an image that is padded."""
    data = prepare(source(tmp_path / "table", 4), tmp_path / "data", size=32, progress=False)
    shutil.copytree(tmp_path / "table/images", tmp_path / "made/images")
    made = import_counterfactuals(
        data, tmp_path / "made", {"x": "scanner=other"}, pattern="images/{stem}.png", gain="own", progress=False
    )
    np.testing.assert_array_equal(made.counterfactual("imported", "scanner=other", 2), data.image(2))
    real = import_counterfactuals(
        data, tmp_path / "made", {"x": "scanner=other"}, pattern="images/{stem}.png", source="real", progress=False
    )
    image, window = (d.counterfactual(s, "scanner=other", 2) for d, s in ((real, "real"), (made, "imported")))
    assert np.corrcoef(image.ravel(), window.ravel())[0, 1] > 0.99
    assert image.max() == pytest.approx(240 / 255, abs=1e-3)


def test_missing_files_are_listed_all_at_once(data, folder):
    (folder / "image-0001_sc.png").unlink()
    (folder / "image-0004_sc_pe.png").unlink()
    with pytest.raises(DataError) as error:
        import_counterfactuals(data, folder, NAMES, progress=False)
    for expected in ("2 problems", "image-0001.png: ", "'image-0001_sc.png' is missing", "'image-0004_sc_pe.png'"):
        assert expected in str(error.value)
    assert not list(data.path.glob("counterfactuals/.*"))


@pytest.mark.parametrize("escape", ["pattern", "link", "name"])
def test_nothing_outside_the_folder_is_read(data, folder, escape):
    outside = folder.parent / "outside"
    shutil.copytree(folder, outside)
    names, pattern = dict(NAMES), "{stem}_{name}.png"
    if escape == "pattern":
        pattern = "../outside/{stem}_{name}.png"
    elif escape == "name":
        names, pattern = {"x/../../outside/y": "scanner=other"}, "{name}{stem}_sc.png"
        shutil.copy(outside / "image-0000_sc.png", outside / "yimage-0000_sc.png")
    else:
        (folder / "image-0002_sc.png").unlink()
        os.symlink(outside / "image-0002_sc.png", folder / "image-0002_sc.png")
    with pytest.raises(DataError, match=r"leads out of .*made .*--from"):
        import_counterfactuals(data, folder, names, pattern=pattern, progress=False)


def test_images_of_other_records_are_noticed(data, folder, capsys):
    for row in range(6):
        save(folder / f"image-{row:04d}_sc.png", dim(data, 5 - row, 0.9))
    import_counterfactuals(data, folder, NAMES, progress=False)
    assert "Note: scanner=other: hardly like the real images" in capsys.readouterr().out


def test_an_unreadable_image_leaves_no_counterfactuals_and_the_import_goes_on(data, folder):
    good = (folder / "image-0003_sc.png").read_bytes()
    wide = np.arange(400, dtype=np.float32).reshape(20, 20)
    save(folder / "image-0003_sc.tif", wide).rename(folder / "image-0003_sc.png")
    with pytest.raises(DataError, match=r"image-0003_sc\.png: neither an 8- or 16-bit image .*--gain own"):
        import_counterfactuals(data, folder, NAMES, progress=False)
    assert "imported" not in PreparedDataset.open(data.path).counterfactuals
    (folder / "image-0003_sc.png").write_bytes(good)
    import_counterfactuals(data, folder, NAMES, progress=False)
    with pytest.raises(DataError, match="stored already"):
        import_counterfactuals(data, folder, NAMES, progress=False)
    assert import_counterfactuals(data, folder, NAMES, overwrite=True, progress=False).counterfactuals["imported"]


def test_requests_that_cannot_be_understood(data, folder):
    for pattern in ("{name}.png", "{stem}.png", "{stem}_{name}_{image}.png", "{stem.__class__}_{stem}_{name}"):
        with pytest.raises(ConfigError, match="--pattern"):
            import_counterfactuals(data, folder, NAMES, pattern=pattern, progress=False)
    with pytest.raises(ConfigError, match="--gain half"):
        import_counterfactuals(data, folder, NAMES, gain="half", progress=False)
    with pytest.raises(DataError, match="no such folder; --from"):
        import_counterfactuals(data, folder / "none", NAMES, progress=False)
    with pytest.raises(DataError, match="cannot name a counterfactual"):
        import_counterfactuals(data, folder, NAMES, source="../x", progress=False)


def test_records_with_the_same_file_name_cannot_be_told_apart(data, folder):
    data.records["image"] = [f"{'ab'[i % 2]}/{i // 2}.png" for i in range(6)]
    with pytest.raises(DataError, match=r"b/0\.png: has the same file name as a/0\.png"):
        import_counterfactuals(data, folder, NAMES, progress=False)


def test_names():
    assert parse_names(["sc=scanner=other", "x=scanner=A+B+sex=F"]) == {"sc": "scanner=other", "x": "scanner=A+B+sex=F"}
    for texts, words in (
        ([], "nothing is given"),
        (["sc"], "'sc' cannot be read"),
        (["=scanner=other"], "cannot be read"),
        (["sc=scanner"], "cannot be read"),
        (["sc=scanner=other+pe"], None),
        (["a=sex=F", "a=sex=M"], "repeats"),
        (["a=sex=F", "b=sex=F"], "repeats"),
        (["a", "b=sex=F", "b=sex=M"], r"'a' cannot be read; 'b=sex=M' repeats"),
    ):
        if words is None:  # a value may hold a plus
            assert parse_names(texts) == {"sc": "scanner=other+pe"}
            continue
        with pytest.raises(ConfigError, match=words):
            parse_names(texts)


@pytest.mark.parametrize(
    ("image", "stem"),
    [("a/b.1.png", "b.1"), ("c.nii.gz", "c"), ("d.DCM", "d"), ("1.2.840.5", "1.2.840.5"), ("phantom-1", "phantom-1")],
)
def test_image_stem(image, stem):
    assert image_stem(image) == stem
