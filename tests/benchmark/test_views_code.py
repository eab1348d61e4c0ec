import pytest

from densecf.benchmark.views_code import check_code, pretrain_options, without_counterfactuals
from densecf.config import PretrainConfig
from densecf.config_values import from_dict
from densecf.errors import ConfigError

PARENTS = {"S": "machine", "D": "effusion"}


@pytest.mark.parametrize("code", ["", "C", "RCE", "SDRCE", "SC", "DRCE"])
def test_codes(code):
    check_code(code)


@pytest.mark.parametrize("code", ["X", "CR", "CC", "sdrce", "SD RCE", "SDRCEX"])
def test_no_codes(code):
    with pytest.raises(ConfigError, match="letters SDRCE in this order"):
        check_code(code)


def test_a_missing_letter_switches_its_augmentation_off_and_no_other():
    default = PretrainConfig().views
    for code, off in {
        "SDRC": ("jitter_prob", "blur_prob", "solarize_prob"),
        "SDCE": ("rotation",),
        "SDRE": ("scale", "ratio"),
    }.items():
        views = from_dict(PretrainConfig, pretrain_options(code, PARENTS, "hvae"), code).views
        changed = {name for name in vars(views) if getattr(views, name) != getattr(default, name)}
        assert changed == set(off)
    assert from_dict(PretrainConfig, pretrain_options("RE", PARENTS, "hvae"), "RE").views.scale == (1.0, 1.0)


def test_letters_of_counterfactuals_name_parents():
    assert pretrain_options("SDRCE", PARENTS, "hvae")["intervene"] == ["machine", "effusion"]
    assert pretrain_options("DRCE", PARENTS, "hvae")["intervene"] == ["effusion"]
    assert pretrain_options("S", PARENTS, "mine")["counterfactuals"] == "mine"
    assert pretrain_options("RCE", PARENTS, "hvae")["counterfactuals"] == "none"
    assert without_counterfactuals("SDRCE") == "RCE"
