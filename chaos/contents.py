"""What a folder holds, in a form in which two runs of one command are equal.

Bytes are compared as they are, but for what cannot be equal: the folder's own path; in JSON the entries that hold
times, a process or the commit of the code; in Markdown and HTML times and dates; in config.yaml whether --overwrite or
--resume was given. Not compared: TensorBoard's event files (their names hold the time and the process), lock files, and
logs of workers.
"""

import hashlib
import json
import os
import re
from pathlib import Path

TIMES = {
    "finished", "started", "created", "time", "seconds", "date", "images_per_second", "hours", "took", "made", "pid",
    "duration", "started_at", "hostname", "argv", "command_line", "git_commit",
    "exported",
}  # fmt: skip
_SKIPPED = ("tensorboard/", "logs/")
_LOCKS = (".lock", "lock")
_TEXT = {".json", ".jsonl", ".yaml", ".md", ".txt", ".csv", ".html", ".py"}


def contents(folder: Path, template: Path | None = None) -> dict[str, str]:
    """Path -> digest of what is in it, for all files of a folder.

    Args:
        folder: where to look.
        template: what the folder was made of; what is still the same file (by hard link) or link is left out.
    """
    found: dict[str, str] = {}
    for relative in sorted(names(folder)):
        path = folder / relative
        if path.is_symlink():
            leads = os.readlink(path)
            old = template / relative if template else None
            if old is None or not old.is_symlink() or os.readlink(old) != leads:
                found[relative] = f"-> {leads}"
        elif template is None or not _same_file(path, template / relative):
            found[relative] = digest(path, folder)
    return found


def names(folder: Path) -> set[str]:
    """The files and links of a folder that are compared."""
    found: set[str] = set()
    for root, folders, files in os.walk(folder):
        place = Path(root)
        links = [name for name in folders if (place / name).is_symlink()]
        found |= {(place / name).relative_to(folder).as_posix() for name in [*files, *links] if name not in _LOCKS}
    return {name for name in found if not any(part in name for part in _SKIPPED)}


def digest(path: Path, folder: Path) -> str:
    """SHA-256 of a file's content without times and without the folder's own path."""
    content = path.read_bytes()
    if path.suffix in _TEXT:
        content = content.replace(os.fsencode(str(folder)), b"<here>")
    if path.suffix == ".json":
        content = _without_times(content)
    if path.name == "config.yaml":  # whoever runs a command again has to say so
        content = re.sub(rb"(?m)^ *(overwrite|resume): (true|false)$", b"", content)
    if path.suffix in (".md", ".html"):
        content = re.sub(rb"\b\d+(\.\d+)? (s|seconds|minutes|min|h|hours)\b", b"<time>", content)
        content = re.sub(rb"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?", b"<date>", content)
    return hashlib.sha256(content).hexdigest()[:16]


def _without_times(content: bytes) -> bytes:
    try:
        return json.dumps(_timeless(json.loads(content)), sort_keys=True).encode()
    except ValueError:
        return content


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _same_file(path: Path, other: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), other.stat())
    except OSError:
        return False


def copy_linked(source: Path, target: Path) -> None:
    """A copy of a folder in which large files are hard links, and small ones (that commands may append to) are not."""
    for root, folders, names in os.walk(source):
        place = target / Path(root).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in list(folders):
            if (Path(root) / name).is_symlink():
                os.symlink(os.readlink(Path(root) / name), place / name)
        for name in names:
            path = Path(root) / name
            if path.is_symlink():
                os.symlink(os.readlink(path), place / name)
            else:
                os.link(path, place / name)
