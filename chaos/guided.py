"""Byte parsers under a coverage-guided fuzzer (atheris, that is libFuzzer), where it is installed: extra ``chaos``.

Each parser runs in a process of its own: atheris has to see its modules imported, and never returns.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from chaos.fuzz import Fuzzed

TARGETS = ("run lengths", "table (CSV)", "table, row by row", "PNG", "TIFF", "DICOM", "NIfTI", "archive (ZIP)")
_INSTRUMENTED = ("densecf.data", "pydicom", "nibabel", "PIL")


def installed() -> bool:
    return importlib.util.find_spec("atheris") is not None


def run(name: str, inputs: int, seed: int, seconds: float) -> Fuzzed:
    """Runs one parser in a child; what it counted so far stays when it dies or hangs, and that is counted too."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts.json"
        command = [sys.executable, "-m", "chaos.guided", name, str(inputs), str(seed), folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
            code, said = done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            code, said = 0, "the time was over"
        found = Fuzzed(**json.loads(counts.read_text())) if counts.exists() else Fuzzed(name)
    if code != 0:
        found.tracebacks += 1
        found.notes.append(f"the process died ({code}): {said[-600:]}")
    found.seconds = round(time.monotonic() - started, 1)
    return found


def _child(name: str, inputs: int, seed: int, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=list(_INSTRUMENTED)):
        import densecf.data.csv_table
        import densecf.data.dicom
        import densecf.data.images
        import densecf.data.nifti
        import densecf.data.readers.archives  # noqa: F401
    from chaos import fuzz, parsers

    parser = next(each for each in parsers.byte_parsers() if each.name == name)
    found = Fuzzed(name)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(parser.seeds):
        (corpus / f"{number}").write_bytes(content)
    path = folder / "place" / parser.file
    path.parent.mkdir()

    def one(content: bytes) -> None:
        kind, why = fuzz.try_one(parser, path, content)
        found.inputs += 1
        setattr(found, kind, getattr(found, kind) + 1)
        if kind not in ("accepted", "refused") and len(found.notes) < 8:
            found.notes.append(f"{kind}: {why[:600]}")
        if found.inputs % 500 == 0 or found.inputs >= inputs or found.failures:
            (folder / "counts.json").write_text(json.dumps(asdict(found)))
        if found.inputs >= inputs:
            os._exit(0)

    atheris.Setup([sys.argv[0], f"-seed={seed + 1}", "-max_len=65536", "-timeout=0", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    _child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
