"""Records a run: log lines, ``history.jsonl``, TensorBoard, progress bar and timing of the phases of a step."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.utils import make_grid
from tqdm import tqdm

from utils.distributed import current_world, sum_over_processes
from utils.engine.state import TOTAL, Progress
from utils.files import atomic_write
from utils.memory import memory_in_use

PHASES = ("data", "forward", "backward", "optimiser")

log = logging.getLogger(__name__)


class Record:
    """Writes the numbers and pictures of a run, in the main process only.

    If the disk is full or a drive is lost, lines are dropped with one warning; the run continues.

    Args:
        run_dir: folder for ``history.jsonl`` (one line for each log line and validation) and ``tb/``.
        progress: start of the run; recorded lines of later steps are removed, because those steps are repeated.
        total: optimiser steps of the whole run.
        device: training device; its memory use is recorded.
        tensorboard: write TensorBoard files.
    """

    def __init__(self, run_dir: Path, progress: Progress, *, total: int, device: torch.device,
                 tensorboard: bool) -> None:
        step, active = progress.step, current_world().main
        self._active, self._total, self._device = active, total, device
        self.restart_clock(progress)
        self._history = run_dir / "history.jsonl"
        self._writer: Any = None
        self._complained = False
        self._bar = tqdm(total=total, initial=step, unit="step", dynamic_ncols=True, disable=None if active else True)
        if not active:
            return
        run_dir.mkdir(parents=True, exist_ok=True)
        self._guarded(self._drop_after, step)
        if tensorboard:
            self._guarded(self._open_writer, run_dir / "tb", step)

    def _open_writer(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed only for training

        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def _drop_after(self, step: int) -> None:
        """Keep the lines up to ``step``; also drop a line truncated by a crash."""
        if not self._history.exists():
            return
        kept = [line for line in self._history.read_text().splitlines() if _step_of(line) <= step]
        with atomic_write(self._history) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))

    def advance(self) -> None:
        """Advance the progress bar by one step."""
        self._bar.update()

    def restart_clock(self, progress: Progress) -> None:
        """Restart the measurement of speed; called after validations and saves, which do not count as training."""
        self._moment, self._step, self._images = time.monotonic(), progress.step, progress.images

    def line(self, names: list[str], means: Tensor, progress: Progress, rate: float) -> dict[str, float]:
        """Write a log line.

        Args:
            names: names of the K loss terms.
            means: (K + 1,) this process's means since the last line; the gradient norm comes last.
            progress: progress of the run.
            rate: learning rate.

        Returns:
            Means over all processes by name, and ``grad_norm``.
        """
        everywhere = sum_over_processes(means) / current_world().size
        losses = dict(zip([*names, "grad_norm"], everywhere.tolist()))
        spent = max(time.monotonic() - self._moment, 1e-9)
        speed = (progress.images - self._images) / spent
        left = (self._total - progress.step) * spent / max(progress.step - self._step, 1)
        self.restart_clock(progress)
        self._bar.set_postfix(loss=f"{losses[TOTAL]:.4g}", images_s=f"{speed:.1f}", refresh=False)
        self.scalars(progress.step, {
            **losses, "lr": rate, "images_per_second": speed, "images": progress.images,
            "memory_mb": memory_in_use(self._device) / 2**20})
        named = ", ".join(f"{name.removeprefix('self_supervised_')} {value:.5g}" for name, value in losses.items())
        log.info("epoch %d, step %d of %d: %s, lr %.3g, %.1f images/s, %d:%02d h left", progress.epoch + 1,
                 progress.step, self._total, named, rate, speed, left // 3600, left % 3600 // 60)
        return losses

    def scalars(self, step: int, values: dict[str, float], *, kind: str = "train") -> None:
        """Write a line of ``history.jsonl`` and the scalars ``kind/name``."""
        if self._active:
            self._guarded(self._write_scalars, step, values, kind)

    def _write_scalars(self, step: int, values: dict[str, float], kind: str) -> None:
        with self._history.open("a") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def pictures(self, step: int, pictures: dict[str, Tensor], rows: int = 4) -> None:
        """Write one TensorBoard picture: one row per sample, with the named pictures side by side.

        Args:
            step: step of the run.
            pictures: (B, 3, H, W) each, in [0, 1]; values outside are clipped.
            rows: maximum number of samples.
        """
        if self._writer is None or not pictures:
            return
        columns = torch.stack([value[:rows].detach().float().cpu().clamp(0, 1) for value in pictures.values()], 1)
        grid = make_grid(columns.flatten(0, 1), nrow=len(pictures), padding=2, pad_value=1.0)
        self._guarded(self._writer.add_image, "pictures/" + "-".join(pictures), grid, step)

    def flush(self) -> None:
        """Flush everything written so far to the disk."""
        if self._writer is not None:
            self._guarded(self._writer.flush)

    def close(self) -> None:
        """Close the progress bar and the TensorBoard file."""
        self._bar.close()
        if self._writer is not None:
            self._guarded(self._writer.close)

    def _guarded(self, write: Any, *arguments: Any) -> None:
        try:
            write(*arguments)
        except (OSError, ValueError) as error:
            if not self._complained:
                log.warning("the run's record could not be written (%s); training continues", error)
            self._complained = True


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


class Stopwatch:
    """Seconds by phase: ``data`` (waiting for the loader), ``forward`` (synthesis, model, losses), ``backward``
    and ``optimiser`` (clipping, update, moving average).

    On a GPU the phases after ``data`` are measured by stream events, which :meth:`seconds` reads.

    Args:
        device: training device.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self.restart()

    def restart(self) -> None:
        """Start the next lap now."""
        self._moment = time.perf_counter()
        self._event = self._record()

    def lap(self, phase: str) -> None:
        """Attribute the time since the last lap to ``phase``."""
        now, event = time.perf_counter(), self._record()
        if event is None or self._event is None or phase == "data":
            self._seconds[phase] += now - self._moment
        else:
            self._events.append((phase, self._event, event))
        self._moment, self._event = now, event

    def seconds(self) -> dict[str, float]:
        """Seconds by phase so far. Synchronises with the GPU."""
        if self._events:
            self._events[-1][2].synchronize()
            for phase, start, end in self._events:
                self._seconds[phase] += start.elapsed_time(end) / 1000
            self._events.clear()
        return dict(self._seconds)

    def _record(self) -> torch.cuda.Event | None:
        if not self._cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def describe_split(seconds: dict[str, float]) -> str:
    """Shares of the phases in their total, as ``data 3 %, forward 41 %, ...``."""
    total = sum(seconds.values()) or 1.0
    return ", ".join(f"{phase} {100 * value / total:.1f} %" for phase, value in seconds.items())
