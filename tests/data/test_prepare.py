"""Preparing: bad records, full disks, kills, workers; and the real radiographs."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest

from densecf.data import PreparedDataset, prepare
from densecf.data.parallel import map_rows
from densecf.data.readers.table import TableSource
from densecf.errors import DataError, DensecfError
from tests.data.making import cohort, source


def contents(folder):
    """Every file of a folder and the hash of its bytes."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def spoil(folder):
    """One record of each kind of damage: rows 1 to 5 of a cohort."""
    (folder / "images/001.png").write_bytes(b"")
    content = (folder / "images/002.png").read_bytes()
    (folder / "images/002.png").write_bytes(content[: len(content) // 2])
    from PIL import Image

    Image.new("L", (48, 40), 9).save(folder / "images/003.png")
    Image.new("L", (20, 20)).save(folder / "masks/left_004.png")
    Image.new("L", (10, 10)).save(folder / "images/005.png")


def test_every_bad_record_is_reported_at_once_and_nothing_opens(tmp_path):
    table = cohort(tmp_path, 12)
    spoil(tmp_path)
    with pytest.raises(DataError) as caught:
        prepare(TableSource(table), tmp_path / "out", size=32, progress=False)
    message = str(caught.value)
    assert "5 of 12 records cannot be used (5 problems)" in message
    for text in (
        "001.png",
        "0 bytes",
        "002.png",
        "damaged or cut off",
        "003.png",
        "constant",
        "left_004.png",
        "20 x 20 px",
    ):
        assert text in message
    assert "005.png" in message
    assert "--skip-bad" in message
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="never finished"):
        PreparedDataset.open(tmp_path / "out")
    listed = pd.read_csv(tmp_path / "out.partial/unusable.csv")
    assert listed["image"].tolist() == [f"images/{i:03d}.png" for i in range(1, 6)]


def test_bad_records_are_left_out_on_demand(tmp_path):
    table = cohort(tmp_path, 12)
    spoil(tmp_path)
    data = prepare(TableSource(table), tmp_path / "out", size=32, skip_bad=True, progress=False)
    assert len(data) == 7
    assert data.meta["skipped"] == 5
    assert data.records["image"].tolist() == [f"images/{i:03d}.png" for i in (0, 6, 7, 8, 9, 10, 11)]
    assert pd.read_csv(data.path / "skipped.csv")["image"].tolist() == [f"images/{i:03d}.png" for i in range(1, 6)]
    for row, original in enumerate((0, 6, 7, 8, 9, 10, 11)):
        sample = TableSource(table).load(original, 32)
        np.testing.assert_allclose(data.image(row), sample.image, atol=1e-5)
        np.testing.assert_array_equal(data.mask(row), sample.mask)
        np.testing.assert_array_equal(data.affines[row], sample.affine)
    data.verify()
    assert not (tmp_path / "out.partial").exists()
    assert prepare(TableSource(table), tmp_path / "out", size=32, skip_bad=True, progress=False).status == "reused"
    with pytest.raises(DataError, match="was prepared without 5 unusable records"):
        prepare(TableSource(table), tmp_path / "out", size=32, progress=False)


def test_missing_files_can_be_skipped_too(tmp_path):
    table = cohort(tmp_path, 6)
    (tmp_path / "images/002.png").unlink()
    data = prepare(TableSource(table, check_files=False), tmp_path / "out", size=32, skip_bad=True, progress=False)
    assert len(data) == 5


def test_what_was_finished_before_the_refusal_is_used(tmp_path):
    table = cohort(tmp_path, 12)
    spoil(tmp_path)
    with pytest.raises(DataError):
        prepare(TableSource(table), tmp_path / "out", size=32, progress=False)
    data = prepare(TableSource(table), tmp_path / "out", size=32, skip_bad=True, progress=False)
    assert data.status == "resumed"
    fresh = prepare(TableSource(table), tmp_path / "fresh", size=32, skip_bad=True, progress=False)
    assert contents(data.path) == contents(fresh.path)


def test_no_usable_record_leaves_nothing_at_all(tmp_path):
    table = cohort(tmp_path, 2)
    for i in range(2):
        (tmp_path / f"images/{i:03d}.png").write_bytes(b"")
    for skip_bad in (False, True):
        with pytest.raises(DataError, match="No record is left"):
            prepare(TableSource(table), tmp_path / "out", size=32, skip_bad=skip_bad, progress=False)
    assert not list(tmp_path.glob("out*"))


def test_an_image_too_narrow_for_the_size(tmp_path):
    from tests.data.making import radiograph, save

    save(tmp_path / "a.png", radiograph(0, 16, 2000))
    save(tmp_path / "b.png", radiograph(1))
    (tmp_path / "t.csv").write_text("image,patient_id\na.png,1\nb.png,2\n")
    with pytest.raises(DataError, match=r"a\.png: the image is constant at 16 px"):
        prepare(TableSource(tmp_path / "t.csv"), tmp_path / "out", size=16, progress=False)


def test_the_number_of_workers_changes_nothing(tmp_path):
    made = source(tmp_path, 70)
    one = prepare(made, tmp_path / "one", size=24, workers=1, progress=False)
    two = prepare(made, tmp_path / "two", size=24, workers=2, progress=False)
    assert contents(one.path) == contents(two.path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_from_the_start(tmp_path, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    made = source(tmp_path)
    name = "posix_fallocate" if number == errno.ENOSPC else "replace"
    monkeypatch.setattr(os, name, full)
    with pytest.raises(DensecfError, match=r"cannot be written: (the disk is full|no permission)"):
        prepare(made, tmp_path / "out", size=24, progress=False)
    monkeypatch.undo()
    assert not list(tmp_path.glob("out*"))
    assert prepare(made, tmp_path / "out", size=24, progress=False).status == "prepared"


def test_a_disk_that_fills_up_on_the_way_loses_nothing(tmp_path, monkeypatch):
    from densecf.data.row_files import RowFile

    made = source(tmp_path)
    write = RowFile.write

    def fills_up(self, row, array):
        if row == 5:
            raise DensecfError(f"{self.path} cannot be written: the disk is full")
        write(self, row, array)

    monkeypatch.setattr(RowFile, "write", fills_up)
    with pytest.raises(DensecfError, match="full"):
        prepare(made, tmp_path / "out", size=24, progress=False)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    data = prepare(made, tmp_path / "out", size=24, progress=False)
    assert data.status == "resumed"
    assert contents(data.path) == contents(prepare(made, tmp_path / "fresh", size=24, progress=False).path)


SCRIPT = """
import sys, time
from pathlib import Path
from densecf.data import prepare
from densecf.data.readers.table import TableSource

class Slow(TableSource):
    def load(self, row, size):
        time.sleep(0.01)
        return super().load(row, size)

if __name__ == "__main__":
    prepare(Slow("table.csv"), "out", size=24, workers=int(sys.argv[1]), progress=False)
"""


def start(folder, workers):
    (folder / "run.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "run.py", str(workers)], cwd=folder, env=environment)


def wait_for_rows(folder, count):
    journal = folder / "out.partial/journal.jsonl"
    for _ in range(3000):
        if journal.exists() and journal.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    raise TimeoutError


def rows_in_journal(folder):
    return (folder / "out.partial/journal.jsonl").read_bytes().count(b"\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_runs_resume_and_equal_an_uninterrupted_one(tmp_path, workers):
    table = cohort(tmp_path, 100)
    for rows in (10, 40):  # killed twice
        process = start(tmp_path, workers)
        wait_for_rows(tmp_path, rows)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "out").exists()
        with pytest.raises(DataError, match="never finished"):
            PreparedDataset.open(tmp_path / "out")
    before = rows_in_journal(tmp_path)
    time.sleep(0.5)
    assert rows_in_journal(tmp_path) == before  # nobody writes on
    data = prepare(TableSource(table), tmp_path / "out", size=24, progress=False)
    assert data.status == "resumed"
    fresh = prepare(TableSource(table), tmp_path / "fresh", size=24, progress=False)
    assert contents(data.path) == contents(fresh.path)
    assert not (tmp_path / "out.partial").exists()


def test_rows_that_a_power_cut_lost_are_done_again(tmp_path):
    made = source(tmp_path, 100)
    process = start(tmp_path, 1)
    wait_for_rows(tmp_path, 20)
    process.kill()
    process.wait()
    images = tmp_path / "out.partial/dataset/images.npy"
    content = bytearray(images.read_bytes())
    content[200:3000] = bytes(2800)
    images.write_bytes(content)
    with (tmp_path / "out.partial/journal.jsonl").open("a") as journal:
        journal.write('\n{"row": 99, "crc": 1')
    data = prepare(made, tmp_path / "out", size=24, progress=False)
    assert data.status == "resumed"
    assert contents(data.path) == contents(prepare(made, tmp_path / "fresh", size=24, progress=False).path)


def test_other_settings_begin_anew(tmp_path):
    made = source(tmp_path, 100)
    process = start(tmp_path, 1)
    wait_for_rows(tmp_path, 20)
    process.kill()
    process.wait()
    data = prepare(made, tmp_path / "out", size=32, progress=False)
    assert data.status == "prepared"
    data.verify()


def test_two_runs_at_once(tmp_path):
    made = source(tmp_path, 100)
    process = start(tmp_path, 1)
    try:
        wait_for_rows(tmp_path, 5)
        with pytest.raises(DensecfError, match="Another process is preparing"):
            prepare(made, tmp_path / "out", size=24, progress=False)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    assert prepare(made, tmp_path / "out", size=24, progress=False).status == "reused"


def test_workers_die_with_their_parent(tmp_path):
    cohort(tmp_path, 100)
    process = start(tmp_path, 2)
    wait_for_rows(tmp_path, 5)
    children = children_of(process.pid)
    assert len(children) >= 2
    process.kill()
    process.wait()
    for _ in range(500):
        alive = [pid for pid in children if os.path.exists(f"/proc/{pid}") and not is_zombie(pid)]
        if not alive:
            return
        time.sleep(0.01)
    pytest.fail(f"still there: {alive}")


def children_of(pid):
    path = f"/proc/{pid}/task/{pid}/children"
    if not os.path.exists(path):
        pytest.skip("this system does not list child processes")
    with open(path) as file:
        return [int(child) for child in file.read().split()]


def is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def die(row):
    if row == 50:
        os._exit(1)
    return row


def fail(row):
    raise DataError(f"row {row}")


def test_a_worker_that_dies_is_explained():
    with pytest.raises(DensecfError, match="A worker process died: out of memory"):
        list(map_rows(die, range(100), 2))


def test_an_error_in_a_worker_arrives():
    with pytest.raises(DataError, match="row 0"):
        list(map_rows(fail, range(100), 2))


@pytest.mark.slow
def test_the_real_radiographs(radiographs, tmp_path):
    start_time = time.perf_counter()
    made = TableSource(radiographs / "lungs.csv", manual="source=montgomery")
    data = prepare(made, tmp_path / "lungs", size=128, progress=False)
    seconds = time.perf_counter() - start_time
    warnings.warn(f"703 radiographs prepared in {seconds:.1f} s, {703 / seconds:.0f} a second", stacklevel=1)
    data.verify()
    assert len(data) == 703
    assert data.records["split"].value_counts().to_dict() == {"train": 565, "manual": 138}
    assert (data.records["mask_kind"] == "manual").all()
    columns = np.arange(128.0)
    darker = 0
    for row in range(703):
        mask = data.mask(row)
        assert mask is not None
        left, right = (np.average(columns, weights=np.sum(mask == k, axis=0)) for k in (1, 2))
        assert left > right  # the patient's left is on the image's right
        darker += data.image(row)[mask > 0].mean() < data.image(row)[mask == 0].mean()
    assert darker > 0.85 * 703  # lungs are darker than what surrounds them, save where black borders are wide
