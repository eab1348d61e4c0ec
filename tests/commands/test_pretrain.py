"""Options of pretraining that a method would ignore, and positives by nearness through the real command line."""

import dataclasses

import numpy as np
import pytest

from densecf.commands.pretrain import refuse_idle_options
from densecf.config import PretrainConfig
from densecf.errors import ConfigError
from densecf.methods import METHODS
from densecf.presets import idle_options, lacks_radius, pretrain_presets
from densecf.training.logs import read_metrics
from tests.test_end_to_end import pretrain_arguments


@pytest.mark.parametrize("method", METHODS)
def test_presets_are_never_refused(method):
    for preset in pretrain_presets(method).values():
        assert idle_options(preset) == []
        assert not lacks_radius(preset)


@pytest.mark.parametrize("method", METHODS)
def test_only_mvd_cl_hears_of_nearness_and_only_classes_have_a_background(method):
    row = METHODS[method]
    pixels = row.objective == "contrast" and not row.image_level
    for options, heard in (
        ({"match_radius": 0.05}, method == "mvd-cl"),
        ({"match_radius": 0.05, "sampling": "anywhere"}, method == "mvd-cl"),
        ({"background_queries": True}, pixels and row.same == "class"),
    ):
        config = dataclasses.replace(pretrain_presets(method)["default"], **options)
        if heard:
            refuse_idle_options(config)
        else:
            with pytest.raises(ConfigError, match="has no effect"):
                refuse_idle_options(config)


def test_pixels_from_anywhere_need_a_radius():
    with pytest.raises(ConfigError, match="--match-radius"):
        refuse_idle_options(PretrainConfig(method="mvd-cl", sampling="anywhere"))


@pytest.mark.slow
def test_the_authors_mvd_cl_from_the_command_line(phantom, run_densecf, tmp_path):
    arguments = ["--match-radius", 0.1, "--sampling", "anywhere", "--where", "sex=F", "--monitor-every", 0]
    run_densecf(tmp_path, *pretrain_arguments(phantom, "mvd-cl", *arguments))
    run = tmp_path / "runs/pretrain/mvd-cl"
    assert (run / "weights.safetensors").is_file()
    assert {"match_radius: 0.1", "sampling: anywhere"} <= set((run / "config.yaml").read_text().splitlines())
    first = read_metrics(run / "metrics.jsonl")[0]
    keys = 4 * 4 * 32 - 1
    assert first["chance"] == pytest.approx(np.log(keys), rel=1e-5)
    assert abs(first["loss"] - first["chance"]) < 1
