"""Every format, through the command line; the code of its model card is run as it stands, in the target library."""

import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
import torchvision
from huggingface_hub import ModelCard
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from densecf.cli import main
from densecf.data.profiles import load_image
from densecf.export.formats import FORMATS
from densecf.export.make import FACTS
from densecf.files import exclusive_lock
from densecf.models.backbone import load_image_encoder
from densecf.models.embed import embed_images, predict_masks
from densecf.models.unet import dense_features, normalise
from densecf.models.weights import load_run
from tests.export.conftest import CLASSES, SIZE

PIXELS, IMAGES, VIT, MASKS = ["s-mvd-cl"], ["simclr"], ["dino"], ["s-mvd-cl", "--fold", "1"]


@pytest.fixture
def exported(workshop, monkeypatch, tmp_path):
    """Exports, runs the code of the card inside the folder, and returns the folder and what the code made."""

    def do(form: str, run: list[str], images: Path | None = None) -> tuple[Path, dict]:
        monkeypatch.chdir(workshop)
        out = tmp_path / form
        assert main(["export", "--format", form, "--run", *run, "--out", str(out)]) == 0
        card = ModelCard.load(out / "README.md")
        [code] = re.findall(r"```python\n(.*?)```", card.text, re.S)
        if images is not None:
            shutil.copytree(images, out / "images")
        monkeypatch.chdir(out)
        made: dict = {}
        exec(code, made)
        monkeypatch.chdir(workshop)
        assert not [path.name for path in out.rglob("*") if path.suffix in (".pt", ".pth", ".bin", ".pkl", ".ckpt")]
        return out, made

    return do


def expected(workshop: Path, run: list[str], image: torch.Tensor) -> torch.Tensor:
    """What the run itself gives: probabilities, pixel features, or image features."""
    with torch.no_grad():
        if run == MASKS:
            unet = load_run(workshop / "runs/finetune/s-mvd-cl/folds/1").model
            return unet(normalise(image)).softmax(1)
        if run == PIXELS:
            return dense_features(load_run(workshop / "runs/pretrain/s-mvd-cl").model, image)
        return load_image_encoder(workshop / "runs/pretrain" / run[0])[0](image)


def assert_close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert wanted.std() > 1e-3  # two dead networks agree too
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("run", [PIXELS, MASKS], ids="-".join)
def test_smp_reads_the_whole_network(exported, workshop, run):
    _, made = exported("smp", run)
    assert_close(made["output"], expected(workshop, run, made["image"]))


@pytest.mark.parametrize("run", [IMAGES, VIT], ids="-".join)
def test_timm_reads_a_backbone(exported, workshop, run):
    out, made = exported("timm", run)
    assert_close(made["output"], expected(workshop, run, made["image"]))
    config = json.loads((out / "config.json").read_text())
    assert config["pretrained_cfg"]["mean"] == [0.485]
    assert tuple(config["pretrained_cfg"]["input_size"]) == (1, 64, 64)


@pytest.mark.parametrize("form", ["timm", "torchvision"])
@pytest.mark.parametrize("run", [PIXELS, MASKS], ids="-".join)
def test_the_encoder_of_a_unet_goes_where_backbones_go(exported, workshop, form, run):
    _, made = exported(form, run)
    folder = "finetune/s-mvd-cl/folds/1" if run == MASKS else "pretrain/s-mvd-cl"
    encoder = load_image_encoder(workshop / "runs" / folder)[0]
    with torch.no_grad():
        assert_close(made["output"], encoder(made["image"]))


def test_the_files_are_those_that_the_libraries_expect(exported):
    tensors = load_file(exported("timm", IMAGES)[0] / "model.safetensors")
    timm.create_model("resnet18", in_chans=1, num_classes=0).load_state_dict(tensors)  # strict
    tensors = load_file(exported("torchvision", IMAGES)[0] / "model.safetensors")
    missing, unexpected = torchvision.models.resnet18().load_state_dict(tensors, strict=False)
    assert (set(missing), unexpected) == ({"fc.weight", "fc.bias"}, [])


@pytest.mark.parametrize("run", [PIXELS, MASKS, VIT], ids="-".join)
def test_onnx_takes_grey_levels_in_any_number(exported, workshop, run):
    out, made = exported("onnx", run)
    assert made["image"].shape[0] == 3
    session = onnxruntime.InferenceSession(out / "model.onnx")
    names = [each.name for each in session.get_outputs()]
    for count in (1, 3):
        image = made["image"][:count]
        found = dict(zip(names, session.run(None, {"image": image}), strict=True))
        last = "probabilities" if run == MASKS else "features"
        assert_close(torch.from_numpy(found[last]), expected(workshop, run, torch.from_numpy(image)))
    if run == PIXELS:
        network = load_run(workshop / "runs/pretrain/s-mvd-cl")
        wanted = torch.stack(list(embed_images(network.model, network.head, made["image"][:, 0])))
        assert_close(torch.from_numpy(found["embeddings"]), wanted)
    facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert (facts["size"], facts["profile"], facts["class_names"]) == (SIZE, "robust", CLASSES)
    assert facts["input"]["normalisation"] == "`(x - 0.485) / 0.229`; the network itself does it"


