"""The pixels of the published datasets, from their own layout and format through the real command line."""

from pathlib import Path

import numpy as np
import pytest

from densecf import cli
from densecf.data import PROFILES, PreparedDataset, RawImage
from tests.data.published import chexpert, embed, padchest, rsna, vindr_mammo
from tests.data.published.files import save_png8

SIZE = 64
LEVEL = 1 / 255


def prepare(name: str, table: Path, images: Path, out: Path, *options: str) -> PreparedDataset:
    arguments = ["--table", table, "--images", images, "--out", out, "--size", SIZE, "--workers", 1, "--quiet"]
    assert cli.main(["data", "prepare", name, *map(str, arguments), *options]) == 0
    return PreparedDataset.open(out)


def check_pixels(data: PreparedDataset, scenes: dict[str, np.ndarray], tolerance: float = 2 * LEVEL) -> None:
    """Every prepared image is its scene, whichever bit depth, compression, slope or photometry it was stored with."""
    assert len(data)
    for row, name in enumerate(data.records["image"]):
        expected, _ = PROFILES["robust"].image(RawImage(scenes[name].astype(np.float32)), SIZE)
        stored = np.asarray(data.images[row]).astype(np.float32)
        stored /= np.iinfo(data.images.dtype).max
        assert np.abs(stored - expected).mean() < tolerance / 2, name
        assert np.abs(stored - expected).max() < tolerance, name


def test_rsna(tmp_path, capsys):
    facts = rsna.build(tmp_path / "rsna", 14)
    data = prepare("rsna", facts.table, tmp_path / "rsna", tmp_path / "out")
    check_pixels(data, facts.pixels)
    assert set(data.records["image"]) == {name for name, view in facts.view.items() if view == "PA"}
    # 0.171 mm a pixel of 48 rows, of which 64 are made
    assert data.records["pixel_spacing"].to_numpy() == pytest.approx(0.171 * 48 / SIZE)
    assert "not View Position is PA" in capsys.readouterr().out


def test_rsna_in_jpeg_as_the_challenge_has_it(tmp_path):
    facts = rsna.build(tmp_path / "rsna", 6, syntax="jpeg")
    check_pixels(prepare("rsna", facts.table, tmp_path / "rsna", tmp_path / "out"), facts.pixels, tolerance=0.1)


def test_a_published_split_with_its_leak_can_be_prepared(tmp_path, capsys):
    facts = rsna.build(tmp_path / "rsna", 30)
    data = prepare("rsna", facts.table, tmp_path / "rsna", tmp_path / "out", "--split", "published")
    shared = (data.records.groupby("patient_id")["split"].nunique() > 1).sum()
    assert shared > 0
    assert f"the published split has {shared} patients in more than one part" in capsys.readouterr().out
    assert data.records["pneumonia"].isin([0, 1]).all()


def test_embed(tmp_path):
    facts = embed.build(tmp_path / "embed", 30)
    tables = tmp_path / "embed/tables"
    scenes = {"/".join(path.parts[-5:]): facts.pixels[path.stem] for path in (tmp_path / "embed").rglob("*.dcm")}
    data = prepare("embed", tables, tmp_path / "embed", tmp_path / "out")
    check_pixels(data, scenes)
    assert data.records["scanner"].nunique() == 6
    held_out = prepare("embed-ood", facts.table, tmp_path / "embed/images", tmp_path / "ood")
    check_pixels(held_out, scenes)
    assert set(held_out.records["scanner"]) == {"Senographe Essential"}


def test_embed_as_the_papers_have_it(tmp_path):
    """8-bit PNG in one folder a patient."""
    facts = embed.build(tmp_path / "embed", 20)
    scenes = {}
    for path in sorted((tmp_path / "embed").rglob("*.dcm")):
        image = "/".join(path.parts[-5:])
        scenes[image] = facts.pixels[path.stem] // 16
        png = tmp_path / f"png/images/png/1024x768/{path.parts[-4]}/{path.stem}.png"
        save_png8(png, scenes[image])
    check_pixels(prepare("embed", facts.table, tmp_path / "png", tmp_path / "out"), scenes)


def test_vindr_mammo(tmp_path):
    facts = vindr_mammo.build(tmp_path / "vindr", 12)
    data = prepare("vindr-mammo", tmp_path / "vindr", tmp_path / "vindr", tmp_path / "out")
    check_pixels(data, facts.pixels)
    assert len(data) == 48
    assert data.records["pixel_spacing"].to_numpy() == pytest.approx(0.085 * 48 / SIZE)


def test_chexpert(tmp_path):
    facts = chexpert.build(tmp_path / "chexpert", 20)
    scenes = {path.split("/", 1)[1]: pixels for path, pixels in facts.pixels.items()}
    data = prepare("chexpert", facts.table, facts.table.parent, tmp_path / "out")
    check_pixels(data, scenes, tolerance=0.1)  # JPEG


@pytest.mark.parametrize("zipped", [False, True])
def test_padchest(tmp_path, zipped):
    facts = padchest.build(tmp_path / "padchest", 20, zipped=zipped)
    assert (tmp_path / "padchest/0.zip").exists() == zipped
    data = prepare("padchest", facts.table, tmp_path / "padchest", tmp_path / "out")
    check_pixels(data, facts.pixels)
    for column, expected in (("scanner", facts.scanner), ("pleural_effusion", facts.effusion)):
        assert data.records[column].tolist() == [expected[name] for name in data.records["image"]]


def test_a_damaged_image_is_named(tmp_path, capsys):
    facts = vindr_mammo.build(tmp_path / "vindr", 6)
    damaged = sorted((tmp_path / "vindr/images").rglob("*.dicom"))[3]
    damaged.write_bytes(damaged.read_bytes()[:700])
    arguments = ["--table", facts.table, "--images", tmp_path / "vindr", "--out", tmp_path / "out", "--size", SIZE]
    assert cli.main(["data", "prepare", "vindr-mammo", *map(str, arguments), "--quiet"]) == 2
    assert damaged.name in capsys.readouterr().err
    assert cli.main(["data", "prepare", "vindr-mammo", *map(str, arguments), "--quiet", "--max-bad", "0.1"]) == 0
    assert len(PreparedDataset.open(tmp_path / "out")) == 23
