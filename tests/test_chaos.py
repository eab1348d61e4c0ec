"""The short version of ``make chaos``: a few kills, a full disk, some hundred spoilt files for every parser."""

import os
import sys
from pathlib import Path

import pytest

from chaos import fuzz
from chaos.contents import contents, copy_linked
from chaos.parsers import TRAP, all_parsers, slow_csv
from chaos.trials import TRIALS
from densecf.commands.table import COMMANDS

SHORT = ("data prepare table", "counterfactuals import", "pretrain")
NAMES = (
    "table (CSV)", "table, row by row", "records of a table", "CheXmask file", "run lengths", "conditions",
    "table of padchest", "table of chexpert", "table of rsna", "table of embed", "table of vindr-mammo",
    "names of rsna (JSON)", "config (PretrainConfig)", "config (FinetuneConfig)", "config (CounterfactualConfig)",
    "comparison (YAML)", "mapping (YAML)", "coding of masks (YAML)", "folds (JSON)", "list of images", "view codes",
    "PNG", "JPEG", "TIFF", "DICOM", "NIfTI", "NIfTI, gzipped", "mask (PNG)", "archive (ZIP)", "weights (safetensors)",
    "description of weights", "checkpoint", "colour space", "dataset: meta.json", "dataset: records.csv",
    "dataset: affines.npy", "run: provenance.json", "run: config.yaml", "run: records.csv", "run: cases.csv",
    "run: curves.csv", "run: summary.json",
)  # fmt: skip


def test_every_command_is_on_trial():
    assert [trial.command for trial in TRIALS] == list(COMMANDS)
    assert all(not trial.resume or "--resume" in trial.resume for trial in TRIALS)


@pytest.fixture(scope="module")
def parsers() -> dict[str, fuzz.Parser]:
    return {parser.name: parser for parser in all_parsers()}


def test_every_parser_is_on_trial(parsers):
    assert list(parsers) == list(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_spoilt_files(parsers, name):
    """Refused in our words, or read as a slow independent look reads them; the valid ones are read."""
    parser = parsers[name]
    found = fuzz.fuzz(parser, 20 if name == "description of weights" else 60, seed=7)
    assert not found.failures, found.notes
    assert found.refused > 0
    assert found.accepted > 0
    assert not TRAP.exists()


class Careless:
    """What the harness must notice."""

    @staticmethod
    def crash(path: Path) -> int:
        return len(path.read_bytes().decode("ascii"))  # UnicodeDecodeError

    @staticmethod
    def hang(path: Path) -> None:
        while True:
            pass


@pytest.mark.parametrize(
    ("parser", "kind"),
    [
        (fuzz.Parser("a", "a.txt", (b"\xff",), Careless.crash), "tracebacks"),
        (fuzz.Parser("a", "a.txt", (b"a",), Careless.hang), "slow"),
        (fuzz.Parser("a", "a.txt", (b"a",), Careless.crash, lambda path, value: "no"), "wrong"),
        (fuzz.Parser("a", "a.txt", (b"a",), Careless.crash), "accepted"),
    ],
)
def test_the_harness_sees_what_it_should(parser, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "SLOW", 0.05)
    assert fuzz.try_one(parser, tmp_path / "a.txt", parser.seeds[0])[0] == kind


def test_the_slow_csv_reader_agrees_with_pythons():
    import csv
    import io

    for text in ('a,b\r\n"x ""y"" z",\n,"1\n2"\n', 'a"b,"c"d\n', "\n\na\n", '"a', "a,b"):
        assert [row for row in slow_csv(text, ",") if row != [""]] == [
            row for row in csv.reader(io.StringIO(text, newline="")) if row
        ]


def test_copies_share_what_nobody_changed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.json").write_text('{"finished": 1, "kept": 2}')
    (tmp_path / "a/y.txt").write_text(str(tmp_path / "a"))
    copy_linked(tmp_path / "a", tmp_path / "b")
    assert contents(tmp_path / "b", tmp_path / "a") == {}
    (tmp_path / "b/x.json").unlink()
    (tmp_path / "b/x.json").write_text('{"finished": 5, "kept": 2}')
    assert contents(tmp_path / "b", tmp_path / "a") == {"x.json": contents(tmp_path / "a")["x.json"]}
    (tmp_path / "b/x.json").write_text('{"finished": 5, "kept": 3}')
    assert contents(tmp_path / "b", tmp_path / "a") != {"x.json": contents(tmp_path / "a")["x.json"]}


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> dict:
    """A short run in a process of its own: a test process has threads and must not be forked."""
    import json
    import subprocess

    out = tmp_path_factory.mktemp("chaos")
    command = [sys.executable, "-m", "chaos", "--kills", "1", "--inputs", "0", "--guided", "0", "--only", *SHORT]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [*command, "--out", str(out)],
        cwd=root,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "## Kills" in (out / "chaos.md").read_text()
    return json.loads((out / "chaos.json").read_text())


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_lose_nothing_and_change_nothing(killed):
    assert {each["command"] for each in killed["kills"]} == set(SHORT)
    for each in killed["kills"]:
        assert each["kills"] == 1
        assert (each["lost"], each["different"], each["torn"]) == (0, 0, 0), each["notes"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_full_disks_and_read_only_places_are_told_in_one_line(killed):
    for kind in ("full", "read-only"):
        for each in killed[kind]:
            assert each["tries"] > 0
            assert (each["unclear"], each["torn"]) == (0, 0), each["notes"]
