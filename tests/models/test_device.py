"""One choice of the device for all that is not Lightning's."""

import pytest
import torch
from torch import nn

from densecf.models.device import best_device
from densecf.models.unet import build_unet
from densecf.models.weights import Run


@pytest.mark.parametrize(
    ("accelerator", "there", "expected"),
    [("auto", True, "cuda"), ("gpu", True, "cuda"), ("cpu", True, "cpu"), ("auto", False, "cpu"), ("mps", True, "cpu")],
)
def test_the_gpu_is_taken_unless_told_otherwise(accelerator, there, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert best_device(accelerator).type == expected


@pytest.mark.parametrize("head", [None, nn.Linear(8, 4)])
def test_a_run_moves_with_its_head(head, tmp_path):
    run = Run(tmp_path, build_unet("resnet18", (8, 8, 8, 8, 8)), head, {})
    assert run.to(torch.device("meta")) is run
    assert all(p.is_meta for part in (run.model, run.head) if part is not None for p in part.parameters())
