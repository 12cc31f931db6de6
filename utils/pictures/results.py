"""The folder that a fusing run leaves behind: pictures under the published names, a table, a contact sheet.

    results/<name>/test_images/<stem>_recover.png ...    results/<name>/summary.csv    results/<name>/contact_sheet.png

Pictures are encoded and written by a few threads while the next pair is fused. A run that cannot write stops with
one line; every file has its final name only when it is whole.
"""

import csv
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from utils.distributed import World, barrier, gather_to_main
from utils.errors import UserError
from utils.files import archive_if_exists, atomic_write
from utils.pictures.writing import write_picture
from utils.plots import MAX_ROWS, ContactSheet, thumbnail

log = logging.getLogger(__name__)

FUSED, COMMON, UNIQUE1, UNIQUE2, INPUT1, INPUT2 = "recover", "common", "upper", "lower", "over", "under"

_COLUMNS = {INPUT1: "input 1", INPUT2: "input 2", COMMON: "common", UNIQUE1: "unique 1", UNIQUE2: "unique 2",
            FUSED: "fused"}
_HEADINGS = ("stem", "width", "height", "bit depth", "channels", "seconds")
_THREADS = 2
# Pairs that may wait to be written: more would only fill the memory when the disk is slower than the model.
_WAITING = 4


class FusionLike(Protocol):
    """What a fused pair must offer: pictures (H, W) or (H, W, 1 or 3), uint8 or uint16, None where missing."""

    @property
    def fused(self) -> np.ndarray: ...
    @property
    def common(self) -> np.ndarray | None: ...
    @property
    def unique1(self) -> np.ndarray | None: ...
    @property
    def unique2(self) -> np.ndarray | None: ...
    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True)
class Row:
    """One line of `summary.csv`."""

    stem: str
    width: int
    height: int
    bit_depth: int
    channels: int
    seconds: float


