"""Work on many rows in worker processes that never outlive their parent."""

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, parent_process
from typing import Any, TypeVar

from densecf.errors import DensecfError

Result = TypeVar("Result")

_ROWS_A_WORKER = 32  # starting a process takes about as long as preparing this many rows
_CHUNK = 8
_worker: Callable[[int], Any]


def available_cpus() -> int:
    """Cores this process may use (a container or scheduler may allow fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_rows(function: Callable[[int], Result], rows: Sequence[int], workers: int) -> Iterator[Result]:
    """``function`` of every row, in order, computed by up to ``workers`` processes.

    Few rows, or one worker, are computed in this process. ``function`` must be picklable; each worker
    gets one copy. An exception in a worker is raised here.

    Raises:
        DensecfError: a worker process died.
    """
    workers = min(workers, math.ceil(len(rows) / _ROWS_A_WORKER))
    if workers <= 1:
        yield from map(function, rows)
        return
    # "spawn" everywhere: forking a process that has threads (torch, BLAS) can hang.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (function,))
    try:
        yield from pool.map(_call, rows, chunksize=_CHUNK)
    except BrokenProcessPool as error:
        raise DensecfError(
            "A worker process died: out of memory, or this is a script without "
            "'if __name__ == \"__main__\":' around its calls. Use fewer workers (--workers 1)."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(function: Callable[[int], Any]) -> None:
    global _worker
    _worker = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    # A killed parent cannot stop its workers, and they would wait for work for ever.
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _call(row: int) -> Any:
    return _worker(row)
