"""The model card, and the metrics that it finds."""

import json
import shutil
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from densecf.cli import main
from densecf.data.profiles import PROFILES
from densecf.errors import ConfigError
from densecf.export.card import model_card
from densecf.export.expected import WORDS, expected_input
from densecf.export.metrics import find_metrics
from densecf.export.source import open_source
from densecf.export.written import Written
from densecf.files import sha256_of_file, write_json_atomic
from tests.export.conftest import start

WRITTEN = Written("timm", "import timm\n", ("A note.",))


def test_a_card_says_where_the_weights_come_from(workshop):
    source = open_source(workshop / "runs/finetune/s-mvd-cl", 1)
    digest = sha256_of_file(source.weights)
    card = ModelCard(model_card(source, WRITTEN, find_metrics(source), digest))
    assert card.data.library_name == "timm"
    assert card.data.pipeline_tag == "image-segmentation"
    [result] = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("DSC (%)", 91.256)
    parent = sha256_of_file(workshop / "runs/pretrain/s-mvd-cl/weights.safetensors")
    for text in (
        "91.26 ± 1.23",
        digest,
        parent,
        "c0ffee",
        "s-mvd-cl, fold 1",
        "(x - 0.485) / 0.229",
        "64 x 64",
        "A note.",
    ):
        assert text in card.text, text
    assert str(workshop) not in card.content


def test_a_card_says_what_an_image_must_become(workshop):
    source = open_source(workshop / "runs/pretrain/s-mvd-cl", None)
    for normalises, said in ((False, "to be done before the network"), (True, "the network itself does it")):
        card = model_card(source, Written("onnx", "", normalises=normalises), [], "0" * 64)
        assert f"`(x - 0.485) / 0.229`; {said}" in card
        assert 'load_image(file, 64, "robust")' in card
    assert set(WORDS) == set(PROFILES)
    rendered = replace(source, facts={**source.facts, "profile": ""})
    assert expected_input(rendered, normalises=False)["profile"].startswith("robust 1, for images from files")


def test_a_card_names_no_path_of_this_machine(workshop):
    source = open_source(workshop / "runs/pretrain/s-mvd-cl", None)
    card = model_card(source, WRITTEN, find_metrics(source), "0" * 64)
    assert "lungs" in card
    assert "secret" not in card
    assert "| epochs | 4 |" in card


def test_a_card_claims_no_counterfactuals_where_there_were_none(workshop, tmp_path):
    shutil.copytree(workshop / "runs", tmp_path / "runs")
    run = tmp_path / "runs/pretrain/s-mvd-cl"
    facts = json.loads((run / "provenance.json").read_text())
    for made, told in (("hvae", False), ("none", True)):
        write_json_atomic(run / "provenance.json", {**facts, "counterfactuals": made})
        card = model_card(open_source(run, None), WRITTEN, [], "0" * 64)
        assert (card.count("here without counterfactuals") == 2) == told
        assert ("Counterfactual views are a model's" in card) != told
    tuned = tmp_path / "runs/finetune/s-mvd-cl"
    facts = json.loads((tuned / "provenance.json").read_text())
    gone = str(tmp_path / "gone/weights.safetensors")
    for start_from, may in ((str(run / "weights.safetensors"), False), (gone, True), ("none", False)):
        write_json_atomic(tuned / "provenance.json", {**facts, "pretrained": start_from})
        card = model_card(open_source(tuned, 1), WRITTEN, [], "0" * 64)
        assert ("Counterfactual views are a model's" in card) == may, start_from


def test_metrics_are_the_newest_evaluation_or_what_the_monitors_saw(workshop, tmp_path):
    shutil.copytree(workshop / "runs", tmp_path / "runs")
    source = open_source(tmp_path / "runs/pretrain/s-mvd-cl", None)
    [seen] = find_metrics(source)
    assert (seen.name, seen.mean, seen.where) == ("k-means purity", 0.8125, "during pretraining, step 9")
    for name, purity, finished in (
        ("old", 0.7, "2026-01-01"),
        ("new", 0.9, "2026-01-02"),
        ("other", 0.1, "2026-01-03"),
    ):
        of = source.weights if name != "other" else tmp_path / "runs/pretrain/simclr/weights.safetensors"
        run = start(tmp_path, "evaluate", name, pretrained=str(of), finished=finished)
        found = {"purity": purity, "purity_floor": 0.6, "separation": {"d_over_std": 3.0}, "probe": {"dsc": 88.0}}
        write_json_atomic(run / "embeddings.json", {**found, "num_images": 70, "num_probe_test": 14})
    metrics = {metric.name: metric.mean for metric in find_metrics(source)}
    assert metrics["k-means purity"] == 0.9
    assert metrics["linear pixel probe DSC (%)"] == 88.0


def test_what_could_not_be_measured_is_left_out(workshop, tmp_path):
    shutil.copytree(workshop / "runs", tmp_path / "runs")
    source = open_source(tmp_path / "runs/pretrain/s-mvd-cl", None)
    run = start(tmp_path, "evaluate", "empty-masks", pretrained=str(source.weights), finished="2026-01-01")
    found = {"purity": 0.9, "purity_floor": 0.6, "separation": {"d_over_std": float("inf")}, "probe": {"dsc": None}}
    write_json_atomic(run / "embeddings.json", {**found, "num_images": 70, "num_probe_test": 14})
    assert [metric.mean for metric in find_metrics(source)] == [0.9, 0.6]
    assert "k-means purity" in model_card(source, WRITTEN, find_metrics(source), "0" * 64)


def test_a_fold_must_be_named_and_be_there(workshop, monkeypatch, tmp_path, capsys):
    run = workshop / "runs/finetune/s-mvd-cl"
    for fold in (None, 0):
        with pytest.raises(ConfigError, match="folds with weights: 1"):
            open_source(run, fold)
    monkeypatch.chdir(workshop)
    wrong = (
        (["--run", str(run)], "say which"),
        (["--run", "runs/pretrain/simclr", "--fold", "0"], "leave --fold out"),
        (["--run", "nothing"], "no pretrain run there"),
        (["--run", "s-mvd-cl", "--fold", "-1"], "fold"),
    )
    for arguments, said in wrong:
        assert main(["export", "--format", "smp", *arguments, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err


def test_facts_for_machines(workshop, monkeypatch, tmp_path):
    monkeypatch.chdir(workshop)
    assert main(["export", "--format", "torchvision", "--run", "simclr", "--out", str(tmp_path / "out")]) == 0
    facts = json.loads((tmp_path / "out/densecf.json").read_text())
    assert facts["format"] == "torchvision"
    assert facts["network"]["encoder"] == "resnet18"
    assert facts["input"]["profile"] == "robust 1"
    assert facts["provenance"]["weights (SHA-256)"] == sha256_of_file(
        workshop / "runs/pretrain/simclr/weights.safetensors"
    )
