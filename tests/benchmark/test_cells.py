from dataclasses import replace
from pathlib import Path

import pytest

from densecf.benchmark.cells import Cell, Inputs, make_cells, stages_of
from densecf.benchmark.matrix import Ablation, Matrix, Variant
from densecf.config import HardwareConfig, PretrainConfig
from densecf.errors import ConfigError
from densecf.presets import pretrain_presets

STORED = {
    "hvae": {"scanner=other": "s", "pleural_effusion=other": "d", "scanner=other+pleural_effusion=other": "sd"},
    "truth": {"scanner=other": "t"},
}
INPUTS = Inputs("dataset", "folds", STORED)


def cells_of(**options) -> list[Cell]:
    return make_cells(Matrix(**options), "hvae")


def one(row: str = "MVD-CL", **options) -> Cell:
    return next(cell for cell in cells_of(**options) if cell.row == row)


def names(cell: Cell, inputs: Inputs = INPUTS) -> dict[str, str]:
    return {stage.command: stage.folder.name for stage in stages_of(cell, inputs, Path("store"))}


def changed(cell: Cell, other: Cell) -> set[str]:
    mine, theirs = names(cell), names(other)
    assert mine.keys() == theirs.keys()
    return {command for command in mine if mine[command] != theirs[command]}


def test_a_main_row_has_every_view_it_can_use():
    found = {cell.row: cell.views for cell in cells_of()}
    assert found == {
        "None": "",
        "SimCLR": "RCE",
        "VADeR": "RCE",
        "DVD-CL": "SDRCE",
        "MVD-CL": "SDRCE",
        "Silver masks": "RCE",
        "SSDCL": "RCE",
        "S-DVD-CL": "SDRCE",
        "S-MVD-CL": "SDRCE",
    }
    assert {cell.row: cell.views for cell in cells_of(views="SCE", methods=("none", "vader", "dvd-cl"))} == {
        "None": "",
        "VADeR": "CE",
        "DVD-CL": "SCE",
    }


def test_cells_are_not_listed_twice():
    found = cells_of(
        methods=("none", "dvd-cl"), seeds=(0, 1), ablation=Ablation(("dvd-cl",), ("SDRCE", "SRCE"), seeds=(0,))
    )
    assert [(cell.title, cell.parts) for cell in found] == [
        ("None fair seed 0", ("main",)),
        ("DVD-CL SDRCE fair seed 0", ("main", "ablation")),
        ("None fair seed 1", ("main",)),
        ("DVD-CL SDRCE fair seed 1", ("main",)),
        ("DVD-CL SRCE fair seed 0", ("ablation",)),
    ]


def test_titles_tell_cells_apart():
    found = cells_of(
        protocols=("fair", "authors"),
        seeds=(0, 1),
        ablation=Ablation(("dvd-cl", "simclr"), ("SDRCE", "RCE", "C")),
        variants=(Variant("Colder", "dvd-cl", pretrain={"temperature": 0.1}), Variant("Few", "none")),
    )
    assert len({cell.title for cell in found}) == len(found)


def test_a_row_has_the_seeds_of_its_kind():
    found = cells_of(
        methods=("none",),
        seeds=(1, 2),
        protocols=("fair", "authors"),
        authors_seeds=(3,),
        variants=(Variant("A", "none", finetune={"train_cases": 5}, seeds=(4,)),),
    )
    assert [(cell.row, cell.protocol, cell.seed) for cell in found] == [
        ("None", "fair", 1),
        ("None", "fair", 2),
        ("None", "authors", 3),
        ("A", "fair", 4),
    ]
    assert all(cell.finetune.seed == cell.seed for cell in found)


def test_options_lie_over_each_other():
    options = {
        "pretrain": {"epochs": 3, "views": {"rotation": 5.0}},
        "of_method": {"dvd-cl": {"epochs": 4}},
        "variants": (Variant("Long", "dvd-cl", pretrain={"epochs": 5}),),
    }
    assert one("MVD-CL", **options).pretrain.epochs == 3
    assert one("DVD-CL", **options).pretrain.epochs == 4
    assert one("Long", **options).pretrain.epochs == 5
    views = one("Long", **options).pretrain.views
    assert (views.rotation, views.scale) == (5.0, pretrain_presets("dvd-cl")["embedded"].views.scale)
    assert one("MVD-CL", data="elsewhere").pretrain.model.encoder == "resnet50"


def test_options_of_all_rows_reach_those_that_hear_them():
    options = {"pretrain": {"points": 64, "where": "split=train", "epochs": 3, "model": {"encoder": "resnet34"}}}
    assert one("MVD-CL", **options).pretrain.points == 64
    assert one("Silver masks", **options).pretrain.points == pretrain_presets("segmentation")["embedded"].points
    images = one("SimCLR", **options).pretrain
    assert (images.where, images.epochs, images.model.encoder) == ("split=train", 30, "resnet34")


