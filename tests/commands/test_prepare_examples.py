"""The example images beside the phantom: whole or not there."""

import errno
from pathlib import Path

import pytest
from PIL import Image

from densecf.commands.prepare import EXAMPLES, save_examples
from densecf.data.prepare import prepare
from densecf.data.prepared import PreparedDataset
from densecf.data.readers.phantom import PhantomSource
from densecf.errors import DensecfError


def test_an_example_is_never_half_written(tmp_path, monkeypatch):
    prepare(PhantomSource(num_pretraining=4), tmp_path / "data", size=32, progress=False, workers=1)
    data = PreparedDataset.open(tmp_path / "data")

    def half(image, path, *_, **__):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Image.Image, "save", half)
        with pytest.raises(DensecfError, match="the disk is full"):
            save_examples(data)
    assert not list((data.path / EXAMPLES).iterdir())
    assert [Image.open(path).size for path in save_examples(data)] == [(32, 32)] * 2
