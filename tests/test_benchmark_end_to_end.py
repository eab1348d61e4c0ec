"""A whole comparison through the real command line: from nothing to finished cells, killed on the way, and by Slurm."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

METHODS = ["none", "simclr", "vader", "mvd-cl", "segmentation", "s-mvd-cl"]
TINY = {"encoder": "resnet18", "decoder_channels": [32, 16, 16, 16, 16]}
SPARE = {"checkpoint_minutes": 0, "hardware": {"precision": "32"}}
COMMAND = [sys.executable, "-m", "densecf", "benchmark", "matrix.yaml", "--quiet", "--jobs", "2"]
SBATCH = """#!{python}
# A Slurm of one node: notes its arguments, and runs what it is given at once.
import os, pathlib, re, subprocess, sys
here = pathlib.Path({here!r})
with (here / "sbatch.log").open("a") as log:
    print(*sys.argv[1:], file=log)
script = pathlib.Path(sys.argv[-1])
options = dict(re.findall(r"#SBATCH --([a-z-]+)=(.*)", script.read_text()))
slurm = dict(SLURM_JOB_ID="41", SLURM_NTASKS="1", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0",
             SLURM_JOB_NAME=options["job-name"], SLURM_NNODES="1", SLURM_NODELIST="node[7-9]")
for task in options.get("array", "").split(","):
    number = dict(SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_JOB_ID="41") if task else dict()
    log = options["output"].replace("%A", "41").replace("%j", "42").replace("%a", task)
    with open(log, "w") as file:
        subprocess.run(["bash", script], cwd=options["chdir"], env=os.environ | slurm | number,
                       stdin=subprocess.DEVNULL, stdout=file, stderr=file)
print("42" if "dependency" in " ".join(sys.argv) else "41;cluster")
"""


def write_matrix(folder: Path, phantom: Path, methods: list[str]) -> None:
    matrix = {
        "data": str(phantom),
        "counterfactuals": "truth",
        "preset": "embedded",
        "methods": methods,
        "looks": 1,
        "pictures": 0,
        "pretrain": {"epochs": 1, "batch_size": 12, "points": 32, "monitor_every": 0, "model": TINY, **SPARE},
        "finetune": {"epochs": 1, "batch_size": 18, "folds": 2, **SPARE},
        "of_method": {"simclr": {"epochs": 1, "batch_size": 12}} if "simclr" in methods else {},
    }
    folder.mkdir()
    (folder / "matrix.yaml").write_text(yaml.safe_dump(matrix))


def products(folder: Path) -> dict[str, bytes]:
    """Every network and every table of cases under the store, by its path."""
    store = folder / "runs" / "cells"
    found = [*store.rglob("weights.safetensors"), *store.rglob("cases.csv"), *store.rglob("embeddings.json")]
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(found)}


def kill_when(folder: Path, reached: Callable[[], bool]) -> None:
    """Starts the comparison, and kills it as soon as something is there; its cells must end by themselves."""
    process = subprocess.Popen(COMMAND, cwd=folder)
    deadline = time.monotonic() + 200
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert reached()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, phantom) -> Path:
    """A comparison that nobody interrupted."""
    folder = tmp_path_factory.mktemp("benchmark") / "whole"
    write_matrix(folder, phantom, METHODS)
    subprocess.run(COMMAND, cwd=folder, check=True)
    return folder


@pytest.mark.slow
def test_from_nothing_to_finished_cells(whole):
    shelves = {
        name: sorted((whole / "runs/cells" / name).glob("*[!k]")) for name in ("pretrain", "finetune", "evaluate")
    }
    assert {name: len(found) for name, found in shelves.items()} == {"pretrain": 5, "finetune": 6, "evaluate": 4}
    for run in (run for found in shelves.values() for run in found):
        assert "finished" in json.loads((run / "provenance.json").read_text()), run
        assert not list(run.rglob("*.ckpt"))
    assert len({(run / "folds.json").read_bytes() for run in shelves["finetune"]}) == 1
    logs = whole / "runs/benchmark/matrix/logs"
    assert len(list(logs.glob("*.log"))) == len(METHODS)


@pytest.mark.slow
def test_a_dry_run_finds_everything_done(whole, run_densecf):
    shown = run_densecf(whole, "benchmark", "matrix.yaml", "--dry-run").stdout
    assert shown.count(" done\n") == len(METHODS)
    assert "of work" not in shown


@pytest.mark.slow
def test_a_failing_cell_is_told_and_what_is_done_is_not_done_again(whole, run_densecf, tmp_path):
    folder = tmp_path / "failing"
    shutil.copytree(whole, folder, copy_function=os.link)
    (run,) = folder.glob("runs/cells/finetune/none-*[!k]")
    shutil.rmtree(run)
    run.mkdir()
    (run / "mine.txt").write_text("left here by somebody")
    done = run_densecf(folder, *COMMAND[3:], code=2)
    assert "-- None fair seed 0: exit code 2\n" in done.stderr
    assert f"{run}: exists and is no run folder of densecf" in done.stderr
    assert "1 of 6 cells failed: None fair seed 0" in done.stderr
    assert "Report" in done.stdout
    assert {path.name for path in run.iterdir()} == {"mine.txt"}
    assert products(folder).items() < products(whole).items()


@pytest.mark.slow
def test_killed_twice_and_started_again_it_comes_to_the_same(whole, phantom, tmp_path):
    folder, kept = tmp_path / "killed", ("none-", "s-mvd-cl-")
    write_matrix(folder, phantom, ["none", "s-mvd-cl"])
    store = folder / "runs/cells"
    kill_when(folder, lambda: any(store.glob("pretrain/*/checkpoint.ckpt")))
    kill_when(folder, lambda: any(store.glob("finetune/s-mvd-cl-*/folds/0/cases.csv")))
    assert not any(store.glob("evaluate/*/embeddings.json"))
    subprocess.run(COMMAND, cwd=folder, check=True)
    mine, expected = products(folder), products(whole)
    assert mine == {name: content for name, content in expected.items() if name.split("/")[1].startswith(kept)}
    assert len(mine) == 2 * 5 + 1 + 1


@pytest.mark.slow
def test_slurm_runs_cells_as_an_array_and_the_report_after_them(whole, phantom, tmp_path):
    folder = tmp_path / "cluster"
    write_matrix(folder, phantom, ["none", "vader"])
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sbatch").write_text(SBATCH.format(python=sys.executable, here=str(tools)))
    (tools / "sbatch").chmod(0o755)
    done = subprocess.run(
        [*COMMAND[:-2], "--launcher", "slurm", "--sbatch", "partition=gpu", "exclusive"],
        cwd=folder,
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2 cells are job 41, the report is job 42" in done.stdout
    out = folder / "runs/benchmark/matrix"
    first, second = (tools / "sbatch.log").read_text().splitlines()
    assert first == f"--parsable {out / 'cells.sbatch'}"
    assert second == f"--parsable --dependency=afterany:41 {out / 'report.sbatch'}"
    mine, expected = products(folder), products(whole)
    assert mine == {name: expected[name] for name in mine}
    assert len(mine) == 2 * 5 + 1 + 1, [path.read_text() for path in out.glob("logs/*.out")]
    assert "Report" in (out / "logs/slurm-42.out").read_text()
