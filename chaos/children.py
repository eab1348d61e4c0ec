"""A command in a forked process of its own: everything is imported already, so that it starts at once."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

KILLED = -9


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: exit code, or -9 after a SIGKILL.
        seconds: how long it lived.
        said: what it printed, both streams.
    """

    code: int
    seconds: float
    said: str


def import_everything() -> None:
    """Imports all that the commands import on their way, so that a child need not."""
    import pkgutil

    import densecf

    skipped = ("densecf.__main__",)
    for module in pkgutil.walk_packages(densecf.__path__, "densecf."):
        if module.name not in skipped:
            import_module(module.name)
    for name in (
        "matplotlib.pyplot",
        "umap",
        "sklearn.manifold",
        "pyarrow.parquet",
        "torchvision",
        "timm",
        "tensorboard",
    ):
        import_module(name)


def run_command(arguments: Sequence[str], folder: Path, kill_after: float | None = None) -> Ended:
    """``densecf`` with these arguments in ``folder``; killed after so many seconds, unless it has ended before."""

    def work() -> int:
        from densecf.cli import main

        return main(list(arguments))

    return run_forked(work, folder, kill_after)


def run_forked(
    work: Callable[[], int],
    folder: Path,
    kill_after: float | None = None,
    limit: float = 600,
) -> Ended:
    """Runs ``work`` in a fork and kills it, with every process that it has started, after a while.

    Args:
        work: returns the exit code.
        folder: its working directory.
        kill_after: seconds until SIGKILL; None: not killed.
        limit: seconds after which it counts as hanging, and is killed.
    """
    reading, writing = os.pipe()  # no file: it has to speak where nothing can be written
    os.set_blocking(reading, False)
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(work, folder, writing)
    os.close(writing)
    deadline = started + (limit if kill_after is None else kill_after)
    heard: list[bytes] = []
    code = _wait(child, deadline, reading, heard)
    seconds = time.monotonic() - started
    _kill_group(child)
    if code is None:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
    _hear(reading, heard)
    os.close(reading)
    said = b"".join(heard).decode("utf-8", "replace")
    if kill_after is None and code == KILLED:
        said += f"\nkilled after {limit:.0f} s: it hung"
    return Ended(code, seconds, said)


def _become(work: Callable[[], int], folder: Path, out: int) -> None:
    """Never returns: the child ends here."""
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.close(out)
        os.chdir(folder)
        code = work()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _wait(child: int, deadline: float, reading: int, heard: list[bytes]) -> int | None:
    """The exit code, or None when the time is over before; meanwhile the pipe is kept empty."""
    while True:
        _hear(reading, heard)
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(0.002, left))


def _hear(reading: int, heard: list[bytes]) -> None:
    """Takes what lies in the pipe; never waits, because a process that outlives its group may hold the other end."""
    with suppress(BlockingIOError):
        while words := os.read(reading, 65536):
            heard.append(words)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
