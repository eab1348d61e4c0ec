import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from densecf import runs
from densecf.commands.models import embedded_model, find_model, with_counterfactuals
from densecf.config import PHANTOM, PretrainConfig
from densecf.config_values import to_dict
from densecf.counterfactuals.generator import load_generator
from densecf.counterfactuals.response import response
from densecf.data import phantom as phantom_model
from densecf.data.prepared import PreparedDataset
from densecf.errors import ConfigError
from densecf.presets import COUNTERFACTUAL_PRESETS


@pytest.fixture
def in_folder(tmp_path):
    here = os.getcwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(here)


def test_the_model_that_comes_with_densecf_is_small_and_is_the_preset():
    path = embedded_model()
    assert path.stat().st_size <= 8 * 2**20
    generator = load_generator(path)
    assert to_dict(generator.network.config) == to_dict(COUNTERFACTUAL_PRESETS["embedded"].network)
    assert {"scanner", "sex", "pleural_effusion"} <= set(generator.scm.parents.names)
    assert generator.scm.parents["scanner"].values == phantom_model.SCANNERS


def test_latest_is_the_embedded_model_until_one_is_trained(in_folder):
    assert find_model("latest", PHANTOM) == find_model("embedded", "elsewhere") == embedded_model()
    with pytest.raises(ConfigError, match="counterfactuals train"):
        find_model("latest", "data/lungs")
    with pytest.raises(ConfigError, match="nobody"):
        find_model("nobody", PHANTOM)
    run = runs.start_run("counterfactuals", "mine", {})
    (run / "weights.safetensors").write_bytes(b"")
    runs.finish_run(run, "counterfactuals")
    assert find_model("latest", PHANTOM) == (Path.cwd() / run / "weights.safetensors").resolve()


def test_only_the_phantom_at_its_size_is_given_counterfactuals_unasked(phantom):
    data = PreparedDataset.open(phantom)  # 32 pixels
    for config in (
        PretrainConfig(data=str(phantom)),
        PretrainConfig(),
        PretrainConfig(counterfactuals="truth"),
        PretrainConfig(method="vader"),
    ):
        assert with_counterfactuals(config, data, progress=False) is data


@pytest.mark.slow
def test_pretraining_on_the_phantom_makes_and_uses_them(run_densecf, tmp_path):
    run_densecf(tmp_path, "data", "prepare", "phantom", "--images", 24, "--quiet")
    less = ("--epochs", 1, "--points", 8, "--hardware.workers", 0, "--quiet")
    done = run_densecf(tmp_path, "pretrain", "--method", "dvd-cl", *less)
    assert "with the HVAE that comes with densecf" in done.stdout
    data = PreparedDataset.open(tmp_path / "data" / "phantom")
    assert data.counterfactuals["hvae"] == data.counterfactuals["truth"]
    data.verify()
    provenance = json.loads((tmp_path / "runs" / "pretrain" / "dvd-cl" / "provenance.json").read_text())
    assert provenance["counterfactuals"] == "hvae"
    again = run_densecf(tmp_path, "pretrain", "--method", "dvd-cl", "--counterfactuals", "truth", *less)
    assert "comes with densecf" not in again.stdout
    provenance = json.loads((tmp_path / "runs" / "pretrain" / "dvd-cl-2" / "provenance.json").read_text())
    assert provenance["counterfactuals"] == "truth"


@pytest.mark.slow
def test_its_command_at_reduced_length_makes_a_model_that_answers_alike(run_densecf, tmp_path):
    # docs/counterfactuals.md says how the weights were made; this is the same command on a tenth of the images.
    run_densecf(tmp_path, "data", "prepare", "phantom", "--images", 300, "--seed", 1, "--out", "population", "--quiet")
    parents = ("scanner", "sex", "pleural_effusion")
    run_densecf(tmp_path, "counterfactuals", "train", "--data", "population", "--preset", "embedded",
                "--parents", *parents, "--epochs", 12, "--samples-every", 0, "--name", "short", "--quiet")  # fmt: skip
    short, shipped = (
        load_generator(path) for path in (tmp_path / "runs" / "counterfactuals" / "short", embedded_model())
    )
    assert short.network.config == replace(shipped.network.config)
    assert [p.name for p in short.scm.parents.entries] == [p.name for p in shipped.scm.parents.entries]
    data = PreparedDataset.open(tmp_path / "population")
    rows = [row for row in range(len(data)) if data.records["split"][row] == "train"]
    answers = {name: response(model, data, rows) for name, model in (("short", short), ("shipped", shipped))}
    assert answers["shipped"]["scanner"] > 0.8
    assert answers["short"]["scanner"] > 0.5 * answers["shipped"]["scanner"], answers
