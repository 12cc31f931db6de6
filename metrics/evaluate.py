"""Scoring many pairs on worker processes, beside a program that is busy with other things (fusing, say)."""

import contextlib
import math
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process, resource_tracker
from pathlib import Path

import cv2
import numpy as np

from metrics import METRICS, compute, expand
from metrics.folders import Method, find_results, read_sources
from metrics.ranking import Comparison
from metrics.scores import Scores
from utils.errors import UserError
from utils.pictures.depth import to_8_bit
from utils.pictures.layouts import PairPaths, Task
from utils.pictures.pairs import PairList
from utils.pictures.reading import AS_STORED, ReadingRule, read_grey_or_rgb


@dataclass(frozen=True)
class SourceFiles:
    """Two sources that the worker reads as they were read for fusing; one map of values may hold for both."""

    pair: PairPaths
    rule: ReadingRule
    layout: Task | None


Picture = np.ndarray | str | Path
Progress = Callable[[], None]

# A worker is one thread of arithmetic: more would fight with the fusing for the same cores.
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                                      "NUMBA_NUM_THREADS")}
_QUEUED_PER_WORKER = 4


class Pool:
    """Worker processes that score triples.

    Workers are spawned, never forked, so the pool is safe beside PyTorch and its threads. They import this package
    and not the caller's script. They run at a lower priority than the caller, leave Ctrl-C to it and end when it dies.
    A submission waits while too many triples are queued, so the memory stays bounded.

    Args:
        workers: processes; 0 scores inside ``submit``, in the calling process.
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

    def submit(self, names: Sequence[str], colour: str, triple: Sequence[Picture | SourceFiles | None]) -> Future:
        """Queue one triple; the future's result is what ``_score`` gives."""
        if self._executor is None:
            done: Future = Future()
            done.set_result(_score(tuple(names), colour, *triple))
            return done
        self._free.acquire()
        try:
            future = self._executor.submit(_score, tuple(names), colour, *triple)
        except BrokenExecutor as error:  # a worker was killed
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        """Stop the workers; what is still queued is dropped."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Scorer:
    """Scores the pairs of one method as they come.

        with Scorer(COMMON) as scorer:
            for stem, a, b in pairs:
                scorer.submit(stem, a, b, fuse(a, b))    # returns at once
            scores = scorer.collect()

    Args:
        names: metrics, as ``metrics.expand`` takes them.
        workers: processes of its own pool; 0 scores inside ``submit``. One is enough to keep up with fusing.
        colour: ``grey`` or ``channels``.
        pool: workers to share with other scorers; ``workers`` is then not used.
        rule: how the sources' values were mapped, for the record; arrays come mapped already.
        truths: whether pairs have ground truths.

    Raises:
        UserError: a metric is not known, or compares with a ground truth and there are none.
    """

    def __init__(self, names: str | Sequence[str], workers: int = 1, colour: str = "grey",
                 pool: Pool | None = None, *, rule: ReadingRule = AS_STORED, truths: bool = False) -> None:
        self.names = tuple(expand(names))
        compared = [name for name in self.names if "t" in METRICS[name].inputs]
        if compared and not truths:
            raise UserError(f"{', '.join(compared)} need a ground truth; scoring pairs; python -m metrics --truth DIR "
                            "scores results against one")
        self.colour, self.rule = colour, rule
        self._pool = pool if pool is not None else Pool(workers)
        self._owns_pool = pool is None
        self._futures: dict[str, Future] = {}
        self._seconds: dict[str, float] = {}

    def submit(self, stem: str, a: Picture | SourceFiles, b: Picture | None, f: Picture, seconds: float | None = None,
               truth: Picture | None = None) -> None:
        """Queue one pair.

        Args:
            stem: the pair's name.
            a, b, f: the sources and the fused picture, (H, W), (H, W, 1) or (H, W, 3) RGB, uint8, or uint16 which is
                rounded to 8 bits; or the files of them, which the worker reads. ``SourceFiles`` as ``a`` are both
                sources, and ``b`` is None.
            seconds: what fusing took, for the record.
            truth: ground truth; without one, metrics that compare with it are NaN.

        Raises:
            ValueError: the stem has been submitted before.
        """
        if stem in self._futures:
            raise ValueError(f"Scorer.submit: {stem!r} was submitted before; give every pair its own stem")
        self._futures[stem] = self._pool.submit(self.names, self.colour, (a, b, f, truth))
        if seconds is not None:
            self._seconds[stem] = float(seconds)

    def collect(self, progress: Progress | None = None, *, without: Container[str] = ()) -> Scores:
        """Wait for all pairs and stop the workers, if they are the scorer's own.

        A pair that cannot be scored becomes a line of ``problems``.

        Args:
            progress: called after each pair.
            without: stems to leave out, such as of results that could not be written.
        """
        values, sizes, problems = {}, {}, []
        for stem, future in self._futures.items():
            if stem in without:
                continue
            try:
                row, size, lines = future.result()
            except BrokenExecutor:
                row, size, lines = {}, (0, 0), ["not scored: the scoring process was killed"]
            except Exception as error:
                row, size, lines = {}, (0, 0), [f"not scored ({type(error).__name__}: {error})"]
            problems += [f"{stem}: {line}" for line in lines]
            if row:
                values[stem], sizes[stem] = row, size
            if progress is not None:
                progress()
        self.close()
        seconds = {stem: value for stem, value in self._seconds.items() if stem in values}
        return Scores(self.names, values, seconds, sizes, tuple(problems), self.colour, self.rule)

    def close(self) -> None:
        if self._owns_pool:
            self._pool.close()

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def score_folders(sources: PairList, methods: Sequence[Method], names: str | Sequence[str], *, colour: str = "grey",
                  rule: ReadingRule = AS_STORED, workers: int = 1, shared_only: bool = False,
                  progress: Progress | None = None) -> Comparison:
    """Score result folders against a set of pairs.

    Args:
        sources: from ``find_sources`` or ``find_scenes``; metrics that compare with a ground truth take the pairs'.
        methods: from ``name_methods``.
        names: metrics, as ``metrics.expand`` takes them.
        colour: ``grey`` or ``channels``.
        rule: how the sources' values were mapped for fusing.
        workers: processes.
        shared_only: score only the pairs for which every method has a picture.
        progress: called after each pair of each method.

    Raises:
        UserError: no method has a picture for any pair, or no pair is left by ``shared_only``.
    """
    names = expand(names)
    stems = [pair.stem for pair in sources.pairs]
    found = [find_results(method, stems) for method in methods]
    if shared_only:
        kept = [stem for stem in stems if all(stem in method.pictures for method in found)]
        sources = replace(sources, pairs=[pair for pair in sources.pairs if pair.stem in kept])
        found = [find_results(method, kept) for method in methods]
    if not any(method.pictures for method in found):
        folders = ", ".join(str(method.folder) for method in methods)
        raise UserError(f"no fused picture matches a pair; {folders}; a result is found by the stem of its sources, "
                        f"e.g. {stems[0]}.png or {stems[0]}_recover.png")
    with Pool(workers) as pool:
        truths = any(pair.truth for pair in sources.pairs)
        scorers = {method.name: Scorer(names, colour=colour, pool=pool, rule=rule, truths=truths)
                   for method in found}
        for pair in sources.pairs:
            for method in found:
                if pair.stem in method.pictures:
                    files = SourceFiles(pair, rule, sources.task)
                    scorers[method.name].submit(pair.stem, files, None, method.pictures[pair.stem], truth=pair.truth)
        scores = {name: scorer.collect(progress) for name, scorer in scorers.items()}
    return Comparison(sources, tuple(found), tuple(names), scores)


def comparison_of(scores: Mapping[str, Scores], sources: PairList, folders: Mapping[str, Path]) -> Comparison:
    """A comparison from scores that are there already, e.g. those that ``test.py`` collected while it fused.

    Args:
        scores: method -> its scores, all of the same metrics.
        sources: the pairs.
        folders: method -> where its pictures lie.
    """
    stems = [pair.stem for pair in sources.pairs]
    methods = tuple(find_results(Method(name, Path(folders[name])), stems) for name in scores)
    return Comparison(sources, methods, next(iter(scores.values())).names, dict(scores))


def _score(names: tuple[str, ...], colour: str, a: Picture | SourceFiles, b: Picture | None, f: Picture,
           truth: Picture | None = None) -> tuple[dict[str, float], tuple[int, int], list[str]]:
    """Worker's job: (values, (width, height), problems); no values if the triple cannot be scored at all."""
    try:
        a, b = read_sources(a.pair, a.rule, a.layout) if isinstance(a, SourceFiles) else (_read(a), _read(b))
        f, truth = _read(f), None if truth is None else _read(truth)
    except UserError as error:
        return {}, (0, 0), [str(error)]
    size = (f.shape[1], f.shape[0])
    if not a.shape[:2] == b.shape[:2] == f.shape[:2]:
        told = ", ".join(f"{x.shape[1]} x {x.shape[0]}" for x in (a, b, f))
        return {}, size, [f"sizes differ (first, second, fused: {told}); not scored"]
    possible = [name for name in names if truth is not None or "t" not in METRICS[name].inputs]
    try:
        values = compute(possible, a, b, f, colour=colour, truth=truth)
    except UserError as error:
        return {}, size, [str(error)]
    return {name: values.get(name, math.nan) for name in names}, size, []


def _read(picture: Picture) -> np.ndarray:
    """(H, W) or (H, W, 1 or 3) uint8."""
    return read_grey_or_rgb(Path(picture)) if isinstance(picture, (str, Path)) else to_8_bit(picture)


def _start_worker() -> None:
    """One thread, low priority, and the compiled metrics loaded before the first picture comes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    with contextlib.suppress(AttributeError, OSError):
        os.nice(5)
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    compute("common", *noise)


def _end_with_parent() -> None:
    """A worker that waits for work would outlive a caller that was killed."""
    connection.wait([parent_process().sentinel])
    os._exit(1)


def _no_work() -> None:
    """What the first submission does, so that the workers start at once."""


@contextlib.contextmanager
def _plain_start() -> Iterator[None]:
    """Start workers with one thread each and without importing the caller's script.

    A spawned process runs the script again as ``__mp_main__`` to find its functions; ours are in this package, and
    a script that imports PyTorch would cost each worker seconds and hundreds of megabytes.
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
    """Start processes that never hear a terminal's Ctrl-C or hang-up, which it sends to them as well.

    They inherit the signals as blocked. In this process they wait until the block ends.
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
