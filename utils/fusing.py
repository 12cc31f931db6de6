"""One pass over a data set of pairs: read ahead, fuse, hand on."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from utils.errors import UserError

log = logging.getLogger(__name__)

Paths = TypeVar("Paths")
Pair = TypeVar("Pair")
Fused = TypeVar("Fused")


def fuse_all(paths: Sequence[Paths], load: Callable[[Paths], Pair], fuse: Callable[[Pair], Fused],
             keep: Callable[[Pair, Fused], None], *, readers: int = 1, silent: bool = False) -> list[str]:
    """Load, fuse and keep every pair, in order; the next pairs are read while one is fused.

    A pair that cannot be read, or whose two sizes differ, is told and passed over.

    Args:
        paths: where the pairs lie.
        load: reads one; runs in a thread.
        fuse: fuses one.
        keep: takes the pair and its fusion.
        readers: threads that read, each about a pair ahead.
        silent: no progress bar.

    Returns:
        One line for each pair that was passed over.
    """
    readers, failures = max(1, readers), []
    with ThreadPoolExecutor(readers, thread_name_prefix="read") as pool, \
            tqdm(total=len(paths), unit="pair", desc="fuse", disable=silent) as bar:
        waiting = [pool.submit(load, item) for item in paths[:readers]]
        try:
            for index in range(len(paths)):
                future = waiting.pop(0)
                if index + readers < len(paths):
                    waiting.append(pool.submit(load, paths[index + readers]))
                bar.update()
                try:
                    pair = future.result()
                except UserError as error:
                    log.error("%s", error)
                    failures.append(str(error))
                    continue
                keep(pair, fuse(pair))
        finally:
            for future in waiting:
                future.cancel()
    return failures
