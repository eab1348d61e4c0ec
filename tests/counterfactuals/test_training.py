import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import default_collate

from densecf.counterfactuals.generator import load_generator
from densecf.counterfactuals.hvae.distributions import discretised_gaussian_nll
from densecf.counterfactuals.hvae.network import HVAE
from densecf.counterfactuals.independence import dependence
from densecf.counterfactuals.parents import fit_parents
from densecf.counterfactuals.predictors import ParentPredictor
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.counterfactuals.training import CounterfactualTraining, ParentDataset, draw_weights
from densecf.data.prepared import PreparedDataset
from densecf.files import sha256_of_file
from tests.counterfactuals.tiny import CONFIG, FLAGS, spread_out


def module_of(config, scm, updates=10):
    torch.manual_seed(0)
    module = CounterfactualTraining(config, HVAE(config.network, scm.parents.width), scm, updates)
    spread_out(module.network).train()
    module.average.load_state_dict(module.network.state_dict())
    return module


@pytest.fixture(scope="module")
def data(phantom):
    return PreparedDataset.open(phantom)


@pytest.fixture(scope="module")
def scm(data):
    parents, known = fit_parents(data.records, ["scanner", "sex"])
    assert known.all()
    return StructuralCausalModel(parents)


def test_the_loss_is_the_bound_and_its_penalties(data, scm):
    config = replace(CONFIG, adversary=0.0, beta=2.0, independence=3.0, free_bits=5.0)
    module = module_of(config, scm)
    batch = default_collate([ParentDataset(data, scm)[0, row] for row in range(6)])
    loss = module.training_step(batch, 1)
    torch.manual_seed((config.seed << 40) + 1)
    images = batch["images"] * 2 - 1
    found = module.network(images, batch["parents"])
    nll = discretised_gaussian_nll(images, found.mean, torch.tensor(config.network.pixel_scale)).mean()
    blocks = found.kl.detach().mean(dim=0)
    kl = float(blocks.clamp_min(5.0).sum()) / 32**2
    wanted = nll + 2 * kl + 3 * dependence(found.latents, batch["parents"]) / 32**2
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert (
        min(float(block.mean()) for block in found.kl.detach().T)
        < 5
        < max(float(block.mean()) for block in found.kl.detach().T)
    )


def test_only_the_decoder_listens_to_the_predictor(data, scm):
    predictor = ParentPredictor(scm.parents).eval().requires_grad_(False)
    batch = default_collate([ParentDataset(data, scm)[0, row] for row in range(6)])
    gradients = []
    for weight in (0.0, 5.0):
        module = module_of(replace(CONFIG, adversary=0.0, faithfulness=weight), scm)
        module.predictor = predictor if weight else None
        module.training_step(batch, 1).backward()
        gradients.append({name: p.grad for name, p in module.network.named_parameters()})
    plain, taught = gradients
    changed = {name for name in plain if not torch.allclose(plain[name], taught[name], atol=1e-6)}
    assert any(name.startswith("decoder.head") for name in changed)
    assert not any(name.startswith("encoder") or ".posterior." in name for name in changed)


def test_the_same_step_draws_the_same_noise_and_another_step_another(data, scm):
    module = module_of(replace(CONFIG, adversary=0.0), scm)
    batch = default_collate([ParentDataset(data, scm)[0, row] for row in range(6)])
    losses = [float(module.training_step(batch, step).detach()) for step in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("spoil", [float("nan"), float("inf"), 1e9])
@pytest.mark.parametrize("fused", [True, False])
def test_an_update_with_a_wild_gradient_is_skipped(spoil, fused, scm):
    module = module_of(CONFIG, scm)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2, fused=fused)
    for grade, moves in ((1.0, True), (spoil, False), (1.0, True)):
        before = [p.detach().clone() for p in module.network.parameters()]
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, grade)
        module.configure_gradient_clipping(optimizer)
        optimizer.step()
        after = list(module.network.parameters())
        assert all(torch.isfinite(p).all() for p in after)
        assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True)) == moves
    assert int(module.skipped) == 1


def test_balanced_draws_are_half_uniform_over_the_groups():
    records = pd.DataFrame({"scanner": ["A"] * 90 + ["B"] * 10, "sex": ["F", "M"] * 50})
    assert draw_weights(records, (), 0.5) is None
    weights = np.array(draw_weights(records, ("scanner",), 0.5))
    assert weights.sum() == pytest.approx(1)
    assert weights[90:].sum() == pytest.approx(0.5 / 2 + 0.5 * 0.1)
    both = pd.Series(draw_weights(records, ("scanner", "sex"), 1.0)).groupby([records["scanner"], records["sex"]]).sum()
    assert np.allclose(both, 0.25)


