import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from densecf import runs
from densecf.benchmark import worker
from densecf.benchmark.cells import make_cells
from densecf.benchmark.matrix import Matrix
from densecf.benchmark.stages import Inputs, Stage, stages_of
from densecf.benchmark.worker import is_done, run_cell, train_alone
from densecf.files import write_json_atomic, write_text_atomic

CELL = make_cells(Matrix(methods=("none", "vader")), "none")[1]


@pytest.fixture
def stages(tmp_path) -> list[Stage]:
    return stages_of(CELL, Inputs("dataset", "folds"), tmp_path / "store")


@pytest.fixture
def done(monkeypatch) -> list[tuple[str, Path | None]]:
    """Commands that only note what they were asked for, one after the other, and take a while."""
    found: list[tuple[str, Path | None]] = []
    busy = threading.Lock()

    def make(command: str):
        def do(cell, folder, pretrained, folds, workers):
            assert busy.acquire(blocking=False), "two at work"
            time.sleep(0.05)
            found.append((command, pretrained))
            write_json_atomic(folder / runs.PROVENANCE, {"finished": "now"})
            write_text_atomic(folder / runs.CONFIG, "{}")
            busy.release()

        return do

    monkeypatch.setattr(worker, "_DO", {name: make(name) for name in worker._DO})
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    return found


def test_stages_are_done_in_order_and_once(stages, done, tmp_path):
    assert not any(map(is_done, stages))
    run_cell(CELL, stages, tmp_path / "folds.json")
    assert done == [(command, stages[0].folder) for command in ("pretrain", "finetune", "evaluate")]
    assert all(map(is_done, stages))
    run_cell(CELL, stages, tmp_path / "folds.json")
    assert len(done) == 3


def test_only_what_is_not_finished_is_done(stages, done, tmp_path):
    run_cell(CELL, stages, tmp_path / "folds.json")
    done.clear()
    write_json_atomic(stages[1].folder / runs.PROVENANCE, {"started": "then"})
    run_cell(CELL, stages, tmp_path / "folds.json")
    assert [command for command, _ in done] == ["finetune"]


def test_cells_that_share_their_stages_do_them_once(stages, done, tmp_path):
    threads = [threading.Thread(target=run_cell, args=(CELL, stages, tmp_path / "folds.json")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert [command for command, _ in done] == ["pretrain", "finetune", "evaluate"]


def test_embeddings_are_measured_on_the_records_that_are_tested(monkeypatch, tmp_path):
    from densecf.commands import evaluate

    asked = []
    monkeypatch.setattr(evaluate, "run_evaluate", asked.append)
    cell = replace(CELL, finetune=replace(CELL.finetune, where="source=montgomery"))
    worker._evaluate(cell, tmp_path / "out", tmp_path / "weights.safetensors", tmp_path / "folds.json", None)
    assert asked[0].where == "source=montgomery"


def test_a_cell_within_slurm_is_one_process(monkeypatch):
    from pytorch_lightning.plugins.environments import SLURMEnvironment

    told = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_NTASKS": "1", "SLURM_PROCID": "2"}
    for name, value in (told | {"SLURM_JOB_NAME": "densecf-cells", "SLURM_NTASKS_PER_NODE": "4"}).items():
        monkeypatch.setenv(name, value)
    assert SLURMEnvironment.detect()
    assert runs.process_rank() == 2
    train_alone()
    assert not SLURMEnvironment.detect()
    assert runs.process_rank() == 0
    assert os.environ["SLURM_ARRAY_TASK_ID"] == "3"
