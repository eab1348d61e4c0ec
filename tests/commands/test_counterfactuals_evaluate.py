"""``densecf counterfactuals evaluate`` through the command line, with a tiny untrained HVAE and with stored truth."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from densecf.cli import main, parse
from densecf.commands.counterfactuals_evaluate import default_do, kept_back, varied_rows
from densecf.config_values import to_dict
from densecf.counterfactuals.generator import KIND
from densecf.counterfactuals.holdout import held_out
from densecf.counterfactuals.hvae.network import HVAE
from densecf.counterfactuals.parents import fit_parents
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.data.prepared import PreparedDataset
from densecf.models.weights import save_tensors
from tests.counterfactuals.tiny import UNTRAINED

QUICK = ("--judge-epochs", 1, "--images", 12, "--quiet")
ISSUE = {
    "effectiveness",
    "predictor_on_real",
    "composition",
    "reversibility",
    "lung_dice",
    "error_to_truth",
    "error_of_doing_nothing",
}


def evaluate(*arguments, code=0):
    assert main(["counterfactuals", "evaluate", *map(str, arguments)]) == code


def save_run(folder, data, names=("scanner", "sex", "pleural_effusion"), seed=0):
    """A finished run of ``counterfactuals train`` with random weights, as far as others look at one."""
    folder.mkdir(parents=True)
    scm = StructuralCausalModel(fit_parents(data.records, names)[0])
    torch.manual_seed(seed)
    network = HVAE(UNTRAINED, scm.parents.width)
    facts = {"kind": KIND, "network": to_dict(UNTRAINED), "scm": scm.to_dict(), "size": 32, "profile": ""}
    save_tensors(network.state_dict(), folder / "weights.safetensors", facts)
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": str(data.path), "holdout": 0.1, "seed": 0}))
    (folder / "provenance.json").write_text(json.dumps({"command": "counterfactuals", "finished": "today"}))
    seen = data.records[~held_out(data.records)]
    seen[["image", "patient_id"]].to_csv(folder / "records.csv", index=False)
    return folder


@pytest.fixture
def data(phantom, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return PreparedDataset.open(shutil.copytree(phantom, tmp_path / "lungs"))


@pytest.mark.slow
def test_a_model_is_measured_from_end_to_end(data, tmp_path, capsys):
    save_run(tmp_path / "runs/counterfactuals/hvae", data)
    evaluate("--run", "hvae", *QUICK)
    out = tmp_path / "runs/soundness/hvae"
    found = json.loads((out / "soundness.json").read_text())
    assert list(found) == ["scanner", "pleural_effusion", "scanner+pleural_effusion", "sex"]
    for figures in found.values():
        assert figures.keys() >= ISSUE
        assert all(isinstance(figures[name], float) for name in ISSUE)
        assert figures["images"] == 12
        assert figures["composition"] < 1e-5
        assert figures["reconstruction_error"] > 0.01  # an untrained network reconstructs nothing
    assert found["scanner"]["identity"].keys() == {"sex", "pleural_effusion"}
    assert (out / "cases.png").stat().st_size > 10_000
    assert "| scanner+pleural_effusion | 12 |" in (out / "soundness.md").read_text()
    assert json.loads((out / "provenance.json").read_text())["images"] == 12
    assert "Run: runs/soundness/hvae" in capsys.readouterr().out

    judges = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/soundness/.predictors").iterdir()}
    assert len(judges) == 2
    evaluate("--run", "hvae", "--out", "again", *QUICK)
    assert judges == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/soundness/.predictors").iterdir()}
    assert json.loads((tmp_path / "again/soundness.json").read_text()) == found


def test_before_and_after_stand_in_one_table(data, tmp_path):
    save_run(tmp_path / "runs/counterfactuals/before", data, ["scanner"])
    save_run(tmp_path / "runs/counterfactuals/after", data, ["scanner"], seed=1)
    evaluate("--run", "before", "after", "--do", "scanner=other", "--out", "both", *QUICK)
    found = json.loads((tmp_path / "both/soundness.json").read_text())
    assert {run: list(figures) for run, figures in found.items()} == {"before": ["scanner"], "after": ["scanner"]}
    # attributes that the models do not know are watched; with 22 training images only those that occur often enough
    assert set(found["before"]["scanner"]["identity"]) <= {"sex", "pleural_effusion"}
    table = (tmp_path / "both/soundness.md").read_text()
    assert "| scanner | before |" in table
    assert "| scanner | after |" in table
    assert (tmp_path / "both/cases-before.png").is_file()
    assert (tmp_path / "both/cases-after.png").is_file()


@pytest.mark.slow
def test_stored_counterfactuals_are_measured_without_a_model(data, tmp_path):
    evaluate("--data", data.path, "--source", "truth", "--where", "split=manual", *QUICK)
    found = json.loads((tmp_path / "runs/soundness/truth/soundness.json").read_text())
    assert list(found) == ["scanner", "pleural_effusion", "scanner+pleural_effusion"]
    for figures in found.values():
        assert figures["error_to_truth"] == 0
        assert figures["error_of_doing_nothing"] > 0.01
        assert figures["composition"] is None
        assert figures["reversibility"] is None
        assert "stored counterfactuals" in figures["not_measured"]["composition"]
        assert figures["effectiveness"] == figures["predictor_on_truth"]
        assert figures["lung_dice"] == figures["lung_dice_of_truth"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "hvae"), "no counterfactual hvae/ is stored; there are: truth: scanner=other"),
        (("--source", "truth", "--do", "sex=other"), "no counterfactual truth/sex=other is stored"),
        (("--source", "truth", "--run", "hvae"), "give one of them"),
        (("--source", "truth", "--where", "image=phantom-000001"), "no image to measure on: "),
        (("--run", "hvae"), "no counterfactuals run there"),
    ],
)
def test_mistakes_are_explained(data, capsys, arguments, message):
    evaluate("--data", data.path, *arguments, *QUICK, code=2)
    assert message in capsys.readouterr().err


def test_a_model_of_another_size_is_refused(data, tmp_path, capsys):
    run = save_run(tmp_path / "runs/counterfactuals/hvae", data)
    meta = json.loads((data.path / "meta.json").read_text())
    other = tmp_path / "other"
    assert main(["data", "prepare", "phantom", "--out", str(other), "--size", "64", "--images", "4", "--quiet"]) == 0
    evaluate("--run", run, "--data", other, *QUICK, code=2)
    assert "takes images of 32 px" in capsys.readouterr().err
    assert meta["size"] == 32


def test_patients_that_a_run_has_seen_are_never_measured_on(data, tmp_path):
    run = save_run(tmp_path / "runs/counterfactuals/hvae", data)
    before = kept_back(data, run / "weights.safetensors")
    np.testing.assert_array_equal(before, held_out(data.records))
    seen = data.records["patient_id"].iloc[int(np.flatnonzero(before)[0])]
    table = pd.read_csv(run / "records.csv", dtype=str)
    pd.concat([table, pd.DataFrame({"image": ["x"], "patient_id": [seen]})]).to_csv(run / "records.csv", index=False)
    after = kept_back(data, run / "weights.safetensors")
    np.testing.assert_array_equal(after, before & (data.records["patient_id"] != seen).to_numpy())
    (run / "config.yaml").write_text(yaml.safe_dump({"holdout": 0.5, "seed": 3}))
    expected = held_out(data.records, share=0.5, seed=3) & ~data.records["patient_id"].isin(
        [*table["patient_id"], seen]
    )
    np.testing.assert_array_equal(kept_back(data, run / "weights.safetensors"), expected)


def test_a_patient_called_na_is_known_by_that_name(data, tmp_path):
    run = save_run(tmp_path / "runs/counterfactuals/hvae", data)
    own = data.records["patient_id"].iloc[int(np.flatnonzero(kept_back(data, run / "weights.safetensors"))[0])]
    data.records = data.records.assign(patient_id=data.records["patient_id"].replace(own, "NA"))
    pd.DataFrame({"image": ["x"], "patient_id": ["NA"]}).to_csv(run / "records.csv", index=False)
    kept = kept_back(data, run / "weights.safetensors")
    assert kept.any()
    assert "NA" not in set(data.records["patient_id"][kept])


def test_without_do_every_discrete_parent_is_set():
    records = pd.DataFrame(
        {"image": list("abcd"), "scanner": list("ABAB"), "pleural_effusion": [0, 1, 1, 0], "age": [1.0, 2, 3, 4]}
    )
    records["sex"] = list("FMMF")
    parents, _ = fit_parents(records, ["sex", "age", "scanner", "pleural_effusion"])
    assert default_do(parents) == (
        "scanner=other",
        "pleural_effusion=other",
        "scanner=other+pleural_effusion=other",
        "sex=other",
    )
    assert default_do(parents.only(["sex", "age"])) == ("sex=other",)


def test_the_picture_shows_every_combination_in_turn():
    records = pd.DataFrame({"scanner": list("AAABBA"), "sex": list("FFFFFM")})
    assert varied_rows(records, np.arange(6), ["scanner", "sex"], 3).tolist() == [0, 3, 5]
    assert varied_rows(records, np.arange(6), ["scanner"], 3).tolist() == [0, 1, 3]
    assert varied_rows(records, np.array([4, 5]), ["scanner"], 9).tolist() == [4, 5]


def test_do_may_be_given_several_times():
    options = parse("counterfactuals evaluate", ["--do", "scanner=other", "--do", "sex=F", "sex=M", "--run", "a", "b"])
    assert options.do == (("scanner=other",), ("sex=F", "sex=M"))
    assert options.run == ("a", "b")
