from pathlib import Path

import pytest

from densecf import runs
from densecf.benchmark.cells import Cell, make_cells
from densecf.benchmark.estimate import START_SECONDS, clock_text, correction, remembered, stage_seconds, views_of
from densecf.benchmark.matrix import Matrix
from densecf.benchmark.stages import Inputs, Stage, stages_of
from densecf.config import ModelConfig, PretrainConfig
from densecf.files import write_json_atomic, write_text_atomic
from densecf.presets import pretrain_presets

MATRIX = Matrix(pretrain={"epochs": 3}, finetune={"epochs": 10, "folds": 5}, of_method={"simclr": {"epochs": 3}})
CELLS = {cell.row: cell for cell in make_cells(MATRIX, "hvae")}
INPUTS = Inputs("dataset", "folds")


def a_second_an_image(model: ModelConfig, image_level: bool, size: int) -> float:
    return 0.5 if image_level else 1.0


def seconds(cell: Cell) -> dict[str, float]:
    return {
        stage.command: stage_seconds(cell, stage, images=100, masks=20, size=64, clock=a_second_an_image)
        - START_SECONDS
        for stage in stages_of(cell, INPUTS, Path("store"))
    }


def test_seconds_follow_from_images_views_and_epochs():
    assert seconds(CELLS["None"]) == {"finetune": 5 * 10 * 16}
    assert seconds(CELLS["VADeR"])["pretrain"] == 3 * 100 * 2
    assert seconds(CELLS["S-MVD-CL"])["pretrain"] == 3 * 100 * 4
    assert seconds(CELLS["Silver masks"])["pretrain"] == 3 * 100
    assert seconds(CELLS["SimCLR"])["pretrain"] == pytest.approx(3 * 100 * 2 * 0.5)
    assert seconds(CELLS["S-MVD-CL"])["finetune"] == 5 * 10 * 16
    assert 0 < seconds(CELLS["S-MVD-CL"])["evaluate"] < 20


def test_views_are_those_that_training_draws():
    assert views_of(PretrainConfig(method="dvd-cl", counterfactuals="hvae", intervene=("scanner",))) == 2
    assert views_of(PretrainConfig(method="dvd-cl", counterfactuals="none")) == 2
    assert views_of(pretrain_presets("dino")["embedded"]) == 4


def test_a_network_is_timed_once():
    asked = []
    clock = remembered(lambda *network: asked.append(network) or 2.0)
    assert [clock(ModelConfig(), False, 64), clock(ModelConfig(), False, 64), clock(ModelConfig(), True, 64)] == [
        2.0
    ] * 3
    assert len(asked) == 2


def finished(folder: Path, seconds: float) -> Stage:
    write_json_atomic(folder / runs.PROVENANCE, {"finished": "now", "seconds": seconds})
    write_text_atomic(folder / runs.CONFIG, "{}")
    return Stage("pretrain", folder)


def test_what_finished_cells_took_corrects_the_rest(tmp_path):
    done = [finished(tmp_path / str(place), took) for place, took in enumerate((20, 30, 400))]
    waiting = Stage("pretrain", tmp_path / "not there")
    assert correction([(waiting, 10.0)]) == 1.0
    assert correction([*((stage, 10.0) for stage in done), (waiting, 10.0)]) == 3.0


@pytest.mark.parametrize(("given", "text"), [(5, "1 min"), (95, "2 min"), (5400, "1 h 30 min"), (7230, "2 h 0 min")])
def test_times_read_well(given, text):
    assert clock_text(given) == text
