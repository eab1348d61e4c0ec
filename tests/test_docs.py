"""The pages under docs/: their commands exist, their examples run, the site builds without a warning."""

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import walk_packages

import numpy as np
import pytest
import torch

import densecf
from densecf import cli
from densecf.data import PreparedDataset
from densecf.methods import METHODS
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def blocks(page: str, kind: str = "") -> list[str]:
    """The code blocks of a page that are of this kind; "" for those without one, which hold commands."""
    text = (DOCS / page).read_text()
    return [block for name, block in re.findall(r"^```(\S*)\n(.*?)^```", text, re.M | re.S) if name == kind]


def commands(page: str) -> list[list[str]]:
    """The words after ``densecf`` of every command line in the page's blocks."""
    lines = "\n".join(blocks(page)).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("densecf ")]


@cache
def flags(name: str) -> str:
    """The help text of a command."""
    shown = io.StringIO()
    with redirect_stdout(shown), suppress(SystemExit):
        cli.main([*name.split(), "--help"])
    return shown.getvalue()


@pytest.mark.parametrize("page", [page.name for page in PAGES if commands(page.name)])
def test_commands_and_their_flags_exist(page):
    for words in commands(page):
        name = " ".join(words[: cli._command_words(words)])
        assert name in cli.COMMANDS, f"densecf {' '.join(words)}"
        for word in words:
            if word.startswith("--"):
                assert re.search(rf"{re.escape(word)}\b", flags(name)), f"densecf {' '.join(words)}"


def test_flags_named_in_the_text_exist():
    """Every `--flag` in the running text of the pages is one of some command (or of a benchmark on its own)."""
    known = " ".join(flags(name) for name in ("pretrain", "finetune", "chromap", "counterfactuals train", "probe"))
    known += flags("data prepare table") + flags("data prepare padchest") + flags("benchmark") + flags("domains")
    for page in ("concepts", "methods", "your-own-images", "protocol", "reading-chromaps", "extending", "faq"):
        for flag in re.findall(r"`(--[\w.-]+)", (DOCS / f"{page}.md").read_text()):
            assert re.search(rf"{re.escape(flag)}\b", known) or flag == "--features", f"{page}.md: {flag}"


def test_the_table_of_methods_is_the_one_in_the_code():
    rows = re.findall(
        r"^\| `([\w-]+)` \| (\w+) \| (\w+) \| (\w+) \| (\w+) \|$", (DOCS / "methods.md").read_text(), re.M
    )
    assert rows == [
        (name, row.objective, row.pairing, row.same, row.counterfactuals or "none") for name, row in METHODS.items()
    ]


def test_the_worked_example_of_the_loss(capsys):
    (example,) = blocks("concepts.md", "python")
    exec(example, {})
    assert capsys.readouterr().out.strip() == "tensor(0.5514)"


def test_every_public_package_is_in_the_api():
    text = (DOCS / "api.md").read_text()
    for package in walk_packages(densecf.__path__, "densecf."):
        if package.name.startswith("densecf.commands."):
            continue  # the command line is documented by its help
        if package.ispkg and hasattr(import_module(package.name), "__all__"):
            assert f".. automodule:: {package.name}\n" in text, package.name
    for name in set(densecf.__all__) - {"DensecfError", "__version__"}:
        assert f".. autofunction:: densecf.{name}\n" in text


def example(title: str) -> str:
    """The Python block of docs/extending.md whose docstring or first import begins like this."""
    (found,) = [block for block in blocks("extending.md", "python") if block.lstrip('"').startswith(title)]
    return found


def test_the_example_of_ids_of_ones_own(capsys):
    torch.manual_seed(0)
    exec(example("import torch"), {})
    loss, chance = re.match(r"([\d.]+), by chance ([\d.]+)$", capsys.readouterr().out.strip()).groups()
    assert float(loss) > 0
    assert float(chance) == pytest.approx(np.log(5), abs=1e-3)


def test_the_example_of_a_reader(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"image": rng.random((10, 48, 48)), "lungs": rng.integers(0, 2, (10, 48, 48)),
              "patient": np.arange(10) // 2, "scanner": np.array(["A", "B"] * 5)}  # fmt: skip
    np.savez(tmp_path / "lungs.npz", **arrays)
    script = tmp_path / "npz_reader.py"
    script.write_text(example("Prepare an .npz file").replace('"data/npz", size=32', '"data/npz", size=32, workers=1'))
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = PreparedDataset.open(tmp_path / "data/npz")
    assert (len(data), data.size, data.class_names) == (10, 32, ("background", "lung"))
    assert data.records["split"].value_counts().to_dict() == {"train": 8, "manual": 2}
    np.testing.assert_allclose(data.affines[0] @ [31.5, -0.5, 1], [47.5, -0.5, 1])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None, reason="Sphinx is not installed; pip install 'densecf[docs]'")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    places = ["-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "site")]
    done = subprocess.run([*command, *places], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "densecf.losses.info_nce" in (tmp_path / "site/api.html").read_text()
