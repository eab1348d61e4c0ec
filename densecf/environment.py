"""What a run depended on besides its options: versions, commit, command line, time."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from densecf import __version__

_PACKAGES = (
    "torch",
    "monai",
    "segmentation-models-pytorch",
    "pytorch-lightning",
    "numpy",
    "scikit-learn",
    "umap-learn",
)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Versions, commit and command line: what one needs to run this again."""
    packages = {}
    for package in _PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "missing"
    return {
        "densecf": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "packages": packages,
        "argv": sys.argv[1:],
        "started": now(),
    }


def _git_commit() -> str | None:
    """The commit of the code that runs, when it runs from a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # not a repository that we are merely installed in
        return git("rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return None