def test_a_monai_bundle_segments_a_folder(exported, workshop, radiographs_like):
    out, made = exported("monai-bundle", MASKS, images=radiographs_like)
    assert_close(made["output"].cpu(), expected(workshop, MASKS, made["image"]))
    assert made["workflow"].check_properties() == []
    meta = json.loads((out / "configs/metadata.json").read_text())
    assert meta["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] == "left_lung"
    assert meta["preparation"]["profile"] == "robust 1"
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["square_mask.png", "wide_mask.png"]
    network = load_run(workshop / "runs/finetune/s-mvd-cl/folds/1").model
    for name in ("square", "wide"):
        file = radiographs_like / f"{name}.png"
        prepared, affine = load_image(file, SIZE, "robust")
        wanted = predict_masks(network, [prepared])[0]
        found = np.asarray(Image.open(out / "masks" / f"{name}_mask.png"))
        assert found.shape == np.asarray(Image.open(file)).shape
        # A prepared pixel's class is found again at its place in the image; the mask of a larger image lies between.
        places = [affine[axis, axis] * np.arange(SIZE) + affine[axis, 2] for axis in (0, 1)]
        inside = [(place >= 0) & (place <= side - 1) for place, side in zip(places, found.shape, strict=True)]
        rows, columns = (place[kept].round().astype(int) for place, kept in zip(places, inside, strict=True))
        again, wanted = found[np.ix_(rows, columns)], wanted[np.ix_(*inside)]
        assert len(np.unique(wanted)) > 1
        assert (again == wanted).mean() > (0.999 if name == "square" else 0.9), name
        assert (np.rot90(again, 2) == wanted).mean() < 0.9  # the test sees an image that is turned around


def test_a_monai_bundle_runs_from_the_shell(workshop, radiographs_like, monkeypatch, tmp_path):
    monkeypatch.chdir(workshop)
    out = tmp_path / "bundle"
    assert main(["export", "--format", "monai-bundle", "--run", *MASKS, "--out", str(out)]) == 0
    shutil.copytree(radiographs_like, out / "images")
    [line] = re.findall(r"`(python -m monai\.bundle [^`]*)`", (out / "README.md").read_text())
    done = subprocess.run([sys.executable, *line.split()[1:]], cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["square_mask.png", "wide_mask.png"]


@pytest.fixture
def radiographs_like(tmp_path) -> Path:
    """A folder with a square image of the network's size and a wide one, twice as large, with a black border."""
    folder = tmp_path / "radiographs"
    folder.mkdir()
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(grey).resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(folder / "square.png")
    wide = np.asarray(Image.fromarray(grey).resize((140, 90), Image.Resampling.BICUBIC)).copy()
    wide[:, :9] = 0
    Image.fromarray(wide).save(folder / "wide.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_what_does_not_fit_is_refused_with_what_does(workshop, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(workshop)
    wrong = {
        ("smp", "simclr"): "--format timm, torchvision or onnx",
        ("monai-bundle", "simclr"): "timm, torchvision or onnx",
        ("monai-bundle", "s-mvd-cl"): "densecf finetune --from",
        ("torchvision", "dino"): "resnet18, ",
        ("timm", "vader"): "--format smp or onnx",
        ("torchvision", "vader"): "--format timm or onnx",
    }
    for (form, run), said in wrong.items():
        assert main(["export", "--format", form, "--run", run, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err, (form, run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [*FORMATS])
def test_nothing_is_exported_that_gives_other_numbers(form, workshop, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(workshop)
    monkeypatch.setattr("densecf.export.agreement.TOLERANCE", -1.0)
    run = MASKS if form == "monai-bundle" else PIXELS
    assert main(["export", "--format", form, "--run", *run, "--out", str(tmp_path / "out")]) == 2
    assert "nothing was exported" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [SafetensorError("I/O error: No space left on device (os error 28)"), OSError(errno.ENOSPC, "full")]
)
def test_a_full_disk_is_told_in_one_line(error, workshop, monkeypatch, tmp_path, capsys):
    def write(source, folder):
        raise error

    monkeypatch.chdir(workshop)
    monkeypatch.setitem(FORMATS, "smp", write)
    assert main(["export", "--format", "smp", "--run", *PIXELS, "--out", str(tmp_path / "out")]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named(workshop, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(workshop)
    for module, form, run in (("to_onnx", "onnx", PIXELS), ("to_monai", "monai-bundle", MASKS)):
        monkeypatch.setattr(f"densecf.export.{module}.find_spec", lambda name: None)
        assert main(["export", "--format", form, "--run", *run, "--out", str(tmp_path / "out")]) == 2
        assert "pip install 'densecf[export]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_removed_by_the_next(workshop, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(workshop)
    arguments = ["export", "--format", "timm", "--run", "simclr", "--out", str(tmp_path / "out")]
    half = tmp_path / ".out.partial"
    (half / "export").mkdir(parents=True)
    (half / "export" / "model.safetensors").write_bytes(b"half")
    with exclusive_lock(half / "lock", "busy"):
        assert main(arguments) == 2
    assert "Another process is exporting" in capsys.readouterr().err
    assert main(arguments) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_is_replaced_only_when_told(workshop, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(workshop)
    arguments = ["export", "--format", "timm", "--run", "simclr", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    before = (tmp_path / "out" / FACTS).stat().st_ino
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / FACTS).stat().st_ino == before
    assert main([*arguments, "--overwrite"]) == 0
    assert (tmp_path / "out" / FACTS).stat().st_ino != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main([*arguments[:-1], str(tmp_path / "mine"), "--overwrite"]) == 2
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
