"""Two processes of torchrun and the real command line: one run, written once, that survives a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from densecf.training.logs import read_metrics
from densecf.training.loop import CHECKPOINT

OPTIONS: list[object] = [
    *("--method", "s-mvd-cl", "--epochs", 3, "--points", 32, "--monitor-every", 0),
    *("--quiet", "--checkpoint-minutes", 0),
    *("--model.encoder", "tu-mobilenetv3_small_050", "--model.decoder-channels", 16, 16, 8, 8, 8),
    *("--hardware.accelerator", "cpu", "--hardware.precision", 32, "--hardware.workers", 0),
]
STEPS = 18


def torchrun(folder: Path, *arguments: object) -> subprocess.Popen:
    # As installed: in a checkout, Python would find the modules of the current folder first.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "densecf", "pretrain", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def workers_of(launcher: subprocess.Popen) -> list[int]:
    """The processes that torchrun started; each is in a session of its own, so no signal to its group reaches them."""
    found = subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True).stdout
    return [int(number) for number in found.split()]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pgrep") is None, reason="no pgrep here")
@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this build of torch has no gloo")
def test_two_processes_write_one_run_and_go_on_after_a_kill(phantom, tmp_path):
    run = tmp_path / "run"
    started = torchrun(tmp_path, "--data", phantom, "--batch-size", 2, *OPTIONS, "--hardware.devices", 2, "--out", run)
    deadline = time.monotonic() + 240
    while not (run / CHECKPOINT).is_file() and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    for worker in workers_of(started):
        os.kill(worker, signal.SIGKILL)
    said = started.communicate()[0]
    assert started.returncode
    assert (run / CHECKPOINT).is_file(), said
    assert not (run / "weights.safetensors").exists()

    again = torchrun(tmp_path, "--resume", "--out", run, "--hardware.workers", 1, "--quiet")
    said += again.communicate(timeout=240)[0]
    assert again.returncode == 0, said
    assert said.count("Pretraining s-mvd-cl on") == 2  # once a start, and not once a process
    assert said.count(f"Run: {run}") == 1

    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "runs"]
    assert [path.name for path in (tmp_path / "runs/pretrain").iterdir()] == ["latest"]
    assert sorted(path.name for path in run.iterdir() if path.is_file() and path.name != ".lock") == [
        "config.yaml", "head.safetensors", "metrics.jsonl", "provenance.json", "records.csv", "weights.safetensors",
    ]  # fmt: skip
    steps = [row["step"] for row in read_metrics(run / "metrics.jsonl")]
    assert steps == sorted(set(steps)) == list(range(0, STEPS, 10))
    assert json.loads((run / "provenance.json").read_text())["steps"] == STEPS
