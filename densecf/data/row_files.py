"""Arrays on disk of which single rows are written, by several processes, without ever being mapped for writing.

Writing through a memory map kills the process when the disk is full (SIGBUS); plain writes raise.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np

from densecf.errors import DataError
from densecf.files import explained_os_errors


@dataclass(frozen=True)
class RowFile:
    """A ``.npy`` file of shape (rows, size, size).

    Attributes:
        path: the file.
        rows, size: its shape.
        dtype: little-endian type such as "<u2".
    """

    path: Path
    rows: int
    size: int
    dtype: str

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.rows, self.size, self.size

    @property
    def row_bytes(self) -> int:
        return self.size * self.size * np.dtype(self.dtype).itemsize

    @property
    def offset(self) -> int:
        """Bytes before the first row."""
        return len(self._header())

    @property
    def total_bytes(self) -> int:
        return self.offset + self.rows * self.row_bytes

    def _header(self) -> bytes:
        from io import BytesIO

        header = BytesIO()
        fields = {"descr": self.dtype, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(header, fields)
        return header.getvalue()

    def create(self) -> None:
        """Make the file and reserve all of its space, so that a disk too small is known at once.

        Raises:
            DensecfError: the disk is full, or the place cannot be written.
        """
        with explained_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "wb") as file:
                file.write(self._header())
                file.flush()
                try:
                    os.posix_fallocate(file.fileno(), 0, self.total_bytes)
                except (AttributeError, OSError) as error:  # not everywhere supported
                    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                        raise
                    file.truncate(self.total_bytes)

    def is_whole(self) -> bool:
        """Whether the file is there with this header and length."""
        try:
            with open(self.path, "rb") as file:
                header = self._header()
                return file.read(len(header)) == header and os.path.getsize(self.path) == self.total_bytes
        except OSError:
            return False

    def write(self, row: int, array: np.ndarray) -> None:
        """Write one (size, size) row, or the n rows from ``row`` on: (n, size, size).

        Raises:
            DensecfError: the disk is full.
        """
        with explained_os_errors(self.path), open(self.path, "r+b") as file:
            file.seek(self.offset + row * self.row_bytes)
            file.write(np.ascontiguousarray(array, dtype=self.dtype).tobytes())

    def read(self, row: int, count: int = 1) -> bytes:
        """The bytes of one row, or of ``count`` rows from there on."""
        with open(self.path, "rb") as file:
            file.seek(self.offset + row * self.row_bytes)
            return file.read(count * self.row_bytes)


def open_array(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Map a ``.npy`` file for reading.

    Raises:
        DataError: missing, damaged, or of another shape or type than expected.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # np.load would take archives and pickles too
    except FileNotFoundError as error:
        raise DataError(f"{path}: this part of the prepared dataset is missing. Prepare the dataset again.") from error
    except (OSError, ValueError, TypeError, OverflowError, SyntaxError, TokenError) as error:  # numpy parses its header
        raise DataError(f"{path}: damaged ({error}). Prepare the dataset again.") from error
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise DataError(
            f"{path}: shape {array.shape} and type {array.dtype}, expected {shape} and {np.dtype(dtype)}. "
            "Prepare the dataset again."
        )
    return array
