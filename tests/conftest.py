"""Shared by all tests: real radiographs where they are at hand, and one small prepared phantom."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.forks import run_forked

ROOT = Path(__file__).resolve().parents[1]

# Two test processes on two cores: more threads each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no failure.
settings.register_profile("densecf", deadline=None)
settings.load_profile("densecf")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """The system's Chromium, headless; nothing is downloaded."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Containers often run as root and without the rights that Chromium's sandbox needs.
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def radiographs() -> Path:
    """Folder with ``lungs.csv``: real chest radiographs, which the project does not ship."""
    folder = Path(os.environ.get("DENSECF_SHARED", ROOT.parent / "shared")) / "data" / "cxr"
    if not (folder / "lungs.csv").is_file():
        pytest.skip(f"no real radiographs at {folder}; DENSECF_SHARED names the folder that holds data/cxr")
    return folder


@pytest.fixture(scope="session")
def run_densecf():
    """Runs the real command line in a folder and returns the finished process.

    It is a fork, or ``afresh`` as a shell starts it, for what starts itself again.
    """

    def run(folder: Path, *arguments: object, code: int = 0, afresh: bool = False) -> subprocess.CompletedProcess:
        words = list(map(str, arguments))
        command = [sys.executable, "-m", "densecf", *words]
        done = (
            subprocess.run(command, cwd=folder, capture_output=True, text=True) if afresh else run_forked(words, folder)
        )
        assert done.returncode == code, f"densecf {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def refused_by_densecf():
    """What the command line says on stderr when it refuses: in this process, because loading PyTorch takes seconds."""
    from densecf.cli import main

    def run(folder: Path, *arguments: object) -> str:
        with contextlib.chdir(folder), contextlib.redirect_stderr(io.StringIO()) as said:
            assert main(list(map(str, arguments))) == 2, said.getvalue()
        return said.getvalue()

    return run


@pytest.fixture(scope="session")
def phantom(tmp_path_factory, run_densecf) -> Path:
    """A prepared phantom of 24 + 70 images at 32 pixels."""
    folder = tmp_path_factory.mktemp("phantom")
    run_densecf(folder, "data", "prepare", "phantom", "--out", "phantom", "--size", 32, "--images", 24, "--quiet")
    return folder / "phantom"
