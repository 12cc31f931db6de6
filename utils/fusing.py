"""Fuses a data set of pairs: opens the result folder, processes the pairs and reports failures."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from tqdm import tqdm

from option.schema import Options
from utils.cli import finishing
from utils.distributed import World, gather_to_main
from utils.errors import UserError
from utils.pictures.pairs import PairList
from utils.pictures.results import ResultFolder

log = logging.getLogger(__name__)

_TITLES = {"IVF": ("infrared", "visible"), "MEF": ("over", "under"), "MFF": ("near", "far")}


class Named(Protocol):
    """The location of a pair, with its name."""

    @property
    def stem(self) -> str: ...


Paths = TypeVar("Paths", bound=Named)
Pair = TypeVar("Pair")
Fused = TypeVar("Fused")


@dataclass
class Pass:
    """The outcome of a pass over the pairs.

    Attributes:
        failed: stem -> reason, for the pairs that were skipped.
        doubtful: stem -> reason, for the pairs that were fused but should be checked.
        stopped: the Ctrl-C or signal that ended the pass early.
    """

    failed: dict[str, str] = field(default_factory=dict)
    doubtful: dict[str, str] = field(default_factory=dict)
    stopped: KeyboardInterrupt | None = None

    def remarks(self) -> dict[str, list[str]]:
        """The pairs of all processes that should be checked, for the record of the scores; empty if there are none."""
        stems = sorted(stem for part in gather_to_main(self.doubtful) for stem in part)
        return {"fused unaligned": stems} if stems else {}

    def conclude(self, unwritten: Mapping[str, str], folder: Path, *, total: int) -> None:
        """Log where the results are, and raise an error if pairs are missing.

        Args:
            unwritten: stem -> reason, for the pairs that were fused but not written.
            folder: the result folder.
            total: number of pairs.

        Raises:
            KeyboardInterrupt: the pass was stopped.
            UserError: pairs were skipped, or fused without the alignment that was asked for.
        """
        if self.stopped is not None:
            log.warning("stopped: %s holds the pairs that were done", folder)
            raise self.stopped
        failed = {**self.failed, **unwritten}
        if failed:
            raise UserError(f"{len(failed)} of {total} pairs could not be fused (named above); "
                            f"the others are in {folder}")
        if self.doubtful:
            raise UserError(f"{len(self.doubtful)} of {total} pairs were fused as they lie (named above), with the "
                            f"others in {folder}; align; register them first, or keep a map of the rig (align_map)")
        log.info("%d of %d pairs fused: %s", total, total, folder)


def open_results(options: Options, found: PairList, world: World) -> ResultFolder:
    """Open the result folder of a run; call it after all other options are checked, as it archives an older folder.

    Logs the parts of the data set that are not used.

    Raises:
        UserError: see `ResultFolder`.
    """
    for line in [*found.problems, *found.notes]:
        log.warning("%s", line)
    if not found.stacks and any(pair.others for pair in found.pairs):
        log.warning("%s: extremes leaves pictures out (named above); all fuses every one",
                    options.at("dataset.test.stack"))
    if options.save.report and options.metrics == "none":
        log.warning("%s: a report shows scores and metrics is none; no report is written", options.at("save.report"))
    save = options.save
    return ResultFolder(options.path.results_root, options.name, components=save.components, inputs=save.inputs,
                        contact_sheet=save.contact_sheet, titles=_TITLES[found.task], world=world,
                        sources=[path for pair in found.pairs for path in found.sources(pair)])


def fuse_all(paths: Sequence[Paths], load: Callable[[Paths], Pair], fuse: Callable[[Pair], Fused],
             keep: Callable[[Pair, Fused], None], *, readers: int = 1, silent: bool = False,
             doubts: Callable[[Pair], Sequence[str]] = lambda _: ()) -> Pass:
    """Load, fuse and keep all pairs in order; the next pairs are read while one is fused.

    A pair that cannot be read or fused is logged and skipped, whatever the reason. Ctrl-C ends the pass and is
    returned, so that the caller can record the finished pairs before raising it.

    Args:
        paths: locations of the pairs.
        load: reads one pair; runs in a thread.
        fuse: fuses one pair.
        keep: receives the pair and its fusion. An exception in it ends the pass.
        readers: reader threads, each about one pair ahead.
        silent: no progress bar.
        doubts: lines about a loaded pair that is fused nevertheless; logged, and kept in ``Pass.doubtful``.
    """
    readers, result = max(1, readers), Pass()
    with ThreadPoolExecutor(readers, thread_name_prefix="read") as pool, \
            tqdm(total=len(paths), unit="pair", desc="fuse", disable=silent) as bar:
        waiting = [pool.submit(load, item) for item in paths[:readers]]
        try:
            for index, item in enumerate(paths):
                future = waiting.pop(0)
                if index + readers < len(paths):
                    waiting.append(pool.submit(load, paths[index + readers]))
                bar.update()
                try:
                    pair = future.result()
                    for line in doubts(pair):
                        log.warning("%s", line)
                        result.doubtful[item.stem] = line
                    fusion = fuse(pair)
                except Exception as error:
                    result.failed[item.stem] = _told(item.stem, error)
                    continue
                with finishing():  # a pair is kept as a whole: its pictures and its scores
                    keep(pair, fusion)
        except KeyboardInterrupt as stop:
            result.stopped = stop
        finally:
            for future in waiting:
                future.cancel()
    return result


def _told(stem: str, error: Exception) -> str:
    """Log why a pair is skipped, with a traceback unless it is a user's mistake."""
    if isinstance(error, UserError):
        line = str(error)
        log.error("%s", line)
    else:
        line = f"{stem}: could not be fused ({type(error).__name__}: {error})"
        log.error("%s; skipped", line, exc_info=error)
    return line
