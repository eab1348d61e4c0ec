"""The main path through the real command line, on a small phantom in a temporary folder."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from densecf import load_pretrained
from densecf.methods import METHODS
from densecf.models.backbone import encoder_state_dict
from densecf.models.weights import load_run
from densecf.training.logs import read_metrics

TINY = ["--model.encoder", "resnet18", "--model.decoder-channels", *["32", "16", "16", "16", "16"]]
DISTILLATION = ["--distillation.prototypes", "32", "--distillation.local-crops", "2", "--distillation.hidden", "16"]
VIT = ["--model.encoder", "vit_tiny_patch16_224", "--patch-size", "8"]
SPARE = ["--hardware.precision", "32", "--hardware.workers", "0", "--quiet"]


def pretrain_arguments(data: Path, method: str, *more: object) -> list[str]:
    row = METHODS[method]
    network = [*TINY[:2], "--patch-size", 0] if row.image_level else TINY
    points = ["--points", 32] if row.objective == "contrast" and not row.image_level else []
    head = DISTILLATION if row.objective == "distil" else []
    options = ["--epochs", 1, "--batch-size", 4, *points, *network, *head, *SPARE, *more]
    return ["pretrain", "--data", str(data), "--method", method, *map(str, options)]


def finetune_arguments(data: Path, *more: object) -> list[str]:
    return [
        "finetune",
        "--data",
        str(data),
        *map(str, ["--epochs", 1, "--batch-size", 8, "--folds", 2, *TINY, *SPARE, *more]),
    ]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, run_densecf, phantom) -> Path:
    """A folder in which a network was pretrained, fine-tuned, and compared with the baseline."""
    folder = tmp_path_factory.mktemp("workshop")
    run_densecf(folder, *pretrain_arguments(phantom, "s-mvd-cl"))
    run_densecf(folder, *finetune_arguments(phantom))
    run_densecf(folder, *finetune_arguments(phantom, "--from", "none"))
    return folder


@pytest.mark.slow
def test_a_pretraining_run_is_complete(workshop, phantom):
    run = workshop / "runs/pretrain/s-mvd-cl"
    for name in (
        "config.yaml",
        "metrics.jsonl",
        "provenance.json",
        "weights.safetensors",
        "head.safetensors",
        "records.csv",
    ):
        assert (run / name).is_file(), name
    assert not (run / "checkpoint.ckpt").exists()
    assert (workshop / "runs/pretrain/latest").resolve() == run
    facts = json.loads((run / "provenance.json").read_text())
    assert facts["counterfactuals"] == "truth"
    assert facts["views"] == 4
    first = read_metrics(run / "metrics.jsonl")[0]
    assert {"loss", "chance", "spread", "effective_rank", "gap", "lr"} <= first.keys()
    assert any("purity" in row and "probe_dsc" in row for row in read_metrics(run / "metrics.jsonl"))
    seen = pd.read_csv(run / "records.csv", dtype=str)
    assert len(seen) == 24


@pytest.mark.slow
def test_weights_load_elsewhere_in_one_line(workshop):
    import segmentation_models_pytorch as smp
    import timm
    import torchvision

    run = workshop / "runs/pretrain/latest"
    model = smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=3, decoder_channels=(32, 16, 16, 16, 16))
    model.load_state_dict(load_file(run / "weights.safetensors"))
    timm.create_model("resnet18", in_chans=1, num_classes=0).load_state_dict(encoder_state_dict(run))
    missing, unexpected = torchvision.models.resnet18().load_state_dict(
        encoder_state_dict(run, in_channels=3), strict=False
    )
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"fc"}
    ready = load_pretrained(run, classes=5)
    assert ready(torch.zeros(2, 1, 64, 64)).shape == (2, 5, 64, 64)
    assert torch.equal(ready.encoder.conv1.weight, model.encoder.conv1.weight)


@pytest.mark.slow
def test_a_spread_first_convolution_sees_the_same(workshop):
    import torchvision

    run = workshop / "runs/pretrain/latest"
    grey = torch.rand(1, 1, 64, 64)
    encoder = torchvision.models.resnet18()
    encoder.load_state_dict(encoder_state_dict(run, in_channels=3), strict=False)
    expected = load_run(run).model.encoder.conv1(grey)
    torch.testing.assert_close(encoder.conv1(grey.repeat(1, 3, 1, 1)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_fine_tuning_run_is_complete(workshop):
    run = workshop / "runs/finetune/s-mvd-cl"
    cases = pd.read_csv(run / "cases.csv")
    assert list(cases.columns[:8]) == [
        "case",
        "patient_id",
        "fold",
        "pleural_effusion",
        "dsc",
        "hd95",
        "asd",
        "n_missed",
    ]
    assert len(cases) == cases["case"].nunique() == 70
    assert cases["pleural_effusion"].value_counts().to_dict() == {1.0: 50, 0.0: 20}
    assert cases.groupby("patient_id")["fold"].nunique().max() == 1
    summary = json.loads((run / "summary.json").read_text())
    assert {"dsc", "dsc_nf", "dsc_pe", "hd95", "asd", "n_missed"} <= summary.keys()
    by_fold = cases.groupby("fold")["dsc"].mean()
    assert summary["dsc"]["mean"] == pytest.approx(by_fold.mean())
    assert summary["dsc"]["std"] == pytest.approx(by_fold.std(ddof=0))
    assert Image.open(run / "overlays.png").size[0] > 600
    assert "DSC" in (run / "summary.md").read_text()
    for fold in range(2):
        facts = load_run(run / "folds" / str(fold)).meta
        assert (facts["method"], facts["encoder"], facts["size"], facts["classes"]) == ("finetune", "resnet18", 32, 3)


@pytest.mark.slow
def test_evaluate_and_compare(workshop, run_densecf):
    run_densecf(workshop, "evaluate", "--images", 20)
    found = json.loads((workshop / "runs/evaluate/s-mvd-cl/embeddings.json").read_text())
    assert found["purity_floor"] <= found["purity"] <= 1
    assert {"d_over_std", "d_over_variance"} <= found["separation"].keys()
    shown = run_densecf(workshop, "compare", "s-mvd-cl", "baseline").stdout
    assert "s-mvd-cl" in shown
    assert "baseline" in shown
    assert (workshop / "runs/compare/s-mvd-cl-against-baseline/comparison.md").is_file()


@pytest.mark.slow
def test_chromap_of_files_and_of_counterfactuals(workshop, phantom, run_densecf):
    Image.fromarray((np.load(phantom / "images.npy")[0] // 256).astype(np.uint8)).resize((120, 90)).save(
        workshop / "a.png"
    )
    run_densecf(workshop, "chromap", "a.png", "--fit-pixels", 300)
    assert Image.open(workshop / "runs/chromap/a/chromap_overlay.png").size == (120, 90)
    space = workshop / "runs/chromap/a/colour_space.safetensors"
    run_densecf(workshop, "chromap", "a.png", "--space", space, "--out", "again")
    first = np.asarray(Image.open(workshop / "runs/chromap/a/chromap_overlay.png"))
    assert np.array_equal(first, np.asarray(Image.open(workshop / "again/chromap_overlay.png")))
    run_densecf(workshop, "chromap", "--space", space, "--out", "record")
    foreign = workshop / "foreign"
    run_densecf(workshop, *pretrain_arguments(phantom, "vader", "--out", foreign))
    refused = run_densecf(workshop, "chromap", "a.png", "--run", foreign, "--space", space, code=2)
    assert "another network" in refused.stderr
    assert len(list((workshop / "record").glob("*_overlay.png"))) == 4


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in METHODS if name != "s-mvd-cl"])
def test_every_method_trains(method, phantom, run_densecf, tmp_path):
    run_densecf(tmp_path, *pretrain_arguments(phantom, method, "--monitor-every", 0))
    metrics = read_metrics(tmp_path / "runs/pretrain" / method / "metrics.jsonl")
    assert np.isfinite(metrics[0]["loss"])
    if METHODS[method].objective == "contrast":
        assert metrics[0]["loss"] < metrics[0]["chance"] + 1


@pytest.mark.slow
@pytest.mark.parametrize(("command", "method"), [("pretrain", "dvd-cl"), ("pretrain", "cf-dino"), ("finetune", "")])
def test_killed_and_resumed_equals_uninterrupted(command, method, phantom, run_densecf, tmp_path):
    if command == "pretrain":
        drop = [*VIT, "--distillation.drop-path", 0.3] if method == "cf-dino" else []
        arguments = pretrain_arguments(phantom, method, "--checkpoint-minutes", 0, "--epochs", 2, *drop)
        product, progress = f"runs/pretrain/{method}", "metrics.jsonl"
    else:
        arguments = finetune_arguments(phantom, "--from", "none", "--checkpoint-minutes", 0)
        product, progress = "runs/finetune/baseline", "folds/1/checkpoint.ckpt"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    run_densecf(whole, *arguments)
    process = subprocess.Popen([sys.executable, "-m", "densecf", *arguments], cwd=cut)
    deadline = time.monotonic() + 120
    marker = cut / product / ("checkpoint.ckpt" if command == "pretrain" else progress)
    while not marker.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / product / "summary.json").exists()
    run_densecf(cut, command, "--resume", *SPARE)
    assert "finished" in json.loads((cut / product / "provenance.json").read_text())
    for path in sorted((whole / product).rglob("*.safetensors")):
        first, second = load_file(path), load_file(cut / path.relative_to(whole))
        assert all(torch.equal(first[key], second[key]) for key in first), path
    if command == "pretrain":
        assert read_metrics(whole / product / progress) == read_metrics(cut / product / progress)
    else:
        assert (whole / product / "cases.csv").read_text() == (cut / product / "cases.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_is_no_success_and_says_how_to_go_on(sent, phantom, tmp_path):
    arguments = pretrain_arguments(phantom, "simclr", "--checkpoint-minutes", 0, "--epochs", 50)
    program = (  # a shell's background job would ignore Ctrl-C
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from densecf.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "runs/pretrain/simclr/checkpoint.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(sent)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "continue with --resume" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_refusals(workshop, phantom, refused_by_densecf, tmp_path):
    def refused(*arguments: object, words: str, cwd: Path = workshop) -> None:
        assert words in refused_by_densecf(cwd, *arguments)

    # A patient that was pretrained on cannot be tested on.
    refused(*finetune_arguments(phantom, "--where", "split=train"), words="also pretrained on")
    # Resuming does not change what is trained.
    refused("pretrain", "--resume", "--out", "runs/pretrain/s-mvd-cl", "--epochs", 9, words="--epochs cannot change")
    # Runs are not overwritten by accident.
    refused(*pretrain_arguments(phantom, "dvd-cl", "--out", "runs/pretrain/s-mvd-cl"), words="--overwrite")
    # Counterfactuals that are not there.
    refused(*pretrain_arguments(phantom, "dvd-cl", "--counterfactuals", "hvae"), words="truth, or none")
    # A refusal takes nothing away: the run that was to be replaced is still there.
    gone = pretrain_arguments(phantom, "dvd-cl", "--counterfactuals", "hvae", "--out", "runs/pretrain/s-mvd-cl")
    refused(*gone, "--overwrite", words="truth, or none")
    assert (workshop / "runs/pretrain/s-mvd-cl/weights.safetensors").is_file()
    assert not list((workshop / "runs/pretrain").glob(".*"))
    # Another network than the one that was pretrained, too few cases, runs of another kind.
    other = finetune_arguments(phantom, "--model.encoder", "resnet34")
    refused(*other, words="leave --model.* out")
    refused(*finetune_arguments(phantom, "--train-cases", 60), words="--train-cases 60: fold 0 has only")
    refused(*finetune_arguments(phantom, "--train-cases", 1), words="two images a step")
    refused("compare", "s-mvd-cl", "runs/pretrain/s-mvd-cl", words="a pretrain run")
    refused(*pretrain_arguments(phantom, "dvd-cl", "--name", "../evil"), words="plain folder name")
    refused("pretrain", "--resume", "--config", "x.yaml", words="do not go together")
    if not torch.cuda.is_available():
        refused(
            *pretrain_arguments(phantom, "dvd-cl", "--hardware.accelerator", "gpu"), words="does not fit this machine"
        )
    assert not (workshop / "runs/pretrain/dvd-cl").exists()
    # Weights of somebody else.
    foreign = tmp_path / "foreign.safetensors"
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, foreign)
    refused(*finetune_arguments(phantom, "--from", foreign), words="not written by densecf")
    foreign.write_bytes(b"nonsense")
    refused(*pretrain_arguments(phantom, "dvd-cl", "--init-from", foreign), words="not a safetensors file")


@pytest.mark.slow
def test_a_new_run_from_old_weights(workshop, phantom, run_densecf):
    run_densecf(
        workshop,
        *pretrain_arguments(phantom, "dvd-cl", "--init-from", "s-mvd-cl", "--name", "second", "--optim.lr", "1e-9"),
    )
    first = load_file(workshop / "runs/pretrain/s-mvd-cl/weights.safetensors")
    second = load_file(workshop / "runs/pretrain/second/weights.safetensors")
    torch.testing.assert_close(
        first["encoder.layer1.0.conv1.weight"], second["encoder.layer1.0.conv1.weight"], rtol=0, atol=1e-5
    )


@pytest.mark.slow
def test_an_image_level_run_starts_a_pixel_level_one_and_a_fine_tuning(
    phantom, run_densecf, refused_by_densecf, tmp_path
):
    run_densecf(tmp_path, *pretrain_arguments(phantom, "cf-simclr", "--intervene", "scanner", "pleural_effusion"))
    done = run_densecf(tmp_path, *pretrain_arguments(phantom, "vader", "--init-from", "cf-simclr"))
    assert "encoder loaded" in done.stdout
    run_densecf(tmp_path, *finetune_arguments(phantom, "--from", "cf-simclr"))
    assert (tmp_path / "runs/finetune/cf-simclr/summary.json").is_file()
    for arguments, words in (
        (["evaluate", "--run", "cf-simclr"], "an image-level run"),
        (pretrain_arguments(phantom, "simclr", "--points", 5), "--points: has no effect"),
        (pretrain_arguments(phantom, "vader", "--distillation.hidden", 5), "--distillation: has no effect"),
        (pretrain_arguments(phantom, "simclr", "--intervene", "sex"), "--intervene: has no effect"),
        (pretrain_arguments(phantom, "cf-simclr", "--intervene", "sex"), "--do sex=other"),
        (pretrain_arguments(phantom, "cf-dino", *VIT[:2], "--patch-size", 7), "do not divide"),
        (pretrain_arguments(phantom, "vader", "--patch-size", 8), "--patch-size: has no effect"),
    ):
        assert words in refused_by_densecf(tmp_path, *arguments)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files with a POSIX call")
def test_a_full_disk_is_explained_and_the_run_goes_on_later(phantom, run_densecf, tmp_path):
    arguments = pretrain_arguments(phantom, "dvd-cl", "--checkpoint-minutes", 0)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000)); "
        "from densecf.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    run = tmp_path / "runs/pretrain/dvd-cl"
    assert not (run / "weights.safetensors").exists()
    run_densecf(tmp_path, "pretrain", "--resume", *SPARE)
    assert (run / "weights.safetensors").exists()
    assert not list(run.glob("*.tmp"))


@pytest.mark.slow
def test_two_processes_train_one_run(phantom, run_densecf, tmp_path):
    arguments = pretrain_arguments(phantom, "s-dvd-cl", "--batch-size", 2, "--hardware.accelerator", "cpu")
    run_densecf(tmp_path, *arguments, "--hardware.devices", 2, afresh=True)
    run_densecf(tmp_path, *arguments, "--batch-size", 4, "--name", "alone")
    assert sorted(p.name for p in (tmp_path / "runs/pretrain").iterdir()) == ["alone", "latest", "s-dvd-cl"]
    two, one = (read_metrics(tmp_path / "runs/pretrain" / name / "metrics.jsonl") for name in ("s-dvd-cl", "alone"))
    assert [row["step"] for row in two] == [row["step"] for row in one]


@pytest.mark.slow
def test_real_radiographs_from_a_table(radiographs, run_densecf, tmp_path):
    table = ["--table", radiographs / "lungs.csv", "--size", 32, "--quiet"]
    run_densecf(tmp_path, "data", "prepare", "table", *table, "--out", "lungs", "--manual", "source=montgomery")
    more = ["--counterfactuals", "none", "--batch-size", 16, "--monitor-every", 0]
    # With every patient in it, the fine-tuning patients were pretrained on: refused, with the way out.
    run_densecf(tmp_path, *pretrain_arguments(Path("lungs"), "s-mvd-cl", *more, "--where", "age>=0", "--name", "all"))
    everyone = finetune_arguments(Path("lungs"), "--where", "source=shenzhen")
    assert "--exclude" in run_densecf(tmp_path, *everyone, code=2).stderr
    run_densecf(tmp_path, *pretrain_arguments(Path("lungs"), "s-mvd-cl", *more))
    few = ["--where", "source=montgomery", "--train-cases", 20]
    run_densecf(tmp_path, *finetune_arguments(Path("lungs"), *few))
    cases = pd.read_csv(tmp_path / "runs/finetune/s-mvd-cl/cases.csv")
    assert len(cases) == 138
    assert cases["pleural_effusion"].isna().sum() == 58
    assert cases.groupby("patient_id")["fold"].nunique().max() == 1
    picture = radiographs / "montgomery" / "images" / "MCUCXR_0001_0.png"
    run_densecf(tmp_path, "chromap", picture, "--fit-pixels", 300)
    assert Image.open(tmp_path / "runs/chromap/MCUCXR_0001_0/chromap_overlay.png").size == (256, 256)
