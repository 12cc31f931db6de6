"""The result folder of a fusing run: pictures with the published names, a table and a contact sheet.

    results/<name>/test_images/<stem>_recover.png ...    results/<name>/summary.csv    results/<name>/contact_sheet.png

Pictures are encoded and written by a few threads while the next pair is fused. A pair that cannot be written is
reported and skipped. If no further file can be written, as on a full disk, the run stops with a one-line error. All
writes are atomic.
"""

import contextlib
import csv
import logging
import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from utils.distributed import World, barrier, gather_to_main
from utils.errors import UserError
from utils.files import archive_if_exists, atomic_write, text_cell
from utils.locks import FolderLock
from utils.pictures.metadata import Metadata, result_metadata
from utils.pictures.parts import COMMON, FUSED, SHOWN_INPUTS, UNIQUE1, UNIQUE2, columns, input_parts, is_input
from utils.pictures.picture import Picture, metadata_of, pixels_of
from utils.pictures.writing import write_picture
from utils.plots import MAX_ROWS, ContactSheet, thumbnail

log = logging.getLogger(__name__)

_HEADINGS = ("stem", "width", "height", "bit depth", "channels", "seconds", "pictures", "note")
_THREADS = 2
# Pairs that may wait to be written. A longer queue would only fill the memory if the disk is slower than the model.
_WAITING = 4


class FusionLike(Protocol):
    """The required attributes of a fusion: pictures (H, W) or (H, W, 1 or 3), uint8 or uint16; None if missing."""

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
    pictures: int = 2
    note: str = ""


