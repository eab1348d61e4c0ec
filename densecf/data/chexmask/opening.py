"""A CheXmask file as a stream of bytes, plain or gzipped, and its damage as an error that names it."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from densecf.data.csv_stream import CsvRow
from densecf.errors import DataError
from densecf.files import atomic_path


@contextmanager
def opened(path: Path, unpack_to: str | Path | None) -> Iterator[tuple[BinaryIO, BinaryIO | None, Path]]:
    """The unpacked file, for gzip a second one that takes the rows to keep, and the path of that which has the rows."""
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(open(path, "rb"))
            magic = raw.read(4)
            raw.seek(0)
        except OSError as error:
            raise DataError(f"{path}: this CheXmask file cannot be read ({error.strerror}).") from error
        if magic.startswith(b"PK"):
            raise DataError(f"{path}: a zip archive; unpack the CSV file in it first.")
        if magic[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{path}: text in UTF-16; save it as UTF-8.")
        if not magic.startswith(b"\x1f\x8b"):
            yield raw, None, path
            return
        if unpack_to is None:
            raise DataError(f"{path}: single rows of a gzip file cannot be reached. Unpack it first: gzip -dk {path}")
        target = Path(unpack_to) / f"{path.name.removesuffix('.gz')}.rows"
        temporary = stack.enter_context(atomic_path(target))
        copy = stack.enter_context(open(temporary, "wb"))
        yield cast(BinaryIO, stack.enter_context(gzip.open(raw))), copy, target


def readable(stream: Iterator[CsvRow], path: Path) -> Iterator[CsvRow]:
    try:
        yield from stream
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut off ({error}).") from error