def train(run, folder, phantom, *extra):
    return run(folder, "counterfactuals", "train", "--data", phantom, *FLAGS, "--quiet", *extra)


def test_a_run_is_complete_and_held_out_patients_stay_out(phantom, run_densecf, tmp_path):
    done = train(run_densecf, tmp_path, phantom, "--epochs", 2, "--samples-every", 1, "--holdout", 0.3,
                 "--adversary", 10)  # fmt: skip
    run = tmp_path / "runs" / "counterfactuals" / "hvae"
    assert {p.name for p in run.iterdir()} >= {"weights.safetensors", "config.yaml", "provenance.json", "records.csv"}
    assert "hardly answer" in done.stdout  # two epochs teach nothing, and it says so
    records, data = pd.read_csv(run / "records.csv"), PreparedDataset.open(phantom)
    manual = set(data.records.loc[data.records["split"] == "manual", "patient_id"])
    assert not set(records["patient_id"]) & manual
    assert 0 < len(records) < (data.records["split"] == "train").sum()
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["parents"] == ["scanner", "sex", "pleural_effusion"]
    assert set(provenance["response"]) == set(provenance["parents"])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"nll", "kl", "dependence", "adversary"} <= set(lines[0])
    assert any("response_scanner" in line for line in lines)
    assert any(p.name.startswith("events") for p in (run / "tensorboard").iterdir())
    assert load_generator(run).size == 32


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(phantom, run_densecf, tmp_path):
    arguments = ["--epochs", "30", "--checkpoint-minutes", "0", "--accumulate", "2", "--balance", "scanner"]
    train(run_densecf, tmp_path, phantom, *arguments, "--name", "whole")
    command = [sys.executable, "-m", "densecf", "counterfactuals", "train", "--data", phantom, *FLAGS, *arguments]
    command += ["--name", "killed", "--quiet"]
    process = subprocess.Popen(list(map(str, command)), cwd=tmp_path, stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "runs" / "counterfactuals" / "killed" / "checkpoint.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.is_file()
    assert not (checkpoint.parent / "weights.safetensors").exists()
    run_densecf(tmp_path, "counterfactuals", "train", "--resume", "--quiet")
    weights = [checkpoint.parents[1] / name / "weights.safetensors" for name in ("whole", "killed")]
    assert sha256_of_file(weights[0]) == sha256_of_file(weights[1])


@pytest.mark.slow
def test_fine_tuning_for_faithfulness_starts_from_a_model(phantom, run_densecf, refused_by_densecf, tmp_path):
    train(run_densecf, tmp_path, phantom, "--epochs", 1, "--parents", "scanner")
    train(run_densecf, tmp_path, phantom, "--epochs", 1, "--parents", "scanner", "--init-from", "hvae",
          "--faithfulness", 0.5, "--name", "faithful")  # fmt: skip
    run = tmp_path / "runs" / "counterfactuals" / "faithful"
    assert (run / "predictor.safetensors").is_file()
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert first["disagreement"] > 0
    refused = train(refused_by_densecf, tmp_path, phantom, "--parents", "sex", "--init-from", "hvae")
    assert "knows the parents scanner" in refused


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (("--parents", "nose"), "nose"),
        (("--parents", "age", "--balance", "age"), "--balance age: has no groups"),
        (("--parents", "sex", "--balance", "scanner"), "not among the parents sex"),
        (("--holdout", "1.0"), "holdout"),
        (("--where", "scanner=Nowhere"), "never"),
        (("--edges", "scanner->scanner"), "scanner"),
        (("--network.decoder", "1b1,4b2"), "stages"),
        (("--network.encoder", "32b1d2,8b1d2,4b1d4,1b1"), "32 pooled by 2"),
        (("--preset", "64", "--config", "nothing.yaml"), "do not go together"),
    ],
)
def test_refusals(extra, told, phantom, refused_by_densecf, tmp_path):
    assert told in train(refused_by_densecf, tmp_path, phantom, *extra)
    assert not list((tmp_path / "runs").rglob("config.yaml"))


def test_a_size_without_a_preset_is_refused_in_words(phantom, refused_by_densecf, tmp_path):
    said = refused_by_densecf(tmp_path, "counterfactuals", "train", "--data", phantom)
    assert "images of 32 px" in said
    assert "64, 128" in said
