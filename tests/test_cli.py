"""The command line: fast to start, clear when it refuses."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from densecf import cli
from densecf.cli import main, parse
from densecf.commands.table import COMMANDS


def run(*arguments: str, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "densecf", *arguments], capture_output=True, text=True, cwd=cwd)


def test_importing_the_command_line_imports_nothing_heavy():
    code = "import sys, densecf.cli, densecf.config, densecf.commands.options; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "monai", "pandas", "numpy", "matplotlib", "sklearn", "umap"} & set(loaded)


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "Examples:" in shown
    assert "densecf " + name in shown
    assert "(default: )" not in shown


def test_group_help(capsys):
    assert main(["data"]) == 0
    assert "data prepare table" in capsys.readouterr().out


def test_unknown_command(capsys):
    assert main(["pretrian"]) == 2
    assert "no command 'pretrian'" in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("densecf ")


def test_flags_lie_over_the_preset():
    options = parse("pretrain", ["--method", "dvd-cl", "--views.rotation", "5"])
    assert options.config.method == "dvd-cl"
    assert options.config.views.rotation == 5
    assert options.config.model.encoder == "resnet18"  # the embedded phantom's network
    assert parse("pretrain", ["--data", "somewhere"]).config.model.encoder == "resnet50"
    assert parse("pretrain", ["--data=somewhere", "--preset", "authors"]).config.direction_reduction == "sum"


def test_flags_lie_over_a_config_file(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("epochs: 3\nmethod: vader\n")
    options = parse("pretrain", ["--config", str(path), "--epochs", "4"])
    assert (options.config.epochs, options.config.method) == (4, "vader")


def test_user_errors_end_with_code_2_and_no_traceback(tmp_path):
    for arguments in (
        ["pretrain", "--epochs", "0", "--temperature", "-1"],
        ["pretrain", "--data", "nowhere"],
        ["finetune"],
        ["chromap", "nothing.png"],
        ["pretrain", "--resume"],
        ["pretrain", "--method", "unknown"],
        ["data", "prepare", "table", "--table", "none.csv", "--out", "x"],
        ["data", "prepare", "phantom", "--size", "50"],
    ):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stderr.strip()
    assert not list(tmp_path.iterdir())


def test_warnings_are_sentences():
    usual = warnings.formatwarning
    with cli._own_warnings():
        ours = warnings.formatwarning("few cases", UserWarning, str(Path(cli.__file__).parent / "data/splits.py"), 1)
        theirs = warnings.formatwarning("slow", UserWarning, "other.py", 1)
    assert ours == "densecf: warning: few cases\n"
    assert theirs.startswith("other.py:1: UserWarning: slow")
    assert warnings.formatwarning is usual


@pytest.mark.parametrize(
    "line",
    [
        "evaluate --images -3",
        "domains --points -5",
        "chromap --fit-pixels 0",
        "chromap --alpha 7",
        "embed --out e.csv --points 0",
        "probe --label a --seeds 0",
        "counterfactuals generate --batch-size 0",
        "counterfactuals evaluate --judge-epochs -1",
        "counterfactuals show --seed -1",
        "data prepare table --table t.csv --out o --workers -2",
        "data prepare padchest --table t.csv --out o --max-bad 7",
        "data prepare padchest --table t.csv --out o --min-quality 9",
        "data prepare phantom --images 0",
        "data check o --workers -2",
        "benchmark m.yaml --jobs -2",
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_read(line, refused_by_densecf, tmp_path):
    option = [word for word in line.split() if word.startswith("--")][-1].removeprefix("--").replace("-", "_")
    assert f"option(s) do not fit:\n  {option}" in refused_by_densecf(tmp_path, *line.split())
