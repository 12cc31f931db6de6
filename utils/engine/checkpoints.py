"""Checkpoint files, and when a run writes them.

Files are written atomically and verified when read; if one is broken, the previous one is used. A file is a plain
``torch.save`` archive with the published keys ``state_dict``, ``optimizers``, ``schedulers`` and ``epoch`` and the
further state that an exact resume needs. The archive's CRC-32 checksums are verified before it is read, which detects
truncated and corrupted files.
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
    """An existing file cannot be used: truncated, corrupted, or not a checkpoint."""


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically.

    Args:
        state: tensors, numbers, strings, and lists, tuples and dicts of these.
        path: the final name.

    Raises:
        UserError: the disk is full. No partial file is left, and older checkpoints are unchanged.
    """
    with atomic_write(path) as temporary:
        torch.save(state, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Verify a checkpoint and load it to the CPU.

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
        # The reader raises many types of errors on corrupted bytes; all mean the same here.
        raise BrokenCheckpoint(f"cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict):
        raise BrokenCheckpoint(f"holds a {type(state).__name__}: not a checkpoint of a training run")
    lacking = [key for key, kind in _NEEDED.items() if not isinstance(state.get(key), kind)]
    if lacking or not all(isinstance(value, Tensor) for value in state["state_dict"].values()):
        raise BrokenCheckpoint(f"lacks {', '.join(lacking) or 'tensors'}: not a checkpoint of a training run")
    return state


class CheckpointFolder:
    """The checkpoints of one run: ``step-00001234.pt``, or ``step-00001234-epoch-0002.pt`` at a kept epoch.

    Args:
        folder: location; created by the first save.
        keep: number of newest checkpoints to keep. Those of kept epochs are never removed.
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
        """The newest checkpoint, not verified; None if there is none."""
        return next(iter(self.paths()), None)

    def save(self, state: dict[str, Any], *, kept_epoch: bool = False) -> Path:
        """Write ``state``, point ``latest.pt`` at it and remove old checkpoints.

        Args:
            state: includes the keys ``step`` and ``epoch``.
            kept_epoch: never remove this checkpoint.

        Returns:
            The path of the file.
        """
        suffix = f"-epoch-{state['epoch']:04d}" if kept_epoch else ""
        path = self.folder / f"step-{state['step']:08d}{suffix}.pt"
        write_checkpoint(state, path)
        if kept_epoch:  # replaces a checkpoint of the same step that was due by time or caused by a signal
            (self.folder / f"step-{state['step']:08d}.pt").unlink(missing_ok=True)
        self._point_latest(path)
        self._rotate()
        return path

    def load(self, which: str) -> tuple[dict[str, Any], Path] | None:
        """Load the checkpoint named by ``path.resume_state``, or an earlier one if it is broken.

        Args:
            which: ``latest``, or a file.

        Returns:
            The state and its file; None if ``which`` is ``latest`` and nothing has been saved.

        Raises:
            MissingFileError: the file does not exist.
            UserError: neither this nor any earlier checkpoint can be read.
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
                        "start a new run (leave path.resume_state out) or give another file")

    def remove_leftovers(self) -> None:
        """Remove temporary files of a process that was killed while writing."""
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
        """Update ``latest.pt``, a convenience for people and other tools; resuming does not use it."""
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
    """Saves the last finished step. Only the main process writes.

    Args:
        folder: the checkpoints.
        state: the state to save.
        stepper: its lock prevents saving in the middle of an update.
        progress: progress of the run; its ``seconds`` are updated.
        minutes: save after this much time since the last save; None disables this.
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
        """Training time so far, including earlier starts."""
        return time.monotonic() - self._started

    def save(self, *, kept_epoch: bool = False) -> Path:
        """Write a checkpoint of the last finished step, unless it exists already.

        Raises:
            TrainingStopped: non-finite numbers have occurred.
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
        """Save, tolerating a full disk until the end of the run, since space may be freed before then.

        Args:
            kept_epoch: never remove the checkpoint.
            must: raise an error if saving fails, as at the end of the run.

        Raises:
            TrainingStopped: non-finite numbers, or saving failed with ``must``.
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
            log.error("checkpoint not saved: %s; %s; training continues", error, self.where())

    def save_when_due(self) -> None:
        """Save if the interval given in the option file has passed."""
        if self._minutes and time.monotonic() - self._moment >= 60 * self._minutes:
            self.try_to_save()

    def save_and_tell(self) -> None:
        """Save and log where. Called from the signal thread at any time, concurrently with the main thread."""
        if not self._active:
            return
        path = self.save()
        log.warning("step %d is in %s; %s", self._progress.step, path, _RESUME)

    def where(self) -> str:
        """Description of the newest checkpoint, for messages."""
        newest = self._folder.newest()
        return f"last good checkpoint: {newest}" if newest else "there is no checkpoint yet"

    def explained(self, error: Exception) -> Exception:
        """Convert a known failure to `TrainingStopped`; return any other error unchanged.

        Saves the last finished step first, if the failure left it intact.
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
