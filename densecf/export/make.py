"""One exported folder: written beside its place, checked there, then put in it as a whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from densecf.environment import now
from densecf.errors import ConfigError
from densecf.export.card import model_card, provenance
from densecf.export.expected import expected_input
from densecf.export.formats import FORMATS
from densecf.export.metrics import find_metrics
from densecf.export.source import Source
from densecf.files import (
    exclusive_lock,
    explained_os_errors,
    replace_directory,
    sha256_of_file,
    write_json_atomic,
    write_text_atomic,
)

CARD = "README.md"
FACTS = "densecf.json"
"""What was exported, for machines; a folder that holds it may be replaced."""


def export(source: Source, form: str, out: Path, *, overwrite: bool = False) -> Path:
    """Writes the network in one format, with its model card and ``densecf.json``, and returns ``out``.

    Args:
        source: the network.
        form: one of `FORMATS`.
        out: the folder.
        overwrite: replace an export that is already there.

    Raises:
        ConfigError: the format does not fit the run, or ``out`` may not be replaced.
        DensecfError: what was written gives other numbers than the run, or the disk is full.
    """
    check_free(out, overwrite)
    partial = out.with_name(f".{out.name}.partial")  # always this name: the next export removes what a kill left
    with exclusive_lock(
        partial / "lock", f"Another process is exporting to {out}. Wait for it, or choose another --out."
    ):
        try:
            folder = partial / "export"
            shutil.rmtree(folder, ignore_errors=True)
            _write(source, form, folder, out)
            replace_directory(folder, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return out


def _write(source: Source, form: str, folder: Path, out: Path) -> None:
    """Everything of an export that will be called ``out``."""
    with _explained(out):
        folder.mkdir()
        written = FORMATS[form](source, folder)
    digest = sha256_of_file(source.weights)
    write_text_atomic(folder / CARD, model_card(source, written, find_metrics(source), digest))
    facts = {
        "format": form,
        "network": source.facts,
        "input": expected_input(source, normalises=written.normalises),
        "provenance": provenance(source, digest),
        "exported": now(),
    }
    write_json_atomic(folder / FACTS, facts)


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """As `explained_os_errors`, and for the system's errors that safetensors hides in the text of its own."""
    with explained_os_errors(out):
        try:
            yield
        except SafetensorError as error:
            if (number := re.search(r"\(os error (\d+)\)", str(error))) is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def check_free(out: Path, overwrite: bool) -> None:
    """Raises ConfigError when something is in ``out`` that may not be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / FACTS).is_file():
        raise ConfigError(f"{out}: exists and is no export of densecf, so it is left alone; choose another --out")
    if not overwrite:
        raise ConfigError(f"{out}: holds an export already; replace it with --overwrite, or choose another --out")
