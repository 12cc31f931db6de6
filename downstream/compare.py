"""Train and score the rows of a table with several seeds, and write its report.

    python -m downstream.compare -opt option/downstream/Compare_MSRS.yaml
    python -m downstream.compare -opt ... --report       # only the report of the finished runs

Finished runs are kept: the same command continues after any stop, run by run, and a run that was stopped continues at
its checkpoint. A run whose options or weights have changed is made again. Several processes may work on one table: each
takes the next free run.
"""

if __name__ == "__main__":
    from utils.cli import leave_at_once_when_stopped
    leave_at_once_when_stopped()  # while the libraries below load

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from data.caches import MemoryCache
from data.labelled import LabelledFolder
from data.loading import OrderedLoader
from downstream.evaluate import trained_network
from downstream.records import Record, found_in, read_record, write_record
from downstream.report import write_comparison
from downstream.rows import Run, make_pictures, record_path, results_of, runs_of
from downstream.sets import scored_set, training_set
from downstream.train import batches_of, build_task
from option.load import argument_parser, options_from_arguments
from option.schema import Options
from utils.cli import run
from utils.distributed import choose_device
from utils.engine.checkpoints import CheckpointFolder
from utils.engine.launch import train
from utils.errors import UserError
from utils.locks import FolderLock
from utils.logging import set_up_logging
from utils.version import provenance_of

log = logging.getLogger(__name__)


class Sets:
    """The sets of the rows, checked once and, with ``dataset.train.cache: ram``, decoded once for all seeds."""

    def __init__(self) -> None:
        self._training: dict[str, Any] = {}
        self._scored: dict[str, LabelledFolder] = {}

    def check(self, one: Run) -> None:
        """Find and check the scenes of a row.

        Raises:
            UserError: bad labels or missing files; lists them.
        """
        if one.row not in self._scored:
            self._training[one.row] = training_set(one.options)
            self._scored[one.row] = scored_set(one.options, "test")

    def loader(self, one: Run) -> Callable[..., OrderedLoader]:
        """A function that builds the batches of a run, for ``utils.engine.launch.train``."""
        source = self._training[one.row]
        if one.options.dataset.train.cache == "ram" and not isinstance(source, MemoryCache):
            source = self._training[one.row] = MemoryCache(source, show=False)

        def build(options: Options, *, seed: int, rank: int, world: int, device: torch.device, **_: Any
                  ) -> OrderedLoader:
            return batches_of(source, options, seed=seed, rank=rank, world=world, device=device)

        return build

    def scored(self, one: Run) -> LabelledFolder:
        """The test scenes of a run."""
        return self._scored[one.row]


def make_run(options: Options, one: Run, sets: Sets) -> Record:
    """Train a row with a seed from the start or its newest checkpoint, score it, and write its record.

    The checkpoints are removed afterwards: they take 40 MB and more for each run.
    """
    start, own = time.perf_counter(), one.options
    checkpoints = Path(own.path.experiments_root) / own.name / "checkpoints"
    if CheckpointFolder(checkpoints).newest():
        own = own.model_copy(update={"path": own.path.model_copy(update={"resume_state": "latest"})})
    summary = train(own, build_task, sets.loader(one))
    device = choose_device(own.device)
    model, _ = trained_network(own)
    path, settings = record_path(options, one), own.downstream
    found = found_in(model.to(device), sets.scored(one), len(settings.classes), device, amp=own.train.amp,
                     maps=path.with_suffix(""))
    about = {"digest": one.digest, "row": one.row, "seed": one.seed, **one.origin,
             **provenance_of(own, model=settings.input, weights=None, device=str(device)), "steps": summary.steps,
             "seconds": round(time.perf_counter() - start, 1)}
    record = Record(about, found)
    write_record(record, path)
    shutil.rmtree(checkpoints)
    return record


def make_runs(options: Options) -> None:
    """Make all runs that have no record yet and that no other process is making.

    Raises:
        UserError: bad options, labels or pictures, before the first run starts.
    """
    runs, rows, sets = runs_of(options), options.downstream.compare.rows, Sets()
    todo = [one for one in runs if not is_done(options, one)]
    log.info("%s: %d of %d runs to make", results_of(options), len(todo), len(runs))
    for one in todo:
        if not rows[one.row].fuse:
            sets.check(one)
    for number, one in enumerate(todo, 1):
        with claimed(record_path(options, one).with_suffix("")) as free:
            if not free or is_done(options, one):
                continue
            if rows[one.row].fuse:
                make_pictures(options, rows[one.row].fuse)
                sets.check(one)
            record = make_run(options, one, sets)
        set_up_logging()
        log.info("run %d of %d, %s with seed %d: %.0f s", number, len(todo), one.row, one.seed,
                 record.about["seconds"])


def is_done(options: Options, one: Run) -> bool:
    """Whether a run has its record."""
    return read_record(record_path(options, one), one.digest) is not None


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Whether this process got the lock on a run, which it then holds in the block."""
    lock = FolderLock(folder)
    try:
        lock.acquire()
    except UserError as taken:
        log.info("skipped: %s", taken)
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def main(arguments: list[str]) -> None:
    """Read the options, make the missing runs, and write the report."""
    parser = argument_parser(__doc__)
    parser.add_argument("--report", action="store_true", help="make no run; report the finished ones")
    given = parser.parse_args(arguments)
    options = options_from_arguments(given)
    set_up_logging()
    if given.report:
        log.info("report: %s", write_comparison(options))
        return
    make_runs(options)
    log.info("report: %s", write_comparison(options))


if __name__ == "__main__":
    run(main)
