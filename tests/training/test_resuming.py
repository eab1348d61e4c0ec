"""An interrupted training, gone on with by another number of loader processes, ends with the very same weights."""

import json

import pytest

from densecf import cli
from densecf.files import sha256_of_file
from densecf.training import loop
from densecf.training.logs import read_metrics

STOP = 4
"""Steps until somebody presses Ctrl-C, of six."""


class Interrupted(loop.Checkpoints):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)
        if batch_idx + 1 == STOP:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("method", "network"),
    [
        ("s-mvd-cl", ["--model.encoder", "tu-mobilenetv3_small_050", "--points", 32, "--monitor-every", 0]),
        ("cf-simclr", ["--model.encoder", "mobilenetv3_small_050", "--patch-size", 0]),
    ],
)
def test_other_workers_same_bytes(phantom, tmp_path, monkeypatch, method, network):
    decoder = ["--model.decoder-channels", 16, 16, 8, 8, 8] if method == "s-mvd-cl" else []
    options = ["--data", phantom, "--method", method, "--epochs", 1, "--batch-size", 4, *network, *decoder]
    hardware = ["--hardware.accelerator", "cpu", "--hardware.precision", 32, "--quiet", "--checkpoint-minutes", 0]

    def pretrain(out: str, *more: object) -> int:
        arguments = ["pretrain", *options, *hardware, "--out", tmp_path / out, "--keep-latest", *more]
        return cli.main([str(word) for word in arguments])

    assert pretrain("whole", "--hardware.workers", 0) == 0
    with monkeypatch.context() as patched:
        patched.setattr(loop, "Checkpoints", Interrupted)
        assert pretrain("cut", "--hardware.workers", 2) == 130
    assert (tmp_path / "cut" / loop.CHECKPOINT).is_file()
    arguments = ["pretrain", "--resume", "--out", tmp_path / "cut", "--hardware.workers", 1, "--quiet", "--keep-latest"]
    assert cli.main([str(word) for word in arguments]) == 0
    facts = json.loads((tmp_path / "cut/provenance.json").read_text())
    assert facts["steps"] == 6
    for file in ("weights.safetensors", *(["head.safetensors"] if method == "s-mvd-cl" else [])):
        assert sha256_of_file(tmp_path / "cut" / file) == sha256_of_file(tmp_path / "whole" / file)
    assert read_metrics(tmp_path / "cut/metrics.jsonl") == read_metrics(tmp_path / "whole/metrics.jsonl")
