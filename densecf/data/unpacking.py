"""Packed files, unpacked whole and checked, but never to more than a sane size."""

import gzip
import io
import zlib
from pathlib import Path

from densecf.errors import DataError

ALWAYS_FINE = 1 << 26  # bytes
MOST_TIMES = 100
"""Larger contents may be so many times their packed size; tables and images stay far below, bombs reach 1000."""


def gunzip(content: bytes, path: Path) -> bytes:
    """The content of a gzip file, its checksum compared.

    Args:
        content: packed.
        path: for messages.

    Raises:
        DataError: damaged, cut off, or so much more than its size that it can only be meant to fill the memory.
    """
    limit = most_bytes(len(content))
    try:
        with gzip.open(io.BytesIO(content)) as file:
            unpacked = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut off ({error}).") from error
    return _checked(unpacked, limit, path)


def inflate(content: bytes, path: Path) -> bytes:
    """The same of a raw deflate stream, as in a deflated DICOM file."""
    limit = most_bytes(len(content))
    try:
        unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, limit + 1)
    except zlib.error as error:
        raise DataError(f"{path}: damaged ({error}).") from error
    return _checked(unpacked, limit, path)


def most_bytes(packed: int) -> int:
    """How many bytes so many packed ones may become."""
    return max(ALWAYS_FINE, MOST_TIMES * packed)


def _checked(unpacked: bytes, limit: int, path: Path) -> bytes:
    if len(unpacked) > limit:
        raise DataError(
            f"{path}: unpacks to more than {limit >> 20} MB, over {MOST_TIMES} times its size (a decompression bomb?); "
            "unpack it yourself if it is to be trusted."
        )
    return unpacked
