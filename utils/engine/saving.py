"""When and how a run saves itself, whatever interrupts it."""

import logging
import time
from pathlib import Path

import torch

from utils.distributed import current_world, is_joined
from utils.engine.checkpoint import CheckpointFolder
from utils.engine.optimisation import TrainingStopped
from utils.engine.snapshot import Progress, Snapshot
from utils.engine.step import Stepper
from utils.errors import UserError

log = logging.getLogger(__name__)

_GO_ON = "go on with --set path.resume_state=latest"


class Saver:
    """Saves the last finished step; only the main process writes.

    Args:
        folder: of the checkpoints.
        parts: what is saved.
        stepper: whose lock keeps a step whole.
        progress: of the run; its ``seconds`` are kept up to date.
        minutes: save when so much time has passed since the last save; None never does.
    """

    def __init__(self, folder: CheckpointFolder, parts: Snapshot, stepper: Stepper, progress: Progress,
                 minutes: float | None) -> None:
        self._folder, self._parts, self._stepper, self._progress = folder, parts, stepper, progress
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
                state = self._parts.capture(progress)
            path = self._folder.save(state, kept_epoch=kept_epoch)
            self._saved, self._moment = (progress.step, path), time.monotonic()
        log.info("saved %s", path)
        return path

    def try_to_save(self, *, kept_epoch: bool = False, must: bool = False) -> None:
        """Saves. A full disk stops the run only at its end: until then room may be made.

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
        """Saves when the option file's minutes are over."""
        if self._minutes and time.monotonic() - self._moment >= 60 * self._minutes:
            self.try_to_save()

    def save_and_tell(self) -> None:
        """The signal thread's part: at any moment, beside the main thread."""
        if not self._active:
            return
        with self._stepper.lock:
            average = self._parts.average
            if average and average.swapped:  # in the middle of a validation
                average.swap()
            path = self.save()
        log.warning("step %d is in %s; %s", self._progress.step, path, _GO_ON)

    def where(self) -> str:
        """The newest checkpoint, in words."""
        newest = self._folder.newest()
        return f"last good checkpoint: {newest}" if newest else "there is no checkpoint yet"

    def explained(self, error: Exception) -> Exception:
        """What a failure from below means for the run; the error itself when it is none that we know.

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
                               f"{self._progress.step}; {self.where()}; {_GO_ON}")


def _known_failure(error: Exception) -> str | None:
    text = str(error)
    first = text.splitlines()[0] if text else ""
    if "DataLoader worker" in text or isinstance(error, (ConnectionError, EOFError)):
        return f"a data loader worker was lost ({first}), often for want of memory"
    if isinstance(error, torch.OutOfMemoryError):
        return "out of GPU memory; lower dataset.train.batch_size and raise train.accumulate"
    if is_joined() and (isinstance(error, torch.distributed.DistError) or "onnection" in text):
        return f"another process of the run was lost ({first})"
    return None
