"""The notebooks: their plain sources run from start to end, and what is shown is what the sources say."""

import base64
import os
import re
import subprocess
import sys

import jupytext
import nbformat
import pytest

from tests.conftest import ROOT

SOURCES = sorted((ROOT / "notebooks").glob("[0-9]-*.py"))
NAMES = [source.stem for source in SOURCES]
MACHINE = re.compile(r"/(work|home|root|tmp|Users|usr)/|site-packages|\d\d:\d\d:\d\d")


def test_there_are_five():
    assert [name[0] for name in NAMES] == list("12345")


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_runs_from_start_to_end(source, tmp_path):
    environment = {**os.environ, "DENSECF_TINY": "1", "TMPDIR": str(tmp_path), "MPLBACKEND": "Agg"}
    # As text: loader processes import a script that has a file once more, and would run the notebook again.
    done = subprocess.run(
        [sys.executable, "-c", source.read_text()], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_notebook_holds_the_cells_of_its_source(source):
    shown = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(shown)
    written = jupytext.read(source)
    assert [(cell.cell_type, cell.source) for cell in shown.cells] == [
        (cell.cell_type, cell.source) for cell in written.cells
    ], "make notebooks"


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_outputs_are_small_and_say_nothing_of_the_machine(source):
    path = source.with_suffix(".ipynb")
    assert path.stat().st_size < 1_000_000
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1)), "run in part, or not at all; make notebooks"
    shown = [kind for cell in code for output in cell.outputs for kind in output.get("data", {})]
    assert sum(kind.startswith("image/") for kind in shown) >= 2
    for output in [output for cell in code for output in cell.outputs]:
        assert output.output_type != "error"
        data = output.get("data", {})
        text = "\n".join([output.get("text", ""), *(value for kind, value in data.items() if kind.startswith("text/"))])
        assert not MACHINE.search(text), text
        assert data.keys() & {"image/png", "image/jpeg"} or "<Figure" not in text, "a figure that is not shown"
        for kind, value in data.items():
            if kind.startswith("image/"):
                assert len(base64.b64decode(value)) < 300_000


def test_notebooks_link_to_what_exists():
    for source in SOURCES:
        for link in re.findall(r"\]\(([^)#]+)", source.read_text()):
            assert (source.parent / link).exists(), f"{source.name}: {link}"
