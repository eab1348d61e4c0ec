"""Cells as processes of their own: several at a time, each on its own device; a failing one does not stop others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from densecf.files import explained_os_errors

POLL_SECONDS = 0.2
_TAIL = 12


@dataclass(frozen=True)
class Job:
    """One process to run.

    Attributes:
        title: for progress and error messages.
        command: program and arguments.
        log: file for what it prints.
    """

    title: str
    command: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Slot:
    """A place where one job runs at a time: the environment that ties it to its device."""

    environment: dict[str, str]

    @property
    def threads(self) -> int:
        """Of the CPU, for a process in this slot."""
        return int(self.environment["OMP_NUM_THREADS"])


def make_slots(jobs: int | str) -> list[Slot]:
    """One slot a GPU; on the CPU as many as asked for ("auto": one a core, at most two), the cores shared out.

    Their number does not depend on what is left to do: sums over so many threads come out the same after a restart.
    """
    import torch

    gpus = torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = int(jobs) if jobs != "auto" else gpus or min(2, cores)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = {"OMP_NUM_THREADS": asked if asked.isdigit() and int(asked) else str(max(1, cores // count))}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(gpus)]
    return [Slot({**threads, **({"CUDA_VISIBLE_DEVICES": names[n % gpus]} if gpus else {})}) for n in range(count)]


def run_jobs(
    jobs: Sequence[Job],
    slots: Sequence[Slot],
    finished: Callable[[Job, int], None] = lambda job, code: None,
    watched: Callable[[Sequence[Job]], None] = lambda jobs: None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Runs all jobs, each in a free slot, in order; children die with this process.

    Args:
        jobs: what to run; titles are unique.
        slots: where.
        finished: called with each job that ended and its exit code.
        watched: called again and again with the jobs that run.
        environment: further variables of all jobs.

    Returns:
        The last lines that each failed job printed, by its title.

    Raises:
        KeyboardInterrupt: Ctrl-C; the children are stopped first.
        DensecfError: a log cannot be written.
    """
    waiting, failed = list(jobs), {}
    running: dict[int, tuple[Job, subprocess.Popen]] = {}
    with _children() as children:
        while waiting or running:
            for place, slot in enumerate(slots):
                if place not in running and waiting:
                    job = waiting.pop(0)
                    running[place] = job, _start(job, {**slot.environment, **(environment or {})})
                    children.append(running[place][1])
            for place, (job, process) in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[place]
                children.remove(process)
                if process.stdin:
                    process.stdin.close()
                if code:
                    failed[job.title] = f"exit code {code}\n" + last_lines(job.log)
                finished(job, code)
            watched([job for job, _ in running.values()])
            time.sleep(POLL_SECONDS)
    return failed


def last_lines(log: Path) -> str:
    """The end of a log, without what progress bars overwrote."""
    try:
        text = log.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        return f"{log} cannot be read ({error.strerror})"
    return "\n".join(line.rsplit("\r", 1)[-1] for line in text.rstrip().split("\n")[-_TAIL:])


def _start(job: Job, environment: Mapping[str, str]) -> subprocess.Popen:
    with explained_os_errors(job.log):
        job.log.parent.mkdir(parents=True, exist_ok=True)
        log = job.log.open("ab")
    with log:
        return subprocess.Popen(
            job.command,
            stdin=subprocess.PIPE,  # stays open as long as we live: see densecf.benchmark.worker.stop_with_parent
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        )


@contextmanager
def _children() -> Iterator[list[subprocess.Popen]]:
    """The processes that are stopped when the block is left early."""
    children: list[subprocess.Popen] = []
    try:
        yield children
    except BaseException:
        for process in children:
            process.terminate()
        for process in children:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        raise


def python_command(*arguments: str) -> tuple[str, ...]:
    """This Python, running densecf."""
    return (sys.executable, "-m", "densecf", *arguments)