class ResultFolder:
    """Writes a run's results; a context manager.

        with ResultFolder("results", options.name) as results:
            for pair in pairs:
                results.add(pair.stem, fuse(...), first, second)

    At the end of the block, waits for the last picture and writes `summary.csv` and `contact_sheet.png`. After an
    error, the table is still written for the finished pairs. The folder is locked until then.

    Args:
        root: parent of the result folders; created if missing.
        name: name of the run. An existing folder with this name is archived, never overwritten.
        components: write the common and unique parts.
        inputs: write the sources.
        contact_sheet: write the contact sheet.
        titles: headings of the first two sources on the contact sheet ("infrared", "visible").
        world: place of this process among those that share the pairs; the main process creates the folder and
            writes the table and the contact sheet.
        sources: files that the run reads; a folder that contains one of them is rejected.

    Attributes:
        folder: the result folder.
        archived: new location of an earlier folder with this name.
        failed: stem -> reason, for the pairs that could not be written.

    Raises:
        UserError: the folder cannot be created, contains a source, or is locked by another process.
    """

    def __init__(self, root: str | Path, name: str, *, components: bool = True, inputs: bool = True,
                 contact_sheet: bool = True, titles: tuple[str, str] = ("input 1", "input 2"),
                 world: World | None = None, sources: Iterable[Path] = ()) -> None:
        self.folder = Path(root) / name
        self.pictures = self.folder / "test_images"
        self.archived: Path | None = None
        self.failed: dict[str, str] = {}
        self._components, self._inputs, self._sheet_wanted = components, inputs, contact_sheet
        self._titles = titles
        self._rows: list[Row] = []
        self._futures: list[Future[Row | None]] = []
        self._thumbnails: dict[str, dict[str, np.ndarray]] = {}
        self._room = threading.Semaphore(_WAITING)
        self._failure: UserError | None = None
        self._closed = self._abandoned = False
        self._stems: set[str] = set()
        self._main = world is None or world.main
        self._lock = FolderLock(self.folder)
        if self._main:
            self._make(sources)
        barrier()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="save")

    def _make(self, sources: Iterable[Path]) -> None:
        here = self.folder.resolve()
        for folder in {source.parent for source in sources}:
            if here in (folder.resolve(), *folder.resolve().parents):
                raise UserError(f"{self.folder} holds pictures to fuse ({folder}), results would take its place; "
                                "choose another name or path.results_root")
        self._lock.acquire()
        try:
            self.archived = archive_if_exists(self.folder)
            self.pictures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def __enter__(self) -> "ResultFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            if error is None:
                self.close()
            else:
                self._abandon(error)
        finally:
            self._lock.release()

    def add(self, stem: str, fusion: FusionLike, *sources: Picture | np.ndarray, note: str = "") -> None:
        """Queue a fused scene for writing; blocks only if the queue is full.

        Args:
            stem: base name of the files; unique within a run.
            fusion: the fused picture and, optionally, its components.
            *sources: two or more; arrays are (H, W) or (H, W, 1 or 3), uint8 or uint16. The fused picture inherits
                the metadata of sources given as `Picture`.
            note: remark for the table, such as why the sources are not aligned.

        Raises:
            UserError: no further file can be written.
            ValueError: the stem was used before, or contains a path separator.
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
        parts = dict(zip(input_parts(len(sources)), map(pixels_of, sources)))
        parts |= {COMMON: fusion.common, UNIQUE1: fusion.unique1, UNIQUE2: fusion.unique2, FUSED: fusion.fused}
        inherited = result_metadata(metadata_of(one for one in sources if isinstance(one, Picture)), fusion.fused)
        present = {part: pixels for part, pixels in parts.items() if pixels is not None}
        shown = self._sheet_wanted and len(self._stems) <= MAX_ROWS
        self._futures.append(
            self._pool.submit(self._save, stem, present, inherited, float(fusion.seconds), shown, note))

    def close(self) -> None:
        """Wait for the pictures, then write the table and the contact sheet.

        Raises:
            UserError: a file could not be written; the files that were written are complete.
        """
        if self._closed:
            return
        self._closed = True
        self._pool.shutdown(wait=True)
        self._rows = [row for future in self._futures if (row := future.result()) is not None]
        failure = self._failure
        if failure is None and not self._abandoned:
            self._gather()
        if not self._main:
            if failure is not None:
                raise failure
            return
        try:
            self._write_summary()
            if self._sheet_wanted and failure is None and not self._abandoned:
                self._write_sheet()
        except (OSError, UserError) as error:
            failure = failure or _cannot_write(self.folder, error)
        except Exception as error:
            log.warning("%s: no contact sheet (%s: %s)", self.folder, type(error).__name__, error)
        if failure is not None:
            raise failure

    def _abandon(self, error: BaseException) -> None:
        """Close after an error, without waiting for other processes: keep the finished pairs and the original error."""
        self._abandoned = True
        try:
            self.close()
        except UserError as second:
            if second is not error:
                log.warning("%s", second)

    def _save(self, stem: str, parts: dict[str, np.ndarray], inherited: Metadata, seconds: float,
              shown: bool, note: str) -> Row | None:
        """Write all pictures of a pair or none; runs in a thread of the pool."""
        written: list[Path] = []
        try:
            if self._failure is not None:
                return None
            left_out = [part for part in parts if is_input(part)][SHOWN_INPUTS:]
            small = {part: thumbnail(pixels) for part, pixels in parts.items() if shown and part not in left_out}
            for part, pixels in parts.items():
                if self._wanted(part):
                    path = self.pictures / f"{stem}_{part}.png"
                    written.append(write_picture(path, pixels, inherited if part == FUSED else None))
        except Exception as error:
            with contextlib.suppress(OSError):
                for path in written:
                    path.unlink(missing_ok=True)
            self._note_failure(stem, error)
            return None
        finally:
            self._room.release()
        if small:
            self._thumbnails[stem] = small
        fused = parts[FUSED]
        height, width = fused.shape[:2]
        channels = fused.shape[2] if fused.ndim == 3 else 1
        return Row(stem, width, height, 8 * fused.dtype.itemsize, channels, seconds, sum(map(is_input, parts)),
                   note)

    def _note_failure(self, stem: str, error: Exception) -> None:
        """Skip a pair that cannot be written, or end the run if no other pair can be written either."""
        try:
            if isinstance(error, UserError):
                raise error
            with tempfile.TemporaryFile(dir=self.pictures) as probe:
                probe.write(bytes(4096))
        except (OSError, UserError) as wider:
            self._failure = self._failure or _cannot_write(self.pictures, wider)
        else:
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self.failed[stem] = f"{stem}: results cannot be written ({reason}); skipped"
            log.error("%s", self.failed[stem])

    def _wanted(self, part: str) -> bool:
        if is_input(part):
            return self._inputs
        return self._components or part == FUSED

    def _gather(self) -> None:
        """Collect rows and thumbnails of all processes in the main one; pairs were distributed in turn."""
        parts = gather_to_main((self._rows, self._thumbnails))
        turns = zip_longest(*(rows for rows, _ in parts))
        self._rows = [row for turn in turns for row in turn if row is not None]
        self._thumbnails = {stem: shown for _, thumbnails in parts for stem, shown in thumbnails.items()}

    def _write_summary(self) -> None:
        with atomic_write(self.folder / "summary.csv") as temporary, \
                temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            table = csv.writer(file)
            table.writerow(_HEADINGS)
            for row in self._rows:
                about = row.width, row.height, row.bit_depth, row.channels
                table.writerow((text_cell(row.stem), *about, f"{row.seconds:.4f}", row.pictures,
                                text_cell(row.note)))

    def _write_sheet(self) -> None:
        shown = [row for row in self._rows if row.stem in self._thumbnails][:MAX_ROWS]
        if not shown:
            return
        headings = columns({part for row in shown for part in self._thumbnails[row.stem]}, self._titles)
        sheet = ContactSheet(list(headings.values()), title=self.folder.name)
        for row in shown:
            more = f", {row.pictures} pictures" if row.pictures > 2 else ""
            sheet.add(f"{row.stem}   {row.width} x {row.height}{more}",
                      [self._thumbnails[row.stem].get(part) for part in headings])
        sheet.total = len(self._rows)
        write_picture(self.folder / "contact_sheet.png", sheet.render())


def _cannot_write(folder: Path, error: BaseException) -> UserError:
    """Turn a write error into a one-line message for the user."""
    if isinstance(error, UserError):
        return error
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UserError(f"{folder}: results cannot be written ({reason}); choose another path.results_root or free it")
