import pytest

from densecf.benchmark.matrix import Ablation, Variant
from densecf.config import HardwareConfig, PretrainConfig
from densecf.errors import ConfigError
from densecf.presets import pretrain_presets
from tests.benchmark.builders import cells_of, one


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


def test_random_weights_have_no_views():
    few = one("Few", views="SRCE", variants=(Variant("Few", "none", finetune={"epochs": 3}),))
    assert (few.views, few.title) == ("", "Few fair seed 0")


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


def test_devices_and_precision_reach_every_row():
    for cell in cells_of(pretrain={"hardware": {"precision": "32"}}):
        if cell.pretrain is not None:
            assert cell.pretrain.hardware == HardwareConfig(precision="32")
    assert isinstance(one().pretrain, PretrainConfig)