def test_all_rows_fine_tune_the_same_network():
    model = {"encoder": "resnet34", "decoder_channels": [64, 32, 32, 16, 16]}
    for cell in cells_of(pretrain={"model": model}):
        assert cell.finetune.model.encoder == "resnet34", cell.title
        assert cell.finetune.model.decoder_channels == (64, 32, 32, 16, 16), cell.title
    with pytest.raises(ConfigError, match=r"VADeR: finetune: model\.encoder"):
        cells_of(methods=("none", "vader"), finetune={"model": {"encoder": "resnet50"}})


def test_the_authors_settings():
    found = {cell.row: cell for cell in cells_of(protocols=("authors",))}
    assert {row: cell.views for row, cell in found.items()} == {
        "None": "",
        "SimCLR": "DRCE",
        "VADeR": "CE",
        "DVD-CL": "SDRCE",
        "MVD-CL": "SDRCE",
        "Silver masks": "RCE",
        "SSDCL": "E",
        "S-DVD-CL": "SDRCE",
        "S-MVD-CL": "SDRCE",
    }
    simclr = found["SimCLR"].pretrain
    assert (simclr.method, simclr.temperature, simclr.intervene) == ("cf-simclr", 0.5, ("pleural_effusion",))
    assert found["VADeR"].pretrain.views.rotation == 0
    assert found["SSDCL"].pretrain.views.scale == (1.0, 1.0)
    for row in ("DVD-CL", "MVD-CL", "S-DVD-CL"):
        config = found[row].pretrain
        assert (config.direction_reduction, config.model.encoder_weights, config.optim.warmup) == (
            "sum",
            "imagenet",
            0.25,
        )
    assert found["MVD-CL"].pretrain.match_radius == 0.1
    assert found["None"].finetune.optim.clip == 250.0
    assert found["None"].finetune.test_every == 3  # ten looks in thirty epochs
    without = one("DVD-CL", protocols=("authors",), authors_without=("model.encoder_weights",)).pretrain
    assert (without.model.encoder_weights, without.direction_reduction) == ("none", "sum")


def test_unknown_options_name_the_row():
    with pytest.raises(ConfigError, match=r"SimCLR: pretrain: 1 option.*\n  length"):
        cells_of(of_method={"simclr": {"length": 3}})
    with pytest.raises(ConfigError, match="Odd: finetune"):
        cells_of(variants=(Variant("Odd", "none", finetune={"epochs": 0}),))
    with pytest.raises(ConfigError, match="VADeR: view parameters out of range"):
        cells_of(methods=("none", "vader"), pretrain={"views": {"scale": [0.5, 0.1]}})


def test_equal_options_have_equal_folders():
    assert not changed(one(), one(title="Another title", about="Words"))
    assert names(one(seeds=(0,))) == names(one(seeds=(0, 1)))


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({"finetune": {"epochs": 7}}, {"finetune"}),
        ({"looks": 3}, {"finetune"}),
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
    from densecf.benchmark import cells as module

    before = [names(cell) for cell in cells_of()]
    plain = module.to_dict
    monkeypatch.setattr(module, "to_dict", lambda config: plain(config) | {"added_later": 3})
    monkeypatch.setattr(module, "from_dict", lambda kind, values, source: _known(kind, values))
    assert [names(cell) for cell in cells_of()] == before


def _known(kind, values):
    from densecf.config import from_dict

    return from_dict(kind, {name: value for name, value in values.items() if name != "added_later"}, "test")


def test_stages_follow_from_the_method():
    assert list(names(one("None"))) == ["finetune"]
    assert list(names(one("SimCLR"))) == ["pretrain", "finetune"]
    assert list(names(one("S-MVD-CL"))) == ["pretrain", "finetune", "evaluate"]


def test_methods_that_are_the_same_without_counterfactuals_share_their_folders():
    cells = cells_of(methods=("none", "vader", "dvd-cl"), ablation=Ablation(("dvd-cl",), ("RCE",)))
    vader, ablated = (next(cell for cell in cells if cell.title.startswith(t)) for t in ("VADeR RCE", "DVD-CL RCE"))
    assert names(vader) == names(ablated)


def test_devices_and_precision_reach_every_row():
    for cell in cells_of(pretrain={"hardware": {"precision": "32"}}):
        if cell.pretrain is not None:
            assert cell.pretrain.hardware == HardwareConfig(precision="32")
    assert isinstance(one().pretrain, PretrainConfig)
