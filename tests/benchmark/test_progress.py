import json
from pathlib import Path

import pytest

from densecf.benchmark.cells import make_cells
from densecf.benchmark.matrix import Matrix
from densecf.benchmark.progress import last_step, share_done
from densecf.benchmark.stages import Inputs, stages_of

MATRIX = Matrix(
    methods=("none", "vader"),
    pretrain={"epochs": 5, "batch_size": 10},
    finetune={"epochs": 4, "batch_size": 4, "folds": 2},
)


def metrics(path: Path, *steps: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "metrics.jsonl").write_text("".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in steps))


def test_the_last_line_that_is_whole(tmp_path):
    assert last_step(tmp_path / "metrics.jsonl") == 0
    metrics(tmp_path, *range(0, 5000, 10))
    assert last_step(tmp_path / "metrics.jsonl") == 4990
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50')
    assert last_step(tmp_path / "metrics.jsonl") == 4990


def test_shares_follow_from_steps_and_folds(tmp_path):
    cell = make_cells(MATRIX, "none")[1]
    pretrain, finetune, evaluate = stages_of(cell, Inputs("dataset", "folds"), tmp_path)

    def share(stage) -> float:
        return share_done(cell, stage, images=100, masks=16)

    assert (share(pretrain), share(finetune), share(evaluate)) == (0, 0, 0)
    metrics(pretrain.folder, 0, 10, 20)  # of 5 epochs of 10 steps
    assert share(pretrain) == pytest.approx(0.4)
    metrics(finetune.folder / "folds/0", 0, 2)  # of 4 epochs of 2 steps
    assert share(finetune) == pytest.approx(0.125)
    (finetune.folder / "folds/0/cases.csv").touch()
    assert share(finetune) == pytest.approx(0.5)
    for name, text in (("config.yaml", "{}"), ("provenance.json", '{"finished": "now"}')):
        (pretrain.folder / name).write_text(text)
    assert share(pretrain) == 1
