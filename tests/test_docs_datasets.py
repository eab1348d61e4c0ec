"""docs/datasets.md: its commands parse, its files exist, its example works, and no dataset is forgotten."""

import re
import shlex

import pytest

from densecf import cli
from densecf.data.mapping import load_mapping
from densecf.data.readers import DATASETS
from tests.conftest import ROOT

TEXT = (ROOT / "docs/datasets.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S)
COMMANDS = [
    line.removeprefix("densecf ")
    for _, block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("densecf ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_are_understood(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)
    count = cli._command_words(words)
    name = " ".join(words[:count])
    assert cli.parse(name, words[count:]) is not None


def test_every_dataset_is_described_and_prepared():
    prepared = {line.split()[2] for line in COMMANDS if line.startswith("data prepare")}
    assert prepared == {*DATASETS, "table"}
    for name in DATASETS:
        assert f"`{name}`" in TEXT


def test_every_config_file_is_used():
    for path in (ROOT / "configs").glob("*/*.yaml"):
        spoken_of = str(path.relative_to(ROOT)) in TEXT or path.stem == "pretrain-cf-dino"
        assert spoken_of or path.parent.name == "benchmark"  # those are docs/benchmark.md's


def test_the_example_of_a_mapping_can_be_read(tmp_path):
    (example,) = (block for kind, block in BLOCKS if kind == "yaml")
    (tmp_path / "ours.yaml").write_text(example)
    mapping = load_mapping(tmp_path / "ours.yaml")
    assert mapping.split is not None
    assert set(mapping.columns) > {"image", "patient_id", "pneumonia"}


def test_links_within_the_page_lead_somewhere():
    headings = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)", TEXT, re.M)
    }
    for anchor in re.findall(r"\]\(#([\w-]+)\)", TEXT):
        assert anchor in headings
