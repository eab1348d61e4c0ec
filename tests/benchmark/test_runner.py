import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from densecf.benchmark.runner import Job, Slot, last_lines, make_slots, run_jobs
from densecf.errors import DensecfError


def job(folder: Path, title: str, code: str) -> Job:
    return Job(title, (sys.executable, "-c", code), folder / "logs" / f"{title}.log")


def slots(*names: str) -> list[Slot]:
    return [Slot({"OMP_NUM_THREADS": "1", "PLACE": name}) for name in names]


def alive(process: int) -> bool:
    """Whether it runs; a process that ended and that nobody asked about yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_jobs_run_side_by_side_each_in_its_slot(tmp_path):
    """Each waits for the other: only two at a time can end."""
    meet = "import os, pathlib, time\npathlib.Path(r'{}', '{}').touch()\nwhile not pathlib.Path(r'{}', '{}').exists(): time.sleep(0.01)\nprint(os.environ['PLACE'], os.environ['WORD'])"  # noqa: E501
    jobs = [
        job(tmp_path, "one", meet.format(tmp_path, "a", tmp_path, "b")),
        job(tmp_path, "two", meet.format(tmp_path, "b", tmp_path, "a")),
    ]
    seen: list[int] = []
    assert run_jobs(jobs, slots("x", "y"), watched=lambda now: seen.append(len(now)), environment={"WORD": "w"}) == {}
    assert {last_lines(each.log) for each in jobs} == {"x w", "y w"}
    assert max(seen) == 2


def test_a_job_waits_for_a_free_slot(tmp_path):
    order: list[str] = []
    jobs = [job(tmp_path, name, f"open(r'{tmp_path / 'trace'}', 'a').write('{name}{name}')") for name in "abc"]
    run_jobs(jobs, slots("x"), lambda done, code: order.append(f"{done.title}{code}"))
    assert (tmp_path / "trace").read_text() == "aabbcc"
    assert order == ["a0", "b0", "c0"]


def test_a_failing_job_stops_no_other_and_its_last_lines_are_told(tmp_path):
    jobs = [
        job(tmp_path, "bad", "print('10%\\r20%\\r30%'); raise SystemExit('no such scanner')"),
        job(tmp_path, "good", "print('fine')"),
    ]
    failed = run_jobs(jobs, slots("x"))
    assert list(failed) == ["bad"]
    assert failed["bad"] == "exit code 1\n30%\nno such scanner"
    assert last_lines(jobs[1].log) == "fine"


def test_a_log_that_cannot_be_written(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(DensecfError, match="cannot be written"):
        run_jobs([job(tmp_path, "a", "pass")], slots("x"))
    assert "cannot be read" in last_lines(tmp_path / "nothing.log")


PARENT = """
import signal, sys
from pathlib import Path
from densecf.benchmark.runner import Job, Slot, run_jobs
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
child = "import os, time; from densecf.benchmark.worker import stop_with_parent; stop_with_parent(); open(r'{pid}', 'w').write(str(os.getpid())); time.sleep(60)"
run_jobs([Job("child", (sys.executable, "-c", child), Path(r"{log}"))], [Slot({{}})])
"""  # noqa: E501


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_children_end_with_their_parent_however_it_ends(sent, tmp_path):
    note = tmp_path / "pid"
    process = subprocess.Popen([sys.executable, "-c", PARENT.format(pid=note, log=tmp_path / "log")], stderr=-3)
    wait_for(lambda: note.is_file() and note.read_text(), 60)
    child = int(note.read_text())
    assert alive(child)
    process.send_signal(sent)
    process.wait(timeout=20)
    wait_for(lambda: not alive(child))


def test_slots_share_out_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert [slot.environment for slot in make_slots("auto")] == [{"OMP_NUM_THREADS": "4"}] * 2
    assert [slot.threads for slot in make_slots(3)] == [2, 2, 2]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [slot.threads for slot in make_slots("auto")] == [1, 1]


def test_a_slot_is_tied_to_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in make_slots("auto")] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in make_slots(3)] == ["5", "GPU-7", "5"]
