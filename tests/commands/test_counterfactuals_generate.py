"""``densecf counterfactuals generate``, ``import`` and ``show`` through the command line, with a tiny HVAE."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from densecf.cli import main, parse
from densecf.commands.counterfactuals_generate import interventions_for, one_record
from densecf.config_values import to_dict
from densecf.counterfactuals.generation import PAPER
from densecf.counterfactuals.generator import KIND, load_generator
from densecf.counterfactuals.hvae.network import HVAE
from densecf.counterfactuals.parents import Parent, Parents, fit_parents
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.data import PreparedDataset
from densecf.errors import ConfigError
from densecf.models.weights import save_tensors
from tests.counterfactuals.tiny import UNTRAINED


def save_model(path, records, names=("scanner", "sex", "pleural_effusion")):
    """Weights of an untrained network, random everywhere."""
    scm = StructuralCausalModel(fit_parents(records, names)[0])
    generator = torch.Generator().manual_seed(0)
    network = HVAE(UNTRAINED, scm.parents.width)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    facts = {"kind": KIND, "network": to_dict(UNTRAINED), "scm": scm.to_dict(), "size": 32, "profile": ""}
    save_tensors(network.state_dict(), path, facts)
    return path


@pytest.fixture(scope="module")
def model(phantom, tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "tiny.safetensors", PreparedDataset.open(phantom).records)


@pytest.fixture
def data(phantom, tmp_path, monkeypatch):
    """A copy of the phantom; commands run where it lies."""
    monkeypatch.chdir(tmp_path)
    return PreparedDataset.open(shutil.copytree(phantom, tmp_path / "lungs"))


def test_generate_adds_the_papers_interventions(data, model, capsys):
    assert main(["counterfactuals", "generate", "--data", "lungs", "--run", str(model), "--quiet"]) == 0
    made = PreparedDataset.open(data.path)
    assert made.counterfactuals["hvae"] == PAPER == made.counterfactuals["truth"]
    made.verify()
    shown = capsys.readouterr().out
    assert "282 images in" in shown
    assert "images a second" in shown
    generator = load_generator(model, device="cpu")
    scm, records = generator.scm, data.records.iloc[[7]]
    intervention = interventions_for(generator, [["scanner=other"]])[0]
    found = generator.abduct(torch.from_numpy(data.image(7))[None, None], torch.from_numpy(scm.encode(records)))
    target = scm.encode(scm.intervene(records, intervention))
    predicted = generator.predict(found, torch.from_numpy(target)[None])[0, 0, 0]
    np.testing.assert_allclose(made.counterfactual("hvae", "scanner=other", 7), predicted, atol=1e-4)
    assert np.abs(made.counterfactual("hvae", "scanner=other", 7) - data.image(7)).mean() > 1e-3


def test_do_may_be_repeated_or_take_several(data, model):
    texts = ["--do", "scanner=other", "--do", "sex=F", "sex=M+pleural_effusion=1"]
    assert parse("counterfactuals generate", texts).do == (("scanner=other",), ("sex=F", "sex=M+pleural_effusion=1"))
    run = ["counterfactuals", "generate", "--data", "lungs", "--run", str(model), "--source", "mine", "--quiet", *texts]
    assert main(run) == 0
    names = ("scanner=other", "sex=F", "sex=M+pleural_effusion=1")
    assert PreparedDataset.open(data.path).counterfactuals["mine"] == names


def test_sampling_is_another_source_and_repeats_itself(data, model):
    run = ["counterfactuals", "generate", "--data", "lungs", "--run", str(model), "--quiet", "--do", "sex=other"]
    assert main([*run, "--sample", "--seed", "3"]) == 0
    assert main(run) == 2  # not the same maker
    assert main([*run, "--sample", "--seed", "3", "--source", "again"]) == 0
    made = PreparedDataset.open(data.path)
    first, again = (np.load(made.path / f"counterfactuals/{s}/sex=other.npy") for s in ("hvae", "again"))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "--do", "scanner=Siemens"], "the values of scanner are"),
        (["generate", "--do", "age=60"], "There is no parent 'age'; the parents are: scanner, sex, pleural_effusion"),
        (["generate", "--do", "scanner"], "cannot be read"),
        (["generate", "--source", "a/b"], "cannot name a counterfactual"),
        (["generate", "--source", "truth"], "were made by another model or with other settings"),
        (["generate", "--data", "nowhere"], "there is no such folder"),
        (["show", "nothing.png", "--parents", "scanner=A", "sex=M"], "pleural_effusion is missing"),
        (["show", "nothing.png"], "scanner is missing; sex is missing; pleural_effusion is missing"),
        (["show", "--record", "nobody"], "has no record 'nobody'; the first ones are phantom-000000"),
        (["show", "--parents", "sex=X"], "sex=X: the values of sex are F, M"),
        (["show", "--parents", "sex=F", "sex=M"], "each parent once"),
        (["show", "--parents", "view=PA"], "view is not a parent of this model"),
        (["show", "a.png", "--record", "phantom-000000"], "not both"),
    ],
)
def test_errors_say_what_to_do(data, model, capsys, arguments, words):
    placed = [] if "--data" in arguments or "nothing.png" in arguments else ["--data", "lungs"]
    assert main(["counterfactuals", *arguments, *placed, "--run", str(model)]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown
    assert not list(data.path.glob("counterfactuals/.*"))


def test_a_model_is_needed(data, tmp_path, capsys):
    assert main(["counterfactuals", "generate", "--data", "lungs"]) == 2
    assert "densecf counterfactuals" in capsys.readouterr().err
    (tmp_path / "other.safetensors").write_bytes(b"nothing of ours")
    assert main(["counterfactuals", "generate", "--data", "lungs", "--run", "other.safetensors"]) == 2
    assert "other.safetensors" in capsys.readouterr().err


def test_import(data, tmp_path, capsys):
    folder = tmp_path / "cf"
    folder.mkdir()
    for row, name in enumerate(data.records["image"]):
        Image.fromarray((data.images[row] >> 8).astype(np.uint8)).save(folder / f"{name}_sc.png")
    run = ["counterfactuals", "import", "--data", "lungs", "--from", "cf", "--names", "sc=scanner=other", "--quiet"]
    assert main(run) == 0
    made = PreparedDataset.open(data.path)
    np.testing.assert_allclose(made.counterfactual("imported", "scanner=other", 3), data.image(3), atol=1.01 / 255)
    assert "imported/scanner=other: 94 images" in capsys.readouterr().out
    assert main(run) == 2
    assert "stored already" in capsys.readouterr().err
    (folder / "phantom-000003_sc.png").unlink()
    assert main([*run, "--overwrite"]) == 2
    assert "phantom-000003_sc.png' is missing" in capsys.readouterr().err


def test_show_a_record_with_its_truth(data, model, tmp_path, capsys):
    arguments = ["counterfactuals", "show", "--data", "lungs", "--record", "phantom-000002", "--run", str(model)]
    assert main(arguments) == 0
    folder = tmp_path / "runs/show/phantom-000002"
    numbers = json.loads((folder / "counterfactuals.json").read_text())
    assert list(numbers["interventions"]) == list(PAPER)
    truth, image = data.counterfactual("truth", "scanner=other", 2), data.image(2)
    found = numbers["interventions"]["scanner=other"]
    assert found["error_of_doing_nothing"] == pytest.approx(np.abs(truth - image).mean(), rel=1e-4)
    assert found["mean_absolute_difference"] > 0
    assert set(found["changed"]) == {"scanner"}
    assert Image.open(folder / "counterfactuals.png").size[0] > 400
    assert json.loads((folder / "provenance.json").read_text())["record"] == "phantom-000002"
    assert (folder / "config.yaml").is_file()
    assert "error to truth" in capsys.readouterr().out


def test_show_a_file_that_has_the_value_already(data, model, tmp_path):
    Image.fromarray(np.asarray(data.images[0])).save(tmp_path / "me.png")
    scanner = data.records["scanner"].iloc[0]
    parents = [f"scanner={scanner}", "sex=m", "pleural_effusion=1.0"]
    arguments = ["counterfactuals", "show", "me.png", "--run", str(model), "--parents", *parents]
    assert main([*arguments, "--do", f"scanner={scanner}", "sex=F", "--out", "shown"]) == 0
    numbers = json.loads((tmp_path / "shown/counterfactuals.json").read_text())
    assert numbers["parents"] == {"scanner": scanner, "sex": "M", "pleural_effusion": "1"}
    null, other = numbers["interventions"].values()
    assert null == {"changed": {}, "mean_absolute_difference": 0.0}
    assert other["changed"] == {"sex": "F"}
    assert main([*arguments, "--out", "shown"]) == 2
    assert main([*arguments, "--out", "shown", "--overwrite"]) == 0


def test_records_name_everything_that_is_wrong_at_once():
    parents = Parents(
        (
            Parent("scanner", "categorical", ("A", "B", "unknown")),
            Parent("sex", "binary", ("F", "M")),
            Parent("age", "continuous", mean=50, std=10),
        )
    )
    record = one_record("x.png", {"sex": "f", "age": "61"}, {}, parents)
    assert record.to_dict("records") == [{"image": "x.png", "scanner": "unknown", "sex": "F", "age": 61.0}]
    np.testing.assert_allclose(parents.encode(record), [[0, 0, 1, -1, 1.1]], rtol=1e-6)
    with pytest.raises(ConfigError) as error:
        one_record("x.png", {"scanner": "C", "sex": "other", "height": "2"}, {"age": float("nan")}, parents)
    for words in ("height is not a parent", "the values of scanner are A, B", "sex=other: say", "age is missing"):
        assert words in str(error.value)


def test_generate_goes_on_after_sigkill(data, model, run_densecf, tmp_path):
    arguments = ["counterfactuals", "generate", "--data", "lungs", "--run", model, "--batch-size", 1, "--quiet"]
    command = [sys.executable, "-m", "densecf", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    journal = data.path / "counterfactuals/.hvae.partial/journal.jsonl"
    deadline = time.monotonic() + 120
    while not (journal.is_file() and journal.stat().st_size > 200):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = run_densecf(tmp_path, *arguments)
    assert "records were there from before" in again.stdout
    whole = run_densecf(tmp_path, *arguments, "--source", "whole")
    assert "from before" not in whole.stdout
    for name in PAPER:
        first, second = (data.path / f"counterfactuals/{s}/{name}.npy" for s in ("hvae", "whole"))
        assert first.read_bytes() == second.read_bytes()