class ResultFolder:
    """Writes a run's results; a context manager.

        with ResultFolder("results", options.name) as results:
            for pair in pairs:
                results.add(pair.stem, fuse(...), first, second)

    Leaving the block waits for the last picture, then writes `summary.csv` and `contact_sheet.png`. When the block
    is left by an error, the table is still written for the pairs that are there.

    Args:
        root: where result folders lie; made if missing.
        name: the run's name. An existing folder of that name is moved aside, never overwritten.
        components: write the common and unique parts.
        inputs: write the two sources.
        contact_sheet: make the contact sheet.
        titles: headings of the two sources on the contact sheet ("infrared", "visible").
        world: this process among those that share the pairs; the main one makes the folder and writes what is
            about all pairs.

    Raises:
        UserError: the folder cannot be made, or holds no room.
    """

    def __init__(self, root: str | Path, name: str, *, components: bool = True, inputs: bool = True,
                 contact_sheet: bool = True, titles: tuple[str, str] = ("input 1", "input 2"),
                 world: World | None = None) -> None:
        self.folder = Path(root) / name
        self.pictures = self.folder / "test_images"
        self._components, self._inputs, self._sheet_wanted = components, inputs, contact_sheet
        self._titles = {**_COLUMNS, INPUT1: titles[0], INPUT2: titles[1]}
        self._rows: list[Row] = []
        self._futures: list[Future[Row]] = []
        self._thumbnails: dict[str, dict[str, np.ndarray]] = {}
        self._room = threading.Semaphore(_WAITING)
        self._failure: BaseException | None = None
        self._closed = False
        self._stems: set[str] = set()
        self._main = world is None or world.main
        self.archived: Path | None = None
        if self._main:
            self._make()
        barrier()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="save")

    def _make(self) -> None:
        try:
            self.archived = archive_if_exists(self.folder)
            self.pictures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def __enter__(self) -> "ResultFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self._abandon(error)

    def add(self, stem: str, fusion: FusionLike, first: np.ndarray, second: np.ndarray) -> None:
        """Hand over a fused pair; returns before it is written, unless several are waiting already.

        Args:
            stem: names the files; once a run.
            fusion: the fused picture and what else there is.
            first, second: the sources, (H, W) or (H, W, 1 or 3), uint8 or uint16.

        Raises:
            UserError: an earlier picture could not be written.
            ValueError: the stem was used before, or holds a path separator.
        """
        if self._closed:
            raise RuntimeError("ResultFolder.add after close: open a new folder")
        if stem in self._stems or Path(stem).name != stem:
            raise ValueError(f"result {stem!r}: a stem is a plain name, used once a run")
        self._stems.add(stem)
        self._room.acquire()
        if self._failure is not None:
            self._room.release()
            raise self._failure
        parts = {INPUT1: first, INPUT2: second, COMMON: fusion.common, UNIQUE1: fusion.unique1,
                 UNIQUE2: fusion.unique2, FUSED: fusion.fused}
        present = {part: pixels for part, pixels in parts.items() if pixels is not None}
        shown = self._sheet_wanted and len(self._stems) <= MAX_ROWS
        self._futures.append(self._pool.submit(self._save, stem, present, float(fusion.seconds), shown))

    def close(self) -> None:
        """Wait for the pictures, then write the table and the contact sheet.

        Raises:
            UserError: something could not be written; what was written is whole.
        """
        if self._closed:
            return
        self._closed = True
        self._pool.shutdown(wait=True)
        self._rows = [future.result() for future in self._futures if future.exception() is None]
        failure = self._failure
        if failure is None:
            self._gather()
        if not self._main:
            if failure is not None:
                raise failure
            return
        try:
            self._write_summary()
            if self._sheet_wanted and failure is None:
                self._write_sheet()
        except (OSError, UserError) as error:
            failure = failure or _cannot_write(self.folder, error)
        if failure is not None:
            raise failure

    def _abandon(self, error: BaseException) -> None:
        """Close after an error: keep what is there, and do not hide the error behind a second one."""
        self._sheet_wanted = False
        try:
            self.close()
        except UserError as second:
            if second is not error:
                log.warning("%s", second)

    def _save(self, stem: str, parts: dict[str, np.ndarray], seconds: float, shown: bool) -> Row:
        """Write one pair's pictures, all or none; runs in a thread of the pool."""
        written: list[Path] = []
        try:
            if self._failure is not None:
                raise self._failure
            for part, pixels in parts.items():
                if self._wanted(part):
                    written.append(write_picture(self.pictures / f"{stem}_{part}.png", pixels))
            if shown:
                self._thumbnails[stem] = {part: thumbnail(pixels) for part, pixels in parts.items()}
        except BaseException as error:
            for path in written:
                path.unlink(missing_ok=True)
            if self._failure is None:
                self._failure = _cannot_write(self.pictures, error) if isinstance(error, OSError) else error
            raise
        finally:
            self._room.release()
        fused = parts[FUSED]
        height, width = fused.shape[:2]
        channels = fused.shape[2] if fused.ndim == 3 else 1
        return Row(stem, width, height, 8 * fused.dtype.itemsize, channels, seconds)

    def _wanted(self, part: str) -> bool:
        if part in (INPUT1, INPUT2):
            return self._inputs
        return self._components or part == FUSED

    def _gather(self) -> None:
        """Bring the rows and thumbnails of all processes, which took the pairs in turn, to the main one."""
        parts = gather_to_main((self._rows, self._thumbnails))
        turns = zip_longest(*(rows for rows, _ in parts))
        self._rows = [row for turn in turns for row in turn if row is not None]
        self._thumbnails = {stem: shown for _, thumbnails in parts for stem, shown in thumbnails.items()}

    def _write_summary(self) -> None:
        with atomic_write(self.folder / "summary.csv") as temporary, \
                temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(_HEADINGS)
            for row in self._rows:
                table.writerow((row.stem, row.width, row.height, row.bit_depth, row.channels, f"{row.seconds:.4f}"))

    def _write_sheet(self) -> None:
        shown = [row for row in self._rows if row.stem in self._thumbnails][:MAX_ROWS]
        if not shown:
            return
        parts = [part for part in _COLUMNS if any(part in self._thumbnails[row.stem] for row in shown)]
        sheet = ContactSheet([self._titles[part] for part in parts], title=self.folder.name)
        for row in shown:
            sheet.add(f"{row.stem}   {row.width} x {row.height}", [self._thumbnails[row.stem].get(p) for p in parts])
        sheet.total = len(self._rows)
        write_picture(self.folder / "contact_sheet.png", sheet.render())


def _cannot_write(folder: Path, error: BaseException) -> UserError:
    """A failure to write as one line for the user."""
    if isinstance(error, UserError):
        return error
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UserError(f"{folder}: results cannot be written ({reason}); choose another path.results_root or free it")
