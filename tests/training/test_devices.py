"""What is measured after a training runs where the training ran, and features and pictures where there is a GPU."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from densecf import cli, runs
from densecf.config import HardwareConfig
from densecf.counterfactuals import training
from densecf.counterfactuals.parents import fit_parents
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.data.prepared import PreparedDataset
from densecf.files import write_text_atomic
from densecf.models.unet import build_unet
from densecf.models.weights import WEIGHTS, Run, save_weights
from tests.counterfactuals.tiny import CONFIG
from tests.training.finetuning import finetune

CHANNELS = (16, 16, 8, 8, 8)
META = torch.device("meta")


class Gone(Exception):
    """Stops a command where a network has been moved."""


def spy(asked: list[str]) -> Callable[[str], torch.device]:
    def best_device(accelerator: str = "auto") -> torch.device:
        asked.append(accelerator)
        return torch.device("cpu")

    return best_device


def test_folds_are_tested_where_they_were_trained(phantom, tmp_path, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr("densecf.training.finetune.best_device", spy(asked))
    finetune(phantom, tmp_path / "run", "--epochs", 1)
    assert asked == ["cpu", "cpu"]  # once a fold, as --hardware.accelerator says


def test_the_first_process_alone_measures_the_response_of_a_model(phantom, tmp_path, monkeypatch):
    data, asked, measured = PreparedDataset.open(phantom), [], []
    scm = StructuralCausalModel(fit_parents(data.records, ["scanner"])[0])
    monkeypatch.setattr(training, "best_device", spy(asked))

    def response(generator, *_):
        measured.append(generator.device.type)
        return {"scanner": 0.5}

    monkeypatch.setattr(training, "response", response)
    hardware = HardwareConfig(accelerator="cpu", precision="32", workers=0)
    config = replace(CONFIG, epochs=1, adversary=0.0, samples_every=0.0, hardware=hardware)
    for first in (True, False):
        fit = training.fit

        def fit_as(module, *args, first=first, fit=fit, **options):
            fit(module, *args, **options)
            monkeypatch.setattr(type(module.trainer), "is_global_zero", first)

        with monkeypatch.context() as patched:
            patched.setattr(training, "fit", fit_as)
            found = training.train_counterfactuals(config, data, range(12), scm, tmp_path / str(first), progress=False)
        assert found["response"] == ({"scanner": 0.5} if first else {})
    assert set(asked) == {"cpu"}
    assert measured == ["cpu"]


@pytest.mark.parametrize("command", ["evaluate", "chromap", "explore"])
def test_commands_that_look_at_a_network_take_the_gpu(command, phantom, tmp_path, monkeypatch):
    run = runs.start_run("pretrain", "mvd-cl", {"data": str(phantom)}, out=tmp_path / "mvd-cl")
    facts = {"method": "mvd-cl", "encoder": "resnet18", "decoder_channels": CHANNELS, "classes": 3, "size": 32}
    save_weights(build_unet("resnet18", CHANNELS), run / WEIGHTS, {**facts, "profile": "robust"})
    write_text_atomic(run / "records.csv", "image,patient_id\nx.png,somebody-else\n")
    monkeypatch.setattr("densecf.models.device.best_device", lambda: META)
    moved: list[Run] = []

    def embed_images(model, head, images):
        moved.append(model)
        assert all(parameter.is_meta for parameter in model.parameters())
        raise Gone

    for module in ("densecf.models.embed", "densecf.evaluation.network"):
        monkeypatch.setattr(f"{module}.embed_images", embed_images)
    with pytest.raises(Gone):
        cli.main([command, "--run", str(run), "--out", str(tmp_path / "out")])
    assert moved
