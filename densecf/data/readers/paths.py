"""Paths in a table: relative to a root, never outside it, all checked before any work begins."""

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from densecf.data.problems import Problems
from densecf.data.records import is_missing
from densecf.errors import DataError


@dataclass(frozen=True)
class FileState:
    """What tells that a file has changed: its path as the table gives it, bytes, time of change; -1 if missing."""

    path: str
    size: int
    modified_ns: int


class TableRoot:
    """The folder that a table's paths are relative to.

    Args:
        root: the folder.
        option: that names it, for messages.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: Path, option: str = "--root"):
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder; {option} must be the folder that paths are relative to.")
        self.option = option
        self.root = Path(os.path.realpath(root))
        self._inside: dict[str, bool] = {}  # folder -> does it lie in the root once links are followed

    def resolve_all(
        self, records: pd.DataFrame, columns: Sequence[str], places: Sequence[str], where: str, must_exist: bool
    ) -> tuple[dict[str, list[Path]], list[FileState]]:
        """Find the files of all records.

        Args:
            records: the table.
            columns: those that hold paths; empty cells give the root itself and are never opened.
            places: what to call each row in messages.
            where: the table's name for messages.
            must_exist: whether missing files are errors.

        Returns:
            For each column its paths, and the state of every file in order.

        Raises:
            DataError: paths that leave the root, missing files, folders, or one image under two names.
        """
        problems = Problems()
        states: list[FileState] = []
        paths: dict[str, list[Path]] = {name: [] for name in columns}
        cells = {name: records[name].tolist() for name in columns}
        images: dict[Path, str] = {}
        for i, place in enumerate(places):
            for name in columns:
                text = cells[name][i]
                if is_missing(text):
                    paths[name].append(self.root)
                    continue
                path = Path(os.path.normpath(self.root / text))
                paths[name].append(path)
                if not self._is_inside(path):
                    problems.add(
                        place, f"{name} {text!r} leads out of {self.root} (move the files or set {self.option})"
                    )
                    continue
                state = _state(path, text)
                states.append(state)
                if state.size < 0 and must_exist:
                    problems.add(place, f"{name} {text!r} is missing, expected a file at {path}")
                if name == "image" and images.setdefault(path, place) != place:
                    problems.add(place, f"image {text!r} is the same file as on {images[path]}")
        problems.raise_if_any(f"{where}: files that cannot be used")
        return paths, states

    def _is_inside(self, path: Path) -> bool:
        """Whether the path lies in the root, by its text and after following links.

        Folders are followed once: a table of 100,000 rows has few of them.
        """
        folder = str(path.parent)
        if folder not in self._inside:
            lexically = path.parent.is_relative_to(self.root)
            self._inside[folder] = lexically and Path(os.path.realpath(folder)).is_relative_to(self.root)
        if not self._inside[folder]:
            return False
        return not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(self.root)


def _state(path: Path, text: str) -> FileState:
    try:
        info = os.stat(path)
    except OSError:
        return FileState(text, -1, -1)
    return FileState(text, info.st_size, info.st_mtime_ns) if stat.S_ISREG(info.st_mode) else FileState(text, -1, -1)


def digest_of_files(files: Iterable[FileState]) -> str:
    """One SHA-256 over the states of all files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path}\0{file.size}\0{file.modified_ns}\n".encode())
    return digest.hexdigest()
