"""Looking at the held-out fold on the way: written down, resumed, and without any effect on the training."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from densecf.config import HardwareConfig, OptimConfig
from densecf.data.prepared import PreparedDataset
from densecf.evaluation.selection import CURVE_COLUMNS, best_epoch_summary
from densecf.presets import FINETUNE_PRESETS
from densecf.training.loop import CHECKPOINT, fit
from densecf.training.optim import TrainingModule
from densecf.training.sampler import StepPlan
from densecf.training.watching import CURVES, FoldWatcher, read_rows
from tests.conftest import ROOT
from tests.training.finetuning import CASES, arguments, finetune
from tests.training.test_loop import Numbers, StopAt

PLAN = StepPlan(tuple(range(6)), batch_size=2, epochs=5, seed=1)  # three steps an epoch


class Toy(TrainingModule):
    """Everything that a careless look would disturb: batch norm's running means and, if asked for, dropout's draws."""

    def __init__(self, dropout: float):
        super().__init__(OptimConfig(lr=0.1), PLAN.updates)
        torch.manual_seed(0)
        self.unet = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(dropout), nn.Linear(8, 1))

    def training_step(self, batch, batch_idx):
        assert all(part.training for part in self.unet.modules())
        return self.unet(batch).square().mean()


def look(unet: nn.Sequential) -> pd.DataFrame:
    """Cases whose DSC is what the network says."""
    assert not any(part.training for part in unet.modules())
    with torch.no_grad():
        said = unet(torch.linspace(-1, 1, 12).view(4, 3))[:, 0].double().numpy()
    return pd.DataFrame({"fold": 2, "dsc": said, "hd95": 1.5, "asd": [1.0, 2.0, 3.0, np.nan], "n_missed": 0,
                         "pleural_effusion": [1, 1, np.nan, np.nan]})  # fmt: skip


def train(out: Path, every: int, *, before=(), after=(), resume=False, dropout=0.0) -> Toy:
    out.mkdir(exist_ok=True)
    module = Toy(dropout)
    watcher = FoldWatcher(look, out / CURVES, every, PLAN.steps_per_epoch)
    fit(
        module, Numbers(), PLAN, out, hardware=HardwareConfig(accelerator="cpu", precision="32", workers=0),
        title="toy", work_per_record=1, checkpoint_minutes=0, callbacks=[*before, watcher, *after], resume=resume,
        progress=False,
    )  # fmt: skip
    module.drawn_next = torch.rand(3)
    watcher.write(look(module.unet.eval()), PLAN.epochs)
    return module


def stopped(out: Path, every: int, **where) -> None:
    with pytest.raises(StopAt.Killed):
        train(out, every, **where)


@pytest.mark.parametrize(("every", "epochs"), [(0, [5]), (1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (9, [5])])
def test_looks_come_when_asked_and_after_the_last_epoch(tmp_path, every, epochs):
    train(tmp_path, every)
    curves = pd.read_csv(tmp_path / CURVES)
    assert list(curves.columns) == list(CURVE_COLUMNS)
    assert list(curves["epoch"]) == [epoch for epoch in epochs for _ in range(2)]
    assert list(curves["subset"]) == ["all", "pe"] * len(epochs)  # no case is known to be without finding
    assert set(curves["asd"]) == {2.0, 1.5}


def test_the_training_does_not_notice(tmp_path):
    blind, watched = (train(tmp_path / str(every), every, dropout=0.5) for every in (0, 1))
    for name, value in blind.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    assert torch.equal(blind.drawn_next, watched.drawn_next)


@pytest.mark.parametrize("step", [1, 3, 5, 6, 7, 14])
@pytest.mark.parametrize("looked", [False, True])
def test_killed_and_resumed_the_curve_is_the_same(tmp_path, step, looked):
    """Between checkpoint and look, or right after the look."""
    train(tmp_path / "whole", 1)
    stopped(tmp_path / "cut", 1, **{"after" if looked else "before": [StopAt(step)]})
    train(tmp_path / "cut", 1, resume=True)
    assert (tmp_path / "cut" / CURVES).read_text() == (tmp_path / "whole" / CURVES).read_text()


def test_what_was_seen_beyond_the_checkpoint_is_forgotten(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, 1)
    stopped(cut, 1, after=[StopAt(4)])
    shutil.copy(cut / CHECKPOINT, tmp_path / "early")
    stopped(cut, 1, after=[StopAt(10)], resume=True)
    assert {row["epoch"] for row in read_rows(cut / CURVES)} == {1, 2, 3}
    shutil.copy(tmp_path / "early", cut / CHECKPOINT)
    stopped(cut, 1, after=[StopAt(5)], resume=True)
    train(cut, 1, resume=True)
    assert (cut / CURVES).read_text() == (whole / CURVES).read_text()


def test_a_training_that_starts_anew_forgets_all(tmp_path):
    train(tmp_path, 1)
    (tmp_path / CHECKPOINT).unlink()
    train(tmp_path, 2)
    assert [row["epoch"] for row in read_rows(tmp_path / CURVES)] == [2, 2, 4, 4, 5, 5]


@pytest.fixture(scope="module")
def watched(tmp_path_factory, phantom) -> Path:
    out = tmp_path_factory.mktemp("watching") / "watched"
    return finetune(phantom, out, "--test-every", 1, "--epochs", 3, "--checkpoint-minutes", 0)


def test_a_run_is_the_same_with_and_without(watched, phantom, tmp_path):
    blind = finetune(phantom, tmp_path / "blind", "--epochs", 3)
    for name in ("weights.safetensors", "predictions.npy", "cases.csv", "metrics.jsonl"):
        for fold in ("folds/0", "folds/1"):
            assert (blind / fold / name).read_bytes() == (watched / fold / name).read_bytes(), (fold, name)
    seen = read_rows(watched / CURVES)
    assert {row["epoch"] for row in seen} == {1, 2, 3}
    assert read_rows(blind / CURVES) == [row for row in seen if row["epoch"] == 3]


def test_the_last_row_is_what_the_fold_ends_with(watched):
    curves, cases = pd.read_csv(watched / CURVES), pd.read_csv(watched / "cases.csv")
    assert len(cases) == CASES
    for fold in (0, 1):
        mine = cases[cases["fold"] == fold]
        parts = {"all": mine, "nf": mine[mine["pleural_effusion"] == 0], "pe": mine[mine["pleural_effusion"] == 1]}
        for subset, part in parts.items():
            row = curves[(curves["fold"] == fold) & (curves["epoch"] == 3) & (curves["subset"] == subset)]
            assert len(row) == 1
            for metric in ("dsc", "hd95", "asd"):
                assert row[metric].item() == pytest.approx(part[metric].mean(), rel=1e-12), (fold, subset, metric)
    summary = json.loads((watched / "summary.json").read_text())
    for key, value in best_epoch_summary(curves[curves["epoch"] == 3]).items():
        assert value == pytest.approx(summary[key], rel=1e-12)
    # The looks differ, so that a best one could be chosen.
    assert curves[curves["subset"] == "all"].groupby("fold")["hd95"].nunique().min() == 3


KILLED = """
import os, signal, sys
from densecf import cli
from densecf.training.loop import Checkpoints

