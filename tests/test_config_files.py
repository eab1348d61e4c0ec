"""The files in configs/: each passes the real validation of its command, and every value says where it is from."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from densecf import cli
from densecf.benchmark.cells import make_cells
from densecf.benchmark.matrix import read_matrix
from densecf.commands.pretrain import refuse_idle_options
from densecf.config import CounterfactualConfig, HVAEConfig
from densecf.data import select
from densecf.data.readers import read_records
from densecf.methods import METHODS
from densecf.presets import COUNTERFACTUAL_PRESETS
from tests.conftest import ROOT
from tests.data.published import embed

FOLDER = ROOT / "configs"
FILES = sorted(path for path in FOLDER.glob("*/*.yaml") if path.parent.name != "benchmark")
COMPARISONS = sorted(FOLDER.glob("benchmark/*.yaml"))
COMMANDS = {"counterfactuals": "counterfactuals train", "pretrain": "pretrain", "finetune": "finetune"}
SOURCE = re.compile(r"\[?(P|P-code|R|R-code|ours)\b.*: \S|(P|R), section")


def command(path: Path) -> str:
    return COMMANDS[path.stem.split("-")[0]]


def load(path: Path):
    return cli.parse(command(path), ["--config", str(path)]).config


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_config_file_is_valid_and_says_where_its_values_are_from(path):
    load(path)
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        value = re.match(r"\s*\w+: *([^#\s].*?)?(\s+# .*)?$", line)
        if value and value[1]:
            assert SOURCE.search(value[2] or ""), f"{path}:{number}: {line!r} does not say where the value is from"


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.name)
def test_every_cell_of_a_comparison_has_options_that_fit(path):
    matrix = read_matrix(path)
    cells = make_cells(matrix, "hvae")
    assert {cell.seed for cell in cells} >= set(matrix.seeds)
    for cell in cells:
        if cell.pretrain is not None:
            refuse_idle_options(cell.pretrain)


def test_the_small_comparison_is_a_part_of_the_full_one():
    small, full = (
        {(cell.title, repr(cell.pretrain), repr(cell.finetune)) for cell in make_cells(read_matrix(path), "hvae")}
        for path in (FOLDER / "benchmark/phantom.yaml", FOLDER / "benchmark/phantom-full.yaml")
    )
    assert small < full


def test_there_are_files_for_what_the_papers_train():
    names = {str(path.relative_to(FOLDER)) for path in FILES}
    assert {"padchest/pretrain.yaml", "padchest/finetune.yaml", "padchest/counterfactuals.yaml"} <= names
    assert "embed/counterfactuals.yaml" in names


def test_the_network_of_the_papers_is_the_default_one():
    for path in FILES:
        config = load(path)
        if isinstance(config, CounterfactualConfig):
            assert config.network == HVAEConfig()


def test_the_scanner_and_sex_model_is_the_preset_of_the_authors():
    config = load(FOLDER / "padchest/counterfactuals-scanner-sex.yaml")
    preset = COUNTERFACTUAL_PRESETS["authors"]
    differing = {"data": config.data, "parents": config.parents, "seed": config.seed}
    assert replace(preset, **differing, optim=config.optim) == config
    assert replace(preset.optim, warmup=config.optim.warmup) == config.optim


def test_a_mistake_in_a_config_file_is_named(tmp_path):
    text = (FOLDER / "padchest/pretrain.yaml").read_text()
    path = tmp_path / "pretrain.yaml"
    path.write_text(text.replace("points: 1000", "points: 1").replace("lr: 0.003", "learning_rate: 0.003"))
    with pytest.raises(cli.DensecfError, match=r"(?s)pretrain\.yaml: 2 option.*points.*learning_rate"):
        load(path)


def test_the_held_out_scanner_of_embed_is_in_no_training(tmp_path):
    embed.build(tmp_path, 60, images=False)
    records = read_records("embed", table=tmp_path / "tables")
    expected = (records["split"] == "train") & (records["scanner"] != "Senographe Essential")
    configs = [load(path) for path in FILES if path.parent.name == "embed"]
    assert configs
    for config in configs:
        assert (select(records, config.where) == expected).all()


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*/pretrain*.yaml")), ids=lambda path: str(path.relative_to(FOLDER))
)
def test_the_methods_that_a_file_speaks_of_run_from_it(path):
    spoken_of = [name for name in METHODS if re.search(rf"--method .*(?<![\w-]){name}(?![\w-])", path.read_text())]
    assert spoken_of
    for method in spoken_of:
        assert cli.parse("pretrain", ["--config", str(path), "--method", method]).config.method == method
