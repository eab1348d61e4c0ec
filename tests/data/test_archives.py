"""ZIP archives: read as they are, and refused where they must not be trusted."""

import pickle
import struct
import zipfile

import numpy as np
import pytest

from densecf.data.images import read_image
from densecf.data.readers import archives
from densecf.data.readers.archives import list_archive
from densecf.data.readers.paths import TableRoot
from densecf.errors import DataError
from tests.data.making import radiograph, save


def archive(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_read_as_they_are(tmp_path, method):
    png = save(tmp_path / "a.png", radiograph(0)).read_bytes()
    members = {"a.png": png, "folder/b.png": png + b"x", "empty": b""}
    listed = list_archive(archive(tmp_path / "0.zip", members, compression=method))
    assert {name: member.read() for name, member in listed.items()} == members
    copy = pickle.loads(pickle.dumps(listed["a.png"]))
    np.testing.assert_array_equal(read_image(copy.path, copy.read()).pixels, radiograph(0))


def test_an_archive_written_as_a_stream(tmp_path):
    """Sizes stand behind the data then, and only the directory at the end knows them."""

    class Pipe:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    with open(tmp_path / "0.zip", "wb") as file, zipfile.ZipFile(Pipe(file), "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a", b"abc" * 1000)
        with zipped.open("b", "w", force_zip64=True) as member:
            member.write(b"large")
    assert {name: member.read() for name, member in list_archive(tmp_path / "0.zip").items()} == {
        "a": b"abc" * 1000,
        "b": b"large",
    }


@pytest.mark.parametrize("name", ["../a.png", "a/../../b.png", "/etc/passwd", "C:/a.png", "..\\a.png"])
def test_names_that_lead_out(tmp_path, name):
    path = archive(tmp_path / "0.zip", {"fine.png": b"", name.replace("\\", "/"): b""})
    path.write_bytes(path.read_bytes().replace(name.replace("\\", "/").encode(), name.encode()))
    with pytest.raises(DataError, match=r"0\.zip: .* leads out of the archive; this archive is not used"):
        list_archive(path)


def test_files_too_large(tmp_path, monkeypatch):
    path = archive(tmp_path / "0.zip", {"a.png": bytes(10_000)}, compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(archives, "LARGEST", 9_999)
    with pytest.raises(DataError, match=r"'a\.png' holds 10,000 bytes, more than an image can have"):
        list_archive(path)


def test_a_bomb_that_lies_about_its_size(tmp_path):
    path = archive(tmp_path / "0.zip", {"a.png": bytes(50_000_000)}, compression=zipfile.ZIP_DEFLATED)
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 50_000_000), struct.pack("<I", 100)))
    member = list_archive(path)["a.png"]
    assert member.size == 100
    with pytest.raises(DataError, match=r"0\.zip/a\.png: damaged in its archive"):
        member.read()


def test_archives_that_are_damaged(tmp_path):
    path = archive(tmp_path / "0.zip", {"a.png": b"content" * 100})
    member = list_archive(path)["a.png"]
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"content", b"CONTENT", 1))
    with pytest.raises(DataError, match="checksum"):
        member.read()
    path.write_bytes(b"x" * len(whole))
    with pytest.raises(DataError, match="damaged or has changed"):
        member.read()
    with pytest.raises(DataError, match="not a ZIP archive, or damaged"):
        list_archive(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a ZIP archive, or damaged"):
        list_archive(path)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        member.read()


def test_encrypted_and_unusual_files(tmp_path):
    path = archive(tmp_path / "0.zip", {"a": b"abc"}, compression=zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match="other than deflate"):
        list_archive(path)
    content = bytearray(archive(tmp_path / "1.zip", {"a": b"abc"}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "1.zip").write_bytes(content)
    with pytest.raises(DataError, match="is encrypted"):
        list_archive(tmp_path / "1.zip")


def test_a_name_given_twice(tmp_path):
    path = archive(tmp_path / "0.zip", {"a": b"1", "b": b"2"})
    path.write_bytes(path.read_bytes().replace(b"b", b"a"))
    with pytest.raises(DataError, match="'a' is there twice"):
        list_archive(path)


def test_files_are_found_in_folders_and_archives_alike(tmp_path):
    save(tmp_path / "0/a.png", radiograph(0))
    archive(tmp_path / "1.zip", {"b.png": b"1", "1/c.png": b"2"})
    (tmp_path / "2.zip").mkdir()
    save(tmp_path / "2.zip/d.png", radiograph(1))
    candidates = [
        ["0/a.png", "1/b.png", "1/c.png", "2/d.png", "3/e.png"],
        ["0.zip/a.png", "1.zip/b.png", "1.zip/c.png", "2.zip/d.png", "3.zip/e.png"],
        ["0.zip/0/a.png", "1.zip/1/b.png", "1.zip/1/c.png", "2.zip/2/d.png", "3.zip/3/e.png"],
    ]
    places = [f"line {i}" for i in range(2, 7)]
    found, states = TableRoot(tmp_path).find_all(candidates, places, "t.csv", tolerated=0.2)
    assert [str(getattr(place, "path", place).relative_to(tmp_path)) for place in found] == [
        "0/a.png",
        "1.zip/b.png",
        "1.zip/1/c.png",
        "2.zip/d.png",
        "3/e.png",
    ]
    assert [state.size for state in states][1:] == [1, 1, (tmp_path / "2.zip/d.png").stat().st_size, -1]
    with pytest.raises(DataError, match=r"(?s)1 of 5 files are missing.*line 6: '3/e\.png'.*tried: 0/a\.png"):
        TableRoot(tmp_path).find_all(candidates, places, "t.csv", tolerated=0.1)


def test_one_archived_file_for_two_rows(tmp_path):
    archive(tmp_path / "0.zip", {"a.png": b"1"})
    with pytest.raises(DataError, match=r"line 3: .*0\.zip/a\.png is already the file of line 2"):
        TableRoot(tmp_path).find_all([["0.zip/a.png", "./0.zip/a.png"]], ["line 2", "line 3"], "t.csv")


def test_an_archive_behind_a_link_out_of_the_root(tmp_path):
    (tmp_path / "root").mkdir()
    archive(tmp_path / "0.zip", {"a.png": b"1"})
    (tmp_path / "root/0.zip").symlink_to(tmp_path / "0.zip")
    with pytest.raises(DataError, match="leads out of"):
        TableRoot(tmp_path / "root").find_all([["0.zip/a.png"]], ["line 2"], "t.csv")


def test_a_file_without_a_name_is_refused(tmp_path):
    path = archive(tmp_path / "0.zip", {"a": b"1"})
    path.write_bytes(path.read_bytes().replace(b"a", b"\0"))  # names end at a zero byte
    with pytest.raises(DataError, match="is no name"):
        list_archive(path)
