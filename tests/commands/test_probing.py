"""probe, embed and domains, from runs to tables and pictures."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors import safe_open

from densecf import cli
from densecf.commands.options import ProbeOptions
from densecf.commands.probe import _fixed
from densecf.data.prepare import prepare
from densecf.data.prepared import PreparedDataset
from densecf.data.readers.phantom import PhantomSource
from tests.commands.fake_runs import image_level_run

WIDTH = 96  # of the features of timm's test_resnet
QUIET = ("--quiet", "--fractions", "0.5", "1", "--seeds", "2")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, phantom) -> Path:
    """A folder with two image-level runs of the phantom, and another phantom beside it."""
    folder = tmp_path_factory.mktemp("probing")
    data = PreparedDataset.open(phantom)
    pretrained = np.flatnonzero(data.records["split"] == "train")
    for name in ("simclr", "cf-simclr"):
        image_level_run(folder, name, data, pretrained)
    prepare(PhantomSource(num_pretraining=12, seed=7), folder / "other", size=32, progress=False)
    return folder


@pytest.fixture
def densecf(workshop, capsys):
    """Runs a command in the workshop; returns what it printed."""

    def run(*arguments: object, code: int = 0) -> str:
        before = Path.cwd()
        os.chdir(workshop)
        try:
            assert cli.main([str(each) for each in arguments]) == code
        finally:
            os.chdir(before)
        shown = capsys.readouterr()
        return shown.err if code else shown.out

    return run


def test_a_linear_probe_from_runs_to_pictures(workshop, densecf):
    shown = densecf("probe", "--label", "pleural_effusion", "--run", "simclr", "cf-simclr", "none", "--data", "other",
                    "--out", "first", *QUIET)  # fmt: skip
    out = workshop / "first"
    assert {path.name for path in out.iterdir()} >= {
        "config.yaml", "provenance.json", "probe.csv", "probe.json", "probe.md", "probe.png", "curves.csv",
    }  # fmt: skip
    assert "drawn by patient: test:" in shown
    table = pd.read_csv(out / "probe.csv")
    assert list(table.columns) == ["run", "fraction", "seed", "dataset", "group", "auc", "n", "positives"]
    assert set(table["run"]) == {"simclr", "cf-simclr", "none"}
    assert set(table["dataset"]) == {"phantom", "other"}
    assert {"all", "sex=F", "sex=M", "sex gap"} < set(table["group"])
    assert sum(table["group"] == "all") == 3 * 2 * 2 * 2
    other = table[(table["dataset"] == "other") & (table["group"] == "all")]
    assert set(other["n"]) == {82}  # no test split: all records
    everything = table[(table["fraction"] == 1) & (table["group"] == "all")]
    assert everything.groupby(["run", "dataset"])["auc"].nunique().max() == 1  # nothing to draw
    found = json.loads((out / "probe.json").read_text())
    assert found["classes"] == ["0", "1"]
    assert len(found["fits"]) == 3 * 2 * 2
    gap = table[(table["group"] == "sex gap")].iloc[0]
    pair = table[(table["run"] == gap["run"]) & (table["fraction"] == gap["fraction"]) & (table["seed"] == gap["seed"])]
    each = pair[(pair["dataset"] == gap["dataset"]) & pair["group"].isin(["sex=F", "sex=M"])]["auc"]
    assert gap["auc"] == pytest.approx(each.max() - each.min())
    assert min(Image.open(out / "probe.png").size) > 300
    curves = pd.read_csv(out / "curves.csv")
    assert {"panel", "run", "fraction", "auc", "se"} <= set(curves.columns)


def test_features_are_kept_beside_the_weights(workshop, densecf, monkeypatch):
    densecf("probe", "--label", "pleural_effusion", "--run", "simclr", "--out", "once", *QUIET)
    [kept] = [path for path in (workshop / "runs/pretrain/simclr/features").iterdir()
              if len(safe_open(path, "np").get_tensor("rows")) == 94]  # fmt: skip
    assert safe_open(kept, "np").get_tensor("features").shape == (94, WIDTH)

    def never(*arguments, **more):
        raise AssertionError("an image passed the network a second time")

    monkeypatch.setattr("densecf.evaluation.image_features.extract_features", never)
    densecf("probe", "--label", "sex", "--run", "simclr", "--out", "twice", "--subgroup", "", *QUIET)
    text = (workshop / "twice/probe.md").read_text()
    assert "sex (F / M)" in text
    assert "gap" not in text.split("ROC-AUC")[0]


def test_several_classes(workshop, densecf):
    densecf("probe", "--label", "effusion_side", "--run", "simclr", "--out", "sides", *QUIET)
    table = pd.read_csv(workshop / "sides/probe.csv")
    assert table["positives"].isna().all()
    assert table["auc"].between(0, 1).all()


def test_refusals(workshop, densecf, phantom):
    def refused(*arguments: object, words: str) -> None:
        assert words in densecf(*arguments, code=2)

    probe = ("probe", "--run", "simclr", "--quiet")
    effusion = (*probe, "--label", "pleural_effusion")
    refused(*probe, "--label", "cough", words="the columns are image, patient_id, scanner")
    refused(*probe, "--label", "age", words="so it is no label")
    refused(*probe, "--label", "view", words="two are needed")
    refused(*effusion, "--fractions", "0", words="above 0 and to 1")
    refused(*effusion, "--fractions", "2", words="above 0 and to 1")
    refused(*effusion, "--fractions", "0.01", words="would do")
    refused(*effusion, "--seeds", "0", words="seeds")
    refused(*effusion, "--steps", "5", "--resume", words="--steps, --resume: has an effect with --finetune only")
    refused(*effusion, "--domain", "scaner", words="no column scaner to tell apart")
    refused(*effusion, "--encoder", "resnet50", words="beside --run none only")
    refused(*effusion, "--data", phantom, words="pretrained on")  # the very dataset, as if it were another
    refused(*effusion, "--run", "simclr", "nobody", words="no pretrain run there")
    refused(*effusion, "--run", "simclr", "runs/pretrain/simclr", words="each once")
    refused(*effusion, "--finetune", "--resume", words="no unfinished probe run")
    refused(*effusion, "--finetune", "--hardware.devices", "2", words="one device")
    refused("domains", "--run", "simclr", "--column", "hospital", "--quiet", words="'hospital'")
    refused("domains", "--run", "simclr", "--column", "view", "--quiet", words="two values")
    refused("embed", "--run", "simclr", "--out", "a.txt", words=".parquet or .csv")
    refused("embed", "--run", "simclr", "--out", "a.csv", "--level", "pixel", "--quiet", words="image-level run")


def test_nobody_is_tested_who_was_pretrained_on(workshop, densecf, phantom):
    data = PreparedDataset.open(phantom)
    image_level_run(workshop, "everyone", data, range(len(data)))
    shown = densecf("probe", "--run", "everyone", "--label", "pleural_effusion", "--quiet", code=2)
    assert "nobody is left" in shown
    shutil.rmtree(workshop / "runs/pretrain/everyone")
    bare = image_level_run(workshop, "bare", data, [0])
    (bare / "records.csv").unlink()
    assert "cannot be told" in densecf("probe", "--run", "bare", "--label", "pleural_effusion", "--quiet", code=2)
    shutil.rmtree(bare)


def test_a_vit_takes_its_own_size_only(workshop, densecf, phantom):
    data = PreparedDataset.open(phantom)
    image_level_run(workshop, "dino", data, [0, 1], encoder="vit_tiny_patch16_224", patch=8)
    densecf("domains", "--run", "dino", "--quiet", "--out", "vit")
    prepare(PhantomSource(num_pretraining=1, seed=8), workshop / "large", size=64, progress=False)
    probe = ("probe", "--label", "pleural_effusion", *QUIET)
    assert "is a ViT for 32 px" in densecf(*probe, "--run", "dino", "--data", "large", code=2)
    densecf(*probe, "--run", "simclr", "--data", "large", "--out", "sizes")


def test_domains_from_runs_to_pictures(workshop, densecf):
    shown = densecf("domains", "--run", "simclr", "cf-simclr", "--quiet", "--out", "scanners", "--points", 60)
    found = json.loads((workshop / "scanners/domains.json").read_text())
    assert set(found["runs"]) == {"simclr", "cf-simclr"}
    for score in found["runs"].values():
        assert score["chance"] == 0.5
        assert score["balanced_accuracy"] == pytest.approx(np.mean(list(score["recognised"].values())))
    assert "| chance | 50.0 |" in shown
    points = pd.read_csv(workshop / "scanners/points.csv")
    assert points.groupby("run").size().to_dict() == {"simclr": 60, "cf-simclr": 60}
    assert {"image", "patient_id", "scanner", "run", "x", "y"} == set(points.columns)
    assert min(Image.open(workshop / "scanners/domains.png").size) > 300


def test_embeddings_come_with_their_records(workshop, densecf, phantom):
    densecf("embed", "--run", "simclr", "--out", "e.parquet", "--quiet")
    densecf("embed", "--run", "simclr", "--out", "e.csv", "--quiet", "--where", "sex=F")
    table, part = pd.read_parquet(workshop / "e.parquet"), pd.read_csv(workshop / "e.csv")
    records = PreparedDataset.open(phantom).records
    assert table["image"].tolist() == records["image"].tolist()
    assert table.attrs["method"] == "simclr"
    assert [name for name in table.columns if name not in records] == [f"f{k}" for k in range(WIDTH)]
    expected = table[table["sex"] == "F"].reset_index(drop=True)
    np.testing.assert_allclose(part[["f0", f"f{WIDTH - 1}"]], expected[["f0", f"f{WIDTH - 1}"]], rtol=1e-5)
    assert "--overwrite" in densecf("embed", "--run", "simclr", "--out", "e.csv", code=2)
    densecf("embed", "--run", "simclr", "--out", "e.csv", "--overwrite", "--quiet")
    assert len(pd.read_csv(workshop / "e.csv")) == len(records)


def test_a_resumed_probe_keeps_its_arithmetic():
    fixed = _fixed(ProbeOptions(label="x"))
    assert {"steps", "views.rotation", "hardware.precision", "hardware.accelerator"} <= set(fixed)
    assert not {"hardware.workers", "checkpoint_minutes", "quiet", "overwrite"} & set(fixed)


@pytest.mark.slow
def test_fine_tuning_stops_and_goes_on(workshop, densecf, monkeypatch):
    """Killed after the second fit, the same command with --resume ends as if nothing had been."""
    command = ("probe", "--label", "pleural_effusion", "--run", "simclr", "--quiet", "--fractions", "1", "--seeds", 3,
               "--finetune", "--steps", 6, "--batch-size", 16, "--hardware.workers", 0,
               "--hardware.precision", 32)  # fmt: skip
    densecf(*command, "--out", "whole")
    from densecf.training import classify

    done = []

    def dies(*arguments, **more):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments)
        return classify_scores(*arguments, **more)

    classify_scores = classify.finetune_classifier
    monkeypatch.setattr(classify, "finetune_classifier", dies)
    assert "--resume" in densecf(*command, "--out", "cut", code=130)
    monkeypatch.undo()
    assert "other --steps" in densecf(*command, "--out", "cut", "--resume", "--steps", 7, code=2)
    other = densecf(*command, "--out", "cut", "--resume", "--hardware.precision", "bf16-mixed", code=2)
    assert "other --hardware.precision" in other
    densecf(*command, "--out", "cut", "--resume")
    first, second = (pd.read_csv(workshop / name / "probe.csv") for name in ("whole", "cut"))
    pd.testing.assert_frame_equal(first, second)
    assert "Already finished" not in densecf(*command, "--out", "whole", "--overwrite")
    facts = json.loads((workshop / "whole/probe.json").read_text())
    assert all(fit["val_auc"] >= 0 and fit["best_step"] > 0 for fit in facts["fits"])


@pytest.mark.slow
def test_through_the_real_command_line(workshop, run_densecf):
    done = run_densecf(workshop, "probe", "--label", "pleural_effusion", "--run", "cf-simclr", *QUIET)
    assert "Run: runs/probe/pleural_effusion-cf-simclr" in done.stdout
    table = pd.read_csv(workshop / "runs/probe/latest/probe.csv")
    assert np.isfinite(table.loc[table["group"] == "all", "auc"]).all()
