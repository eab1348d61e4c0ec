"""Every format, through the command line; the code of its model card is run as it stands, in the target library."""

import json
import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from densecf.cli import main
from densecf.export.formats import FORMATS
from densecf.export.make import FACTS
from densecf.models.backbone import load_image_encoder
from densecf.models.unet import dense_features, normalise
from densecf.models.weights import load_run

PIXELS, IMAGES, VIT, MASKS = ["s-mvd-cl"], ["simclr"], ["dino"], ["s-mvd-cl", "--fold", "1"]


@pytest.fixture
def exported(workshop, monkeypatch, tmp_path):
    """Exports, runs the code of the card inside the folder, and returns the folder and what the code made."""

    def do(form: str, run: list[str]) -> tuple[Path, dict]:
        monkeypatch.chdir(workshop)
        out = tmp_path / form
        assert main(["export", "--format", form, "--run", *run, "--out", str(out)]) == 0
        card = ModelCard.load(out / "README.md")
        [code] = re.findall(r"```python\n(.*?)```", card.text, re.S)
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


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert wanted.std() > 1e-3  # two dead networks agree too
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("run", [PIXELS, MASKS], ids="-".join)
def test_smp_reads_the_whole_network(exported, workshop, run):
    _, made = exported("smp", run)
    close(made["output"], expected(workshop, run, made["image"]))


@pytest.mark.parametrize("run", [IMAGES, VIT], ids="-".join)
def test_timm_reads_a_backbone(exported, workshop, run):
    out, made = exported("timm", run)
    close(made["output"], expected(workshop, run, made["image"]))
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
        close(made["output"], encoder(made["image"]))


def test_the_files_are_those_that_the_libraries_expect(exported):
    tensors = load_file(exported("timm", IMAGES)[0] / "model.safetensors")
    timm.create_model("resnet18", in_chans=1, num_classes=0).load_state_dict(tensors)  # strict
    tensors = load_file(exported("torchvision", IMAGES)[0] / "model.safetensors")
    missing, unexpected = torchvision.models.resnet18().load_state_dict(tensors, strict=False)
    assert (set(missing), unexpected) == ({"fc.weight", "fc.bias"}, [])


def test_what_does_not_fit_is_refused_with_what_does(workshop, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(workshop)
    wrong = {
        ("smp", "simclr"): "--format timm or torchvision",
        ("torchvision", "dino"): "resnet18, ",
        ("timm", "vader"): "--format smp",
        ("torchvision", "vader"): "--format timm",
    }
    for (form, run), said in wrong.items():
        assert main(["export", "--format", form, "--run", run, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err, (form, run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [*FORMATS])
def test_nothing_is_exported_that_gives_other_numbers(form, workshop, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(workshop)
    monkeypatch.setattr("densecf.export.agreement.TOLERANCE", -1.0)
    assert main(["export", "--format", form, "--run", *PIXELS, "--out", str(tmp_path / "out")]) == 2
    assert "nothing was exported" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


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
