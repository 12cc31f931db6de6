"""Scores many pairs in worker processes, concurrently with a program that does other work such as fusing."""

import hashlib
import math
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from metrics import METRICS, compute, expand
from metrics.folders import Method, find_results, read_sources
from metrics.pool import Pool
from metrics.ranking import Comparison
from metrics.scores import Scores
from utils.errors import UserError
from utils.pictures.depth import to_8_bit
from utils.pictures.layouts import PairPaths, Task
from utils.pictures.pairs import PairList
from utils.pictures.reading import AS_STORED, ReadingRule, read_grey_or_rgb


@dataclass(frozen=True)
class SourceFiles:
    """Two source files that the worker reads as for fusing, possibly with a joint map of values."""

    pair: PairPaths
    rule: ReadingRule
    layout: Task | None


Picture = np.ndarray | str | Path
Progress = Callable[[], None]


class Scorer:
    """Scores the pairs of one method as they arrive.

        with Scorer(COMMON) as scorer:
            for stem, a, b in pairs:
                scorer.submit(stem, a, b, fuse(a, b))    # returns at once
            scores = scorer.collect()

    Args:
        names: metrics, as in ``metrics.expand``.
        workers: number of processes; 0 scores inside ``submit``. One is enough to keep up with fusing.
        colour: ``grey`` or ``channels``.
        pool: workers shared with other scorers; ``workers`` is then ignored.
        rule: how the values of the sources were mapped, for the record; arrays are already mapped.
        truths: whether pairs have ground truths.

    Raises:
        UserError: an unknown metric, or one that needs a ground truth if there are none.
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
            stem: name of the pair.
            a, b, f: the sources and the fused picture, (H, W), (H, W, 1) or (H, W, 3) RGB, uint8, or uint16, which is
                rounded to 8 bits; or their files, which the worker reads. ``SourceFiles`` as ``a`` stands for both
                sources, with ``b`` None.
            seconds: fusing time, for the record.
            truth: ground truth; without one, metrics that need it are NaN.

        Raises:
            ValueError: the stem has been submitted before.
        """
        if stem in self._futures:
            raise ValueError(f"Scorer.submit: {stem!r} was submitted before; give every pair its own stem")
        self._futures[stem] = self._pool.submit(_score, self.names, self.colour, a, b, f, truth)
        if seconds is not None:
            self._seconds[stem] = float(seconds)

    def collect(self, progress: Progress | None = None, *, without: Container[str] = ()) -> Scores:
        """Wait for all pairs and stop the scorer's own workers.

        Pairs that cannot be scored are listed in ``problems``.

        Args:
            progress: called after each pair.
            without: stems to leave out, such as those of results that could not be written.
        """
        values, sizes, checksums, problems = {}, {}, {}, []
        for stem, future in self._futures.items():
            if stem in without:
                continue
            try:
                scored = future.result()
            except BrokenExecutor:
                scored = _Scored(problem="not scored: the scoring process was killed")
            except Exception as error:
                scored = _Scored(problem=f"not scored ({type(error).__name__}: {error})")
            problems += [f"{stem}: {scored.problem}"] if scored.problem else []
            if scored.values:
                values[stem], sizes[stem], checksums[stem] = scored.values, scored.size, scored.checksums
            if progress is not None:
                progress()
        self.close()
        seconds = {stem: value for stem, value in self._seconds.items() if stem in values}
        return Scores(self.names, values, seconds, sizes, checksums, tuple(problems), self.colour, self.rule)

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
        sources: from ``find_sources`` or ``find_scenes``, with ground truths for metrics that need them.
        methods: from ``name_methods``.
        names: metrics, as in ``metrics.expand``.
        colour: ``grey`` or ``channels``.
        rule: how the values of the sources were mapped for fusing.
        workers: number of processes.
        shared_only: score only pairs for which every method has a picture.
        progress: called after each pair of each method.

    Raises:
        UserError: no method has a picture for any pair, or ``shared_only`` leaves no pair.
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
    """Make a comparison from existing scores, such as those collected by ``test.py``.

    Args:
        scores: method -> scores, all with the same metrics.
        sources: the pairs.
        folders: method -> folder of its pictures.
    """
    stems = [pair.stem for pair in sources.pairs]
    methods = tuple(find_results(Method(name, Path(folders[name])), stems) for name in scores)
    return Comparison(sources, methods, next(iter(scores.values())).names, dict(scores))


@dataclass(frozen=True)
class _Scored:
    """What a worker found out about one pair; no values and a problem if it cannot be scored."""

    values: dict[str, float] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    checksums: tuple[str, ...] = ()
    problem: str = ""


def _score(names: tuple[str, ...], colour: str, a: Picture | SourceFiles, b: Picture | None, f: Picture,
           truth: Picture | None = None) -> _Scored:
    """The job of a worker."""
    try:
        a, b = read_sources(a.pair, a.rule, a.layout) if isinstance(a, SourceFiles) else (_read(a), _read(b))
        f, truth = _read(f), None if truth is None else _read(truth)
    except UserError as error:
        return _Scored(problem=str(error))
    if not a.shape[:2] == b.shape[:2] == f.shape[:2]:
        told = ", ".join(f"{x.shape[1]} x {x.shape[0]}" for x in (a, b, f))
        return _Scored(problem=f"sizes differ (first, second, fused: {told}); not scored")
    compared = {name for name in names if "t" in METRICS[name].inputs}
    possible = [name for name in names if truth is not None or name not in compared]
    try:
        values = compute(possible, a, b, f, colour=colour, truth=truth)
    except UserError as error:
        return _Scored(problem=str(error))
    used = [a, b, truth] if compared and truth is not None else [a, b]
    return _Scored({name: values.get(name, math.nan) for name in names}, (f.shape[1], f.shape[0]),
                   tuple(pixel_checksum(picture) for picture in used))


def pixel_checksum(picture: np.ndarray) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a picture's size and values, whatever file they came from.

    Args:
        picture: (H, W), (H, W, 1) or (H, W, 3), uint8.
    """
    channels = picture.shape[2] if picture.ndim == 3 else 1
    head = f"{picture.shape[0]} {picture.shape[1]} {channels} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(picture).tobytes()).hexdigest()[:16]


def _read(picture: Picture) -> np.ndarray:
    """(H, W) or (H, W, 1 or 3) uint8."""
    return read_grey_or_rgb(Path(picture)) if isinstance(picture, (str, Path)) else to_8_bit(picture)
