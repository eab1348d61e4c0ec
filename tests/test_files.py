"""Files are whole or not there, whatever goes wrong."""

import errno
import json
import math
import multiprocessing
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from densecf import files
from densecf.errors import DensecfError


def test_text_is_written_as_it_is(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    files.write_text_atomic(path, "ä\r\nb\n")
    assert path.read_bytes() == "ä\r\nb\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_json_has_only_what_json_knows(tmp_path):
    value = {"nan": math.nan, "inf": -math.inf, "numpy": np.float32(1.5), "array": np.arange(3), "path": Path("a/b")}
    files.write_json_atomic(tmp_path / "a.json", value | {1: (True, None, np.int64(3), np.bool_(False))})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "nan": None,
        "inf": None,
        "numpy": 1.5,
        "array": [0, 1, 2],
        "path": "a/b",
        "1": [True, None, 3, False],
    }


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(ValueError, match="Object arrays"), files.atomic_path(path) as temporary:
        np.save(temporary, np.array([1, {}], dtype=object), allow_pickle=False)
    assert np.load(path).sum() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_explained_and_leaves_nothing(tmp_path, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DensecfError, match=r"a\.txt cannot be written: the disk is full"):
        files.write_text_atomic(tmp_path / "a.txt", "text")
    assert not list(tmp_path.iterdir())


def test_a_file_beyond_the_size_limit_is_explained_and_leaves_nothing(tmp_path):
    code = (
        "import resource, signal; from densecf.files import write_bytes_atomic;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "write_bytes_atomic('big.bin', bytes(5000))"
    )
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "DensecfError: big.bin cannot be written: the disk is full" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DensecfError, match="is a file, not a folder"):
        files.write_text_atomic(tmp_path / "file" / "a.txt", "text")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place_is_explained(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DensecfError, match="no permission"):
        files.write_text_atomic(tmp_path / "a.txt", "text")


def test_read_json_names_the_file(tmp_path):
    with pytest.raises(DensecfError, match=r"none\.json: this plan cannot be read"):
        files.read_json(tmp_path / "none.json", "plan")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DensecfError, match=r"bad\.json: this file is not valid JSON"):
        files.read_json(tmp_path / "bad.json")


def test_sha256_is_the_standard_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256_of_file(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text("")
    files.replace_directory(tmp_path / "new", tmp_path / "old")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["old", "old/new.txt"]


def test_a_folder_that_cannot_be_replaced_comes_back(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(DensecfError):
        files.replace_directory(tmp_path / "missing", tmp_path / "old")
    assert (tmp_path / "old").is_dir()


def test_a_lock_keeps_other_processes_out_until_it_is_released(tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        with files.exclusive_lock(tmp_path / "lock", "busy"):
            assert pool.apply(_try_lock, (tmp_path / "lock",)) == "busy"
        assert pool.apply(_try_lock, (tmp_path / "lock",)) == "free"


def _try_lock(path):
    try:
        with files.exclusive_lock(path, "busy"):
            return "free"
    except DensecfError as error:
        return str(error)