save = Checkpoints.on_train_batch_end

def save_and_die(self, trainer, module, outputs, batch, batch_idx):
    save(self, trainer, module, outputs, batch, batch_idx)
    if self.path.parent.name == "1" and batch_idx + 1 == 4:  # the end of the second epoch, looked at
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoints.on_train_batch_end = save_and_die
cli.main(sys.argv[1:])
"""


def test_sigkill_and_resume(phantom, tmp_path):
    def run(*command: object) -> int:
        """In a process of its own: what other tests did to this one must not decide last digits."""
        done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    more = ("--test-every", 1, "--epochs", 3, "--checkpoint-minutes", 0)
    assert run("-m", "densecf", *arguments(phantom, whole, *more)) == 0
    assert run("-c", KILLED, *arguments(phantom, cut, *more)) == -signal.SIGKILL
    assert {row["epoch"] for row in read_rows(cut / "folds/1" / CURVES)} == {1, 2}
    assert not (cut / CURVES).exists()
    assert run("-m", "densecf", "finetune", "--resume", "--out", cut, "--quiet") == 0
    for name in (CURVES, "folds/0/" + CURVES, "folds/1/" + CURVES, "cases.csv", "folds/1/weights.safetensors"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name


def test_the_authors_look_every_ten_epochs():
    every = {name: config.test_every for name, config in FINETUNE_PRESETS.items()}
    assert every == {"default": 0, "embedded": 0, "authors": 10}


def test_the_phantom_has_the_cases_that_these_tests_count_on(phantom):
    records = PreparedDataset.open(phantom).records
    assert ((records["split"] == "manual") & (records["age"] >= 70)).sum() == CASES
