"""Finds scenes as their files arrive in watched folders.

A scene is returned when all its files are complete and unchanged between two checks. Completeness is checked by the
structure of the format; if a writer pauses within a file, the scene is returned again after the file changes.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import watchfiles

from app.jobs import Job
from utils.errors import UserError
from utils.pictures.codecs import read_bytes
from utils.pictures.structure import fault

_LOOK = 400  # milliseconds between two checks
_Mark = tuple[tuple[Path, int, int], ...]


def arriving(folders: Sequence[Path], find: Callable[[], Sequence[Job]], done: Sequence[Job] = (),
             stop: threading.Event | None = None) -> Iterator[Job]:
    """Yield each scene when it is complete, and again when its files have changed, until ``stop`` or Ctrl-C.

    Args:
        folders: folders to watch, recursively.
        find: finds scenes; their files may be incomplete.
        done: scenes to skip unless they change.
        stop: ends the watch at the next check.
    """
    handled = {job.out: _mark(job) for job in done}
    seen: dict[Path, _Mark | None] = {}
    unsettled = True
    for changes in watchfiles.watch(*folders, watch_filter=None, debounce=_LOOK, rust_timeout=_LOOK,
                                    yield_on_timeout=True, stop_event=stop):
        if not (changes or unsettled):
            continue
        unsettled = False
        for job in find():
            mark = _mark(job)
            if mark == handled.get(job.out):
                continue
            if mark is None or mark != seen.get(job.out):
                seen[job.out], unsettled = mark, True
                continue
            handled[job.out] = mark
            if _whole(job):
                yield job


def _mark(job: Job) -> _Mark | None:
    """Files, sizes and times; None if a file is missing."""
    try:
        stats = [(path, path.stat()) for path in sorted(job.pictures)]
    except OSError:
        return None
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def _whole(job: Job) -> bool:
    """Whether every file is a complete picture."""
    try:
        return not any(fault(read_bytes(path), path.suffix) for path in job.pictures)
    except UserError:
        return False
