"""Paths in a table: relative to a root, never outside it, all checked before any work begins."""

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from densecf.data.problems import Problems
from densecf.data.readers.archives import Archived, list_archive
from densecf.data.records import is_missing
from densecf.errors import DataError

Place = Path | Archived
"""Where a file is: on its own, or in an archive."""


@dataclass(frozen=True)
class FileState:
    """What tells that a file has changed: its path as the table gives it, bytes, time of change; -1 if missing.

    For a file in an archive its checksum stands for the time.
    """

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
        self._archives: dict[Path, dict[str, Archived]] = {}

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

    def find_all(
        self, candidates: Sequence[Sequence[str]], places: Sequence[str], where: str, tolerated: float = 0.0
    ) -> tuple[list[Place], list[FileState]]:
        """Find one file for each row, by the first of several paths that exists.

        A component that ends in ``.zip`` and is a file is an archive; the rest of the path is a name in it.

        Args:
            candidates: for each alternative the paths of all n rows.
            places: what to call each row in messages, (n,).
            where: the table's name for messages.
            tolerated: the share of files that may be missing; reading them fails.

        Returns:
            The n places, and the state of each file.

        Raises:
            DataError: paths that leave the root, one file for several rows, archives that must not be trusted,
                or more missing files than tolerated.
        """
        outside, missing = Problems(), Problems()
        found: list[Place] = []
        states: list[FileState] = []
        rows_of: dict[Path, str] = {}
        order = list(range(len(candidates)))
        for row, place in enumerate(places):
            for alternative in order:
                text = candidates[alternative][row]
                hit = self._find(text)
                if hit is None:
                    outside.add(place, f"{text!r} leads out of {self.root} (move the files or set {self.option})")
                    break
                if hit[1].size >= 0:
                    order.remove(alternative)  # the layout of one file is most likely that of the next
                    order.insert(0, alternative)
                    break
            else:
                hit = self.root / candidates[0][row], FileState(candidates[0][row], -1, -1)
                missing.add(place, f"{candidates[0][row]!r} is missing")
            if hit is None:
                continue
            found.append(hit[0])
            states.append(hit[1])
            path = hit[0] if isinstance(hit[0], Path) else hit[0].path
            if hit[1].size >= 0 and rows_of.setdefault(path, place) != place:
                outside.add(place, f"{path} is already the file of {rows_of[path]}")
        outside.raise_if_any(f"{where}: files that cannot be used")
        if len(missing.found) > tolerated * len(places):
            tried = ", ".join(column[0] for column in candidates)
            missing.raise_if_any(
                f"{where}: {len(missing.found):,} of {len(places):,} files are missing in {self.root}",
                f"For the first row these were tried: {tried}.",
            )
        return found, states

    def _find(self, text: str) -> tuple[Place, FileState] | None:
        """Where a path leads and the state of the file there; None if it leads out of the root."""
        path = Path(os.path.normpath(self.root / text))
        if not self._is_inside(path):
            return None
        state = _state(path, text)
        if state.size >= 0 or ".zip" not in text.lower():
            return path, state
        for parent in reversed(path.parents):
            if parent.suffix.lower() == ".zip" and self._is_inside(parent) and os.path.isfile(parent):
                if parent not in self._archives:
                    self._archives[parent] = list_archive(parent)
                member = self._archives[parent].get(path.relative_to(parent).as_posix())
                return (member, FileState(text, member.size, member.crc)) if member else (path, state)
        return path, state

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
        return not os.path.islink(path) or Path(os.path.realpath(path)).is_relative_to(self.root)


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
