"""Worker processes for the metrics, running concurrently with the main program."""

import contextlib
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing import connection, get_context, parent_process, resource_tracker
from typing import Any

import cv2
import numpy as np

from metrics import compute

# One thread per worker: more would compete with fusing for the same cores.
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                                      "NUMBA_NUM_THREADS")}
_QUEUED_PER_WORKER = 4


class Pool:
    """Worker processes that measure pictures.

    Workers are spawned, never forked, so the pool is safe with PyTorch and its threads. They import this package but
    not the caller's script, run at a lower priority, leave Ctrl-C to the caller and end when it dies. Submissions wait
    while too many calls are queued, which bounds the memory.

    Args:
        workers: number of processes; 0 works inside ``submit``, in the calling process.
    """

    def __init__(self, workers: int = 1) -> None:
        if workers < 0:
            raise ValueError(f"Pool: workers={workers}; give 0 or more")
        self._executor: ProcessPoolExecutor | None = None
        self._free = threading.BoundedSemaphore(max(1, workers * _QUEUED_PER_WORKER))
        if workers:
            with _plain_start():  # the executor starts a worker for a submission that finds none idle
                self._executor = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker)
                for _ in range(workers):
                    self._executor.submit(_no_work)

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future:
        """Queue a call. ``work`` is a module-level function; the future has its result or error."""
        future: Future = Future()
        if self._executor is None:
            try:
                future.set_result(work(*arguments))
            except Exception as error:
                future.set_exception(error)
            return future
        self._free.acquire()
        try:
            future = self._executor.submit(work, *arguments)
        except BrokenExecutor as error:  # a worker was killed
            future.set_exception(error)
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        """Stop the workers; queued calls are dropped."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _start_worker() -> None:
    """Use one thread and low priority, and load the compiled metrics before the first picture arrives."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    with contextlib.suppress(AttributeError, OSError):
        os.nice(5)
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    compute("common", *noise)


def _end_with_parent() -> None:
    """End this worker when its parent is gone: an idle worker would outlive a killed caller."""
    connection.wait([parent_process().sentinel])
    os._exit(1)


def _no_work() -> None:
    """An empty first job, so that the workers start immediately."""


@contextlib.contextmanager
def _plain_start() -> Iterator[None]:
    """Start workers with one thread each and without importing the caller's script.

    A spawned process normally runs the script again as ``__mp_main__`` to find its functions. Ours are in this package,
    and a script that imports PyTorch would cost each worker seconds and hundreds of megabytes.
    """
    main, environment = sys.modules["__main__"], {name: os.environ.get(name) for name in _ONE_THREAD}
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ.update(_ONE_THREAD)
    try:
        with _deaf_children():
            yield
    finally:
        sys.modules["__main__"] = main
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Start processes that ignore Ctrl-C and hang-up, which a terminal also sends to them.

    They inherit the signals as blocked. In this process the signals are delivered after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    signals = {signal.SIGINT, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        resource_tracker.ensure_running()  # unblocks some signals
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
