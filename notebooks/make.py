"""Makes each notebook from its plain source, with outputs: ``make notebooks``, or one: ``python notebooks/make.py 1``.

The ``.py`` files (percent format of jupytext) are what is written by hand. Outputs are kept small and say nothing of
the machine: no progress bars, warnings, paths, user names or times.
"""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

HERE = Path(__file__).resolve().parent
WIDEST = 1000  # pixels of a picture; a page shows no more
LARGEST = 120_000  # bytes of a PNG; larger ones become JPEG
SECONDS_A_CELL = 1800
METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"}}  # fmt: skip


def sources() -> list[Path]:
    """The plain sources, in order."""
    return sorted(HERE.glob("[0-9]-*.py"))


def without_outputs(source: Path) -> NotebookNode:
    """The cells of a source as a notebook, with ids that follow from their place."""
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", nbformat.from_dict({})
    return notebook


def run(source: Path) -> NotebookNode:
    """Runs a source from start to end in a folder that is thrown away.

    Raises:
        nbclient.exceptions.CellExecutionError: when a cell fails.
    """
    notebook = without_outputs(source)
    with tempfile.TemporaryDirectory(prefix="densecf-notebook-") as folder:
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = folder  # where the notebook puts its files
        try:
            resources = {"metadata": {"path": folder}}
            NotebookClient(notebook, timeout=SECONDS_A_CELL, kernel_name="python3", resources=resources).execute()
        finally:
            os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        hidden = [re.escape(folder) + r"(/densecf-\w+)?/?", re.escape(str(Path.home())), re.escape(str(HERE.parent))]
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = list(_tidied(cell.outputs, re.compile("|".join(hidden))))
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def _tidied(outputs: list[NotebookNode], hidden: re.Pattern) -> Iterator[NotebookNode]:
    """Outputs without progress bars and warnings (stderr), without paths of this machine, with small pictures."""
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            output.text = hidden.sub("", output.text)
        data = output.get("data", {})
        for kind in [kind for kind in data if kind.startswith("text/")]:
            data[kind] = hidden.sub("", data[kind])
        if "image/png" in data:
            kind, picture = smaller(base64.b64decode(data.pop("image/png")))
            data[kind] = base64.b64encode(picture).decode()
            output.metadata = nbformat.from_dict({})
        yield output


def smaller(png: bytes) -> tuple[str, bytes]:
    """A picture at most `WIDEST` pixels wide, as PNG, or as JPEG where that is much smaller: its kind and content."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "png", optimize=True)
    if written.tell() <= LARGEST:
        return "image/png", written.getvalue()
    written = io.BytesIO()
    image.save(written, "jpeg", quality=88)
    return "image/jpeg", written.getvalue()


def main(numbers: list[str]) -> None:
    for source in sources():
        if numbers and source.name.split("-")[0] not in numbers:
            continue
        start = time.monotonic()
        notebook = run(source)
        target = source.with_suffix(".ipynb")
        nbformat.write(notebook, target)
        print(f"{target.name}: {time.monotonic() - start:.0f} s, {target.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
