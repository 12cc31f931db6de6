"""One pass over a data set of pairs: read ahead, fuse, hand on."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Paths = TypeVar("Paths")
Pair = TypeVar("Pair")
Fused = TypeVar("Fused")


def fuse_all(paths: Sequence[Paths], load: Callable[[Paths], Pair], fuse: Callable[[Pair], Fused],
             keep: Callable[[Pair, Fused], None], *, readers: int = 1, silent: bool = False) -> None:
    """Load, fuse and keep every pair, in order; the next pairs are read while one is fused.

    Args:
        paths: where the pairs lie.
        load: reads one; runs in a thread.
        fuse: fuses one.
        keep: takes the pair and its fusion.
        readers: threads that read, each about a pair ahead.
        silent: no progress bar.
    """
    readers = max(1, readers)
    with ThreadPoolExecutor(readers, thread_name_prefix="read") as pool, \
            tqdm(total=len(paths), unit="pair", desc="fuse", disable=silent) as bar:
        waiting = [pool.submit(load, item) for item in paths[:readers]]
        try:
            for index in range(len(paths)):
                pair = waiting.pop(0).result()
                if index + readers < len(paths):
                    waiting.append(pool.submit(load, paths[index + readers]))
                keep(pair, fuse(pair))
                bar.update()
        finally:
            for future in waiting:
                future.cancel()
