"""Files that are either whole or not there.

Everything is written into a temporary file beside its target, flushed to disk and renamed over it.
A killed process leaves at most a ``.partial`` file that nothing reads.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from densecf.errors import BusyError, DensecfError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def explained_os_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turn an ``OSError`` met while writing ``path`` into a `DensecfError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            reason = "the disk is full (or a quota or size limit is reached): free some space and run again"
        elif error.errno in _READ_ONLY:
            reason = "no permission to write there: choose another place with --out"
        elif isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a part of this path is a file, not a folder: choose another place with --out"
        else:
            reason = error.strerror or str(error)
        raise DensecfError(f"{os.fspath(path)} cannot be written: {reason}.") from error


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Hand out a temporary path that becomes ``path`` when the block ends well, and vanishes when not.

    For libraries that want to write a file themselves (``np.save``, ``safetensors.torch.save_file``,
    ``Figure.savefig``). The temporary name keeps the suffix of the target. Folders are made as needed.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}.partial{target.suffix}")
    with explained_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            sync_to_disk(temporary)
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


def write_bytes_atomic(path: str | os.PathLike, content: bytes) -> None:
    """Write ``content`` to ``path``: whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text_atomic(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``: whole or not at all. Line ends are kept as they are."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as indented, standard JSON.

    Paths become text, NumPy numbers and arrays plain ones, and NaN or infinity (which JSON lacks) null.
    """
    write_text_atomic(path, json.dumps(to_jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def to_jsonable(value: Any) -> Any:
    """``value`` in terms of dict, list, str, int, finite float, bool and None."""
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, torch tensors
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)


def read_json(path: str | os.PathLike, what: str = "file") -> Any:
    """Read JSON; a missing or damaged file is a `DensecfError` that names it and ``what`` it should be."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DensecfError(f"{os.fspath(path)}: this {what} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise DensecfError(f"{os.fspath(path)}: this {what} is not valid JSON ({error}).") from error


def parse_json(text: str) -> Any:
    """``json.loads``, for which nesting beyond all measure is a ValueError like any other damage."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def sha256_of_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits; constant memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(new: str | os.PathLike, target: str | os.PathLike) -> None:
    """Rename the finished file ``new`` to ``target``, over what is there; both must lie on one file system.

    Raises:
        DensecfError: the place cannot be written.
    """
    with explained_os_errors(target):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        os.replace(new, target)
        _sync_folder(Path(target).parent)


def replace_directory(new: str | os.PathLike, target: str | os.PathLike) -> None:
    """Rename the finished folder ``new`` to ``target``; a folder already there is moved aside, then deleted.

    Both must lie on one file system (put ``new`` beside ``target``). Until the rename the old folder is
    whole; after it the new one is.

    Raises:
        DensecfError: the place cannot be written; the old folder is put back.
    """
    new, target = Path(new), Path(target)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
    with explained_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        had_old = target.exists()
        if had_old:
            os.rename(target, aside)
        try:
            os.rename(new, target)
        except OSError:
            if had_old:
                os.rename(aside, target)
            raise
        _sync_folder(target.parent)
    if had_old:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def exclusive_lock(path: str | os.PathLike, busy: str) -> Iterator[None]:
    """Hold a lock file for the length of the block; the system frees it when the process dies.

    Where the system has no such locks (Windows, some network disks) this does nothing.

    Raises:
        BusyError: another process holds it; ``busy`` is the message.
        DensecfError: the place cannot be written.
    """
    with explained_os_errors(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115 (closed below, after the block)
    with file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(busy) from error
        except (ImportError, OSError):
            pass
        yield


def sync_to_disk(path: str | os.PathLike) -> None:
    """Block until a file's content is on the disk, so that a rename after it is safe against a power cut."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable where the system allows it (Windows and some network disks do not)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
