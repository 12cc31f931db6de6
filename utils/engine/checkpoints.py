"""Checkpoint files, and when a run writes them: whole or not there, checked when read, with the one before to fall
back on.

A file is a plain ``torch.save`` archive. It holds the published keys ``state_dict``, ``optimizers``,
``schedulers`` and ``epoch`` and what an exact resume needs besides. The archive's own CRC-32 sums are verified
before it is read, so that a truncated or corrupted file is told from a whole one.
"""

import logging
import os
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.distributed import current_world, is_joined
from utils.engine.state import Progress, State
from utils.engine.step import Stepper, TrainingStopped
from utils.errors import MissingFileError, UserError
from utils.files import atomic_write

log = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d+)(-epoch-\d+)?\.pt")
_NEEDED = {"state_dict": dict, "optimizers": list, "schedulers": list, "epoch": int, "step": int}
_RESUME = "resume with --set path.resume_state=latest"


class BrokenCheckpoint(Exception):
    """A file that is there and cannot be used: truncated, corrupted, or no checkpoint at all."""


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Writes one checkpoint beside ``path`` and renames it.

    Args:
        state: tensors, numbers, strings, and lists, tuples and dicts of these.
        path: the final name.

    Raises:
        UserError: the disk is full. No part of the file is left and older checkpoints are untouched.
    """
    with atomic_write(path) as temporary:
        torch.save(state, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads and verifies one checkpoint, onto the CPU.

    Raises:
        MissingFileError: no such file.
        BrokenCheckpoint: the file is truncated, corrupted or lacks keys.
    """
    if not path.is_file():
        raise MissingFileError(f"checkpoint {path} is not there; give path.resume_state another file, or latest")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise BrokenCheckpoint(f"truncated or no checkpoint ({error})") from error
    if damaged:
        raise BrokenCheckpoint(f"corrupted (checksum of {damaged} is wrong)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # The reader raises whatever the bytes lead it to; all of it means the same here.
        raise BrokenCheckpoint(f"cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict):
        raise BrokenCheckpoint(f"holds a {type(state).__name__}: not a checkpoint of a training run")
    lacking = [key for key, kind in _NEEDED.items() if not isinstance(state.get(key), kind)]
    if lacking or not all(isinstance(value, Tensor) for value in state["state_dict"].values()):
        raise BrokenCheckpoint(f"lacks {', '.join(lacking) or 'tensors'}: not a checkpoint of a training run")
    return state


class CheckpointFolder:
    """The checkpoints of one run, ``step-00001234.pt`` or, at a kept epoch, ``step-00001234-epoch-0002.pt``.

    Args:
        folder: where they are; made on the first save.
        keep: how many of the newest stay. Those of kept epochs stay all.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self._keep = max(1, keep)

    def paths(self) -> list[Path]:
        """All checkpoints, newest (most steps) first."""
        found = [(int(match[1]), path) for path in self.folder.glob("step-*.pt")
                 if (match := _NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found, key=lambda item: (item[0], item[1].name), reverse=True)]

    def newest(self) -> Path | None:
        """The newest checkpoint, unverified; None when there is none."""
        return next(iter(self.paths()), None)

    def save(self, state: dict[str, Any], *, kept_epoch: bool = False) -> Path:
        """Writes ``state``, points ``latest.pt`` at it and removes what is older than the newest few.

        Args:
            state: with the keys ``step`` and ``epoch``.
            kept_epoch: this one stays for good.

        Returns:
            The file.
        """
        suffix = f"-epoch-{state['epoch']:04d}" if kept_epoch else ""
        path = self.folder / f"step-{state['step']:08d}{suffix}.pt"
        write_checkpoint(state, path)
        if kept_epoch:  # it replaces one that the clock or a signal asked for at the same step
            (self.folder / f"step-{state['step']:08d}.pt").unlink(missing_ok=True)
        self._point_latest(path)
        self._rotate()
        return path

    def load(self, which: str) -> tuple[dict[str, Any], Path] | None:
        """Reads the checkpoint that ``path.resume_state`` names, or the one before it when it is broken.

        Args:
            which: ``latest``, or a file.

        Returns:
            The state and its file; None when ``latest`` is asked for and nothing was saved yet.

        Raises:
            MissingFileError: the file is not there.
            UserError: neither it nor any checkpoint before it can be read.
        """
        tried: list[Path] = []
        for path in self._candidates(which):
            tried.append(path)
            try:
                state = read_checkpoint(path)
            except BrokenCheckpoint as error:
                log.warning("checkpoint %s is broken: %s; trying the one before it", path, error)
                continue
            return state, path
        if not tried:
            return None
        raise UserError(f"no readable checkpoint: {', '.join(map(str, tried))}; "
                        "start anew (leave path.resume_state out) or give another file")

    def remove_leftovers(self) -> None:
        """Removes the temporary files of a process that was killed while it wrote."""
        for path in self.folder.glob(".step-*.tmp"):
            log.info("removed %s, left by a write that was cut off", path.name)
            path.unlink(missing_ok=True)

    def _candidates(self, which: str) -> Iterator[Path]:
        if which == "latest":
            yield from self.paths()
            return
        chosen = Path(which)
        yield chosen
        match = _NAME.fullmatch(chosen.resolve().name)
        for path in CheckpointFolder(chosen.resolve().parent).paths() if match else []:
            if int(_NAME.fullmatch(path.name)[1]) < int(match[1]):
                yield path

    def _point_latest(self, path: Path) -> None:
        """``latest.pt`` is for people and other tools; resuming looks at the files themselves."""
        link, temporary = self.folder / "latest.pt", self.folder / ".latest.tmp"
        try:
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(path.name)
            os.replace(temporary, link)
        except OSError as error:
            log.debug("no link latest.pt (%s)", error)

    def _rotate(self) -> None:
        for path in self.paths()[self._keep:]:
            if "-epoch-" not in path.name:
                path.unlink(missing_ok=True)


class Saver:
    """Saves the last finished step; only the main process writes.

    Args:
        folder: of the checkpoints.
        state: what is saved.
        stepper: whose lock keeps a step whole.
        progress: of the run; its ``seconds`` are kept up to date.
        minutes: save when so much time has passed since the last save; None never does.
    """

    def __init__(self, folder: CheckpointFolder, state: State, stepper: Stepper, progress: Progress,
                 minutes: float | None) -> None:
        self._folder, self._state, self._stepper, self._progress = folder, state, stepper, progress
        self._minutes = minutes
        self._active = current_world().main
        self._started = time.monotonic() - progress.seconds
        self._moment = time.monotonic()
        self._saved: tuple[int, Path] | None = None
        if self._active:
            folder.remove_leftovers()

    @property
    def seconds(self) -> float:
        """Time in training so far, earlier starts included."""
        return time.monotonic() - self._started

    def save(self, *, kept_epoch: bool = False) -> Path:
        """Writes a checkpoint of the last finished step, unless there is one.

        Raises:
            TrainingStopped: the run has met non-finite numbers.
            UserError: the disk is full.
        """
        progress = self._progress
        with self._stepper.lock:
            if self._saved is not None and self._saved[0] == progress.step and not kept_epoch:
                return self._saved[1]
            with self._stepper.last_step():
                self._stepper.stop_if_bad(progress)
                progress.seconds = self.seconds
                contents = self._state.capture(progress)
            path = self._folder.save(contents, kept_epoch=kept_epoch)
            self._saved, self._moment = (progress.step, path), time.monotonic()
        log.info("saved %s", path)
        return path

    def try_to_save(self, *, kept_epoch: bool = False, must: bool = False) -> None:
        """Saves. A full disk stops the run only at its end: until then space may be freed.

        Args:
            kept_epoch: the checkpoint stays for good.
            must: this is the last chance.

        Raises:
            TrainingStopped: non-finite numbers, or the last save failed.
        """
        if not self._active:
            return
        try:
            self.save(kept_epoch=kept_epoch)
        except TrainingStopped:
            raise
        except (UserError, OSError) as error:
            if must:
                raise TrainingStopped(f"the last checkpoint could not be saved: {error}") from error
            self._moment = time.monotonic()
            log.error("checkpoint not saved: %s; %s; training goes on", error, self.where())

    def save_when_due(self) -> None:
        """Saves when the option file's minutes have passed."""
        if self._minutes and time.monotonic() - self._moment >= 60 * self._minutes:
            self.try_to_save()

    def save_and_tell(self) -> None:
        """Saves from the signal thread, at any moment, beside the main thread."""
        if not self._active:
            return
        path = self.save()
        log.warning("step %d is in %s; %s", self._progress.step, path, _RESUME)

    def where(self) -> str:
        """The newest checkpoint, in words."""
        newest = self._folder.newest()
        return f"last good checkpoint: {newest}" if newest else "there is no checkpoint yet"

    def explained(self, error: Exception) -> Exception:
        """The error that ends the run for a known failure; any other error unchanged.

        The last finished step is saved first, if the failure left it whole.
        """
        if isinstance(error, TrainingStopped):
            return TrainingStopped(f"training stopped: {error}; {self.where()}")
        what = _known_failure(error)
        if what is None:
            return error
        if not self._stepper.updating:
            self.try_to_save()
        return TrainingStopped(f"training stopped: {what}, at epoch {self._progress.epoch + 1}, step "
                               f"{self._progress.step}; {self.where()}; {_RESUME}")


def _known_failure(error: Exception) -> str | None:
    text = str(error)
    first = text.splitlines()[0] if text else ""
    if "DataLoader worker" in text or isinstance(error, (ConnectionError, EOFError)):
        return f"a data loader worker was lost ({first}), often for lack of memory"
    if isinstance(error, torch.OutOfMemoryError):
        return "out of GPU memory; lower dataset.train.batch_size and raise train.accumulate"
    if is_joined() and (isinstance(error, torch.distributed.DistError) or "onnection" in text):
        return f"another process of the run was lost ({first})"
    return None
