"""Options: one source for flags, YAML and validation; every mistake is reported at once."""

import dataclasses

import pytest
import yaml

from densecf import runs
from densecf.cli import parse
from densecf.commands.defaults import default_options
from densecf.commands.options import PretrainOptions
from densecf.config import PHANTOM, FinetuneConfig, PretrainConfig
from densecf.config_values import from_dict, load_yaml, to_dict
from densecf.errors import ConfigError
from densecf.methods import METHODS
from densecf.presets import FINETUNE_PRESETS, PIXEL_PRESETS, pretrain_presets


@pytest.mark.parametrize(
    ("kind", "config"),
    [(PretrainConfig, c) for method in METHODS for c in pretrain_presets(method).values()]
    + [(FinetuneConfig, c) for c in FINETUNE_PRESETS.values()],
)
def test_config_survives_yaml(tmp_path, kind, config):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(to_dict(config)))
    assert load_yaml(kind, path) == config


def test_all_mistakes_at_once():
    values = {"epochs": 0, "temperature": -1, "methud": "s-mvd-cl", "optim": {"lr": "fast"}, "views": {"rotation": 500}}
    with pytest.raises(ConfigError) as error:
        from_dict(PretrainConfig, values, "my.yaml")
    text = str(error.value)
    assert text.startswith("my.yaml: 5 option(s)")
    for name in ("epochs", "temperature", "methud", "optim.lr", "views.rotation"):
        assert f"  {name}: " in text


@pytest.mark.parametrize("content", ["- a\n- b", "{", "a: [1"])
def test_files_that_are_no_config(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load_yaml(PretrainConfig, path)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(PretrainConfig, tmp_path / "none.yaml")


def test_left_out_options_keep_their_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("method: dvd-cl\noptim: {lr: 0.01}")
    config = load_yaml(PretrainConfig, path)
    default = PretrainConfig()
    assert config == dataclasses.replace(default, method="dvd-cl", optim=dataclasses.replace(default.optim, lr=0.01))


def test_the_authors_preset_departs_where_their_code_does():
    authors, ours = PIXEL_PRESETS["authors"], PIXEL_PRESETS["default"]
    assert (authors.direction_reduction, authors.views.solarize_anchor) == ("sum", False)
    assert (ours.direction_reduction, ours.views.solarize_anchor) == ("mean", True)


def test_what_the_authors_code_does_to_single_methods():
    departures = {}
    for method, row in METHODS.items():
        for name, preset in pretrain_presets(method).items():
            assert preset.method == method
            options = (preset.match_radius, preset.sampling, preset.background_queries)
            if options != (0.0, "common", False):
                departures[method, name] = options
            assert preset.sampling == "common" or preset.match_radius > 0
            assert not preset.match_radius or (row.same, row.pairing) == ("location", "multi")
            assert not preset.background_queries or row.same == "class"
    assert departures == {
        ("mvd-cl", "authors"): (0.1, "anywhere", False),
        ("ssdcl", "authors"): (0.0, "common", True),
        ("s-mvd-cl", "authors"): (0.0, "common", True),
    }


def test_the_preset_of_no_method_is_that_of_the_usual_one():
    options = default_options("pretrain", PretrainOptions, ["--preset", "authors"])
    assert options.config == pretrain_presets(PretrainConfig().method)["authors"]


def test_methods_are_what_their_names_say():
    for name, method in METHODS.items():
        if name.startswith("s-"):
            plain = METHODS[name.removeprefix("s-")]
            assert dataclasses.replace(plain, same="class", summary="") == dataclasses.replace(method, summary="")
    assert METHODS["dvd-cl"].pairing == "dual"
    assert METHODS["mvd-cl"].pairing == "multi"
    assert not METHODS["vader"].counterfactuals
    assert METHODS["ssdcl"].needs_masks


def test_a_file_with_views_out_of_range_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("views: {blur_sigma: [2.1, 2.0]}\n")
    with pytest.raises(ConfigError, match=r"config\.yaml.*(?s:.)*blur_sigma = \(2\.1, 2\.0\)"):
        load_yaml(FinetuneConfig, tmp_path / "config.yaml")


@pytest.mark.parametrize("flags", [[], ["--data", "auto"]])
def test_fine_tuning_takes_the_preset_of_the_data_that_its_run_saw(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, data in (("phantom", PHANTOM), ("lungs", "data/lungs")):
        run = runs.start_run("pretrain", name, {"data": data})
        (run / "weights.safetensors").write_bytes(b"")
        runs.finish_run(run, "pretrain")
    assert parse("finetune", flags).config.epochs == FinetuneConfig().epochs
    small = parse("finetune", [*flags, "--from", "phantom"]).config
    assert small.epochs == FINETUNE_PRESETS["embedded"].epochs != FinetuneConfig().epochs
