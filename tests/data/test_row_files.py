"""Arrays that are opened for reading: what is no array of ours is refused by its name."""

import io
import zipfile

import numpy as np
import pytest

from densecf.data.row_files import open_array
from densecf.errors import DataError


def archive() -> bytes:
    """What np.load would take for an .npz."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("a.npy", b"")
    return packed.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", archive(), b"\x80\x04N.", b"\x93NUMPY"])
def test_what_is_no_array_is_refused(tmp_path, content):
    path = tmp_path / "images.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"images.npy: damaged"):
        open_array(path, (2, 4, 4), "<u2")


def test_an_array_is_mapped(tmp_path):
    np.save(tmp_path / "images.npy", np.arange(32, dtype="<u2").reshape(2, 4, 4))
    assert open_array(tmp_path / "images.npy", (2, 4, 4), "<u2")[1, 3, 3] == 31
