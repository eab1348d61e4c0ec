"""What names a cell's folders: everything that decides its results, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from densecf.benchmark.cells import Cell
from densecf.benchmark.matrix import Ablation
from densecf.benchmark.stages import Inputs, stages_of
from tests.benchmark.builders import cells_of, one

STORED = {
    "hvae": {"scanner=other": "s", "pleural_effusion=other": "d", "scanner=other+pleural_effusion=other": "sd"},
    "truth": {"scanner=other": "t"},
}
INPUTS = Inputs("dataset", "folds", STORED)


def names(cell: Cell, inputs: Inputs = INPUTS) -> dict[str, str]:
    return {stage.command: stage.folder.name for stage in stages_of(cell, inputs, Path("store"))}


def changed(cell: Cell, other: Cell) -> set[str]:
    mine, theirs = names(cell), names(other)
    assert mine.keys() == theirs.keys()
    return {command for command in mine if mine[command] != theirs[command]}


def test_equal_options_have_equal_folders():
    assert not changed(one(), one(title="Another title", about="Words"))
    assert names(one(seeds=(0,))) == names(one(seeds=(0, 1)))


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({"finetune": {"epochs": 7}}, {"finetune"}),
        ({"looks": 3}, {"finetune"}),
        ({"finetune": {"where": "sex=F"}}, {"finetune", "evaluate"}),
        ({"pretrain": {"epochs": 7}}, {"pretrain", "finetune", "evaluate"}),
        ({"pretrain": {"optim": {"lr": 0.5}}}, {"pretrain", "finetune", "evaluate"}),
        ({"views": "SRCE"}, {"pretrain", "finetune", "evaluate"}),
        ({"seeds": (1,)}, {"pretrain", "finetune", "evaluate"}),
        ({"pretrain": {"hardware": {"workers": 3}, "checkpoint_minutes": 9.0}}, set()),
        ({"finetune": {"hardware": {"workers": 3}, "checkpoint_minutes": 9.0}}, set()),
        ({"of_method": {"vader": {"epochs": 2}}}, set()),
    ],
)
def test_a_stage_is_made_again_only_when_something_in_it_changed(options, stages):
    assert changed(one(), one(**options)) == stages


def test_inputs_change_those_that_use_them():
    cells = cells_of(ablation=Ablation(("dvd-cl",), ("SC",)))
    other = replace(INPUTS, counterfactuals={**STORED, "hvae": STORED["hvae"] | {"pleural_effusion=other": "new"}})
    moved = {cell.title for cell in cells if names(cell) != names(cell, other)}
    assert moved == {f"{row} SDRCE fair seed 0" for row in ("DVD-CL", "MVD-CL", "S-DVD-CL", "S-MVD-CL")}
    for inputs in (replace(INPUTS, dataset="new"), Inputs("dataset", "new folds", STORED)):
        assert all(names(cell)["finetune"] != names(cell, inputs)["finetune"] for cell in cells)
    refolded = Inputs("dataset", "new folds", STORED)
    assert names(one())["pretrain"] == names(one(), refolded)["pretrain"]
    assert names(one())["evaluate"] == names(one(), refolded)["evaluate"]
    elsewhere = replace(INPUTS, counterfactuals={**STORED, "truth": {"scanner=other": "new"}})
    assert all(names(cell) == names(cell, elsewhere) for cell in cells)


def test_the_weights_to_start_from_count_and_not_where_they_are():
    first, second = (one(pretrain={"init_from": path}) for path in ("runs/a", "runs/b"))
    same = replace(INPUTS, weights={"runs/a": "sum", "runs/b": "sum"})
    assert names(first, same) == names(second, same)
    assert names(first, same) != names(one(), same)
    assert names(first, same) != names(second, replace(INPUTS, weights={"runs/b": "another"}))


def test_an_option_added_later_changes_no_folder(monkeypatch):
    """One more option, at its default, in every config: finished cells stay what they are."""
    from densecf.benchmark import cell_options, stages

    before = [names(cell) for cell in cells_of()]
    plain = stages.to_dict
    for module in (cell_options, stages):
        monkeypatch.setattr(module, "to_dict", lambda config: plain(config) | {"added_later": 3})
    monkeypatch.setattr(cell_options, "from_dict", lambda kind, values, source: _known(kind, values))
    assert [names(cell) for cell in cells_of()] == before


def _known(kind, values):
    from densecf.config_values import from_dict

    return from_dict(kind, {name: value for name, value in values.items() if name != "added_later"}, "test")


def test_stages_follow_from_the_method():
    assert list(names(one("None"))) == ["finetune"]
    assert list(names(one("SimCLR"))) == ["pretrain", "finetune"]
    assert list(names(one("S-MVD-CL"))) == ["pretrain", "finetune", "evaluate"]


def test_methods_that_are_the_same_without_counterfactuals_share_their_folders():
    cells = cells_of(methods=("none", "vader", "dvd-cl"), ablation=Ablation(("dvd-cl",), ("RCE",)))
    vader, ablated = (next(cell for cell in cells if cell.title.startswith(t)) for t in ("VADeR RCE", "DVD-CL RCE"))
    assert names(vader) == names(ablated)
