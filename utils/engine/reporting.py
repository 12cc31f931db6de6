"""Log lines: what a run has to say every few steps."""

import logging
import time

import torch
from torch import Tensor

from utils.distributed import current_world, sum_over_processes
from utils.engine.memory import memory_in_use
from utils.engine.snapshot import Progress
from utils.engine.step import TOTAL
from utils.engine.tracking import Record

log = logging.getLogger(__name__)


class Reporter:
    """Means, speed and time left since the last line.

    Args:
        record: history, TensorBoard and bar.
        device: of the training; its memory is reported.
        progress: of the run, at its start.
        total: optimiser steps of the whole run.
    """

    def __init__(self, record: Record, device: torch.device, progress: Progress, total: int) -> None:
        self._record, self._device, self._total = record, device, total
        self.restart_clock(progress)

    def restart_clock(self, progress: Progress) -> None:
        """Speed is measured from here on: after a validation or a save, which are no training."""
        self._moment, self._step, self._images = time.monotonic(), progress.step, progress.images

    def report(self, names: list[str], means: Tensor, progress: Progress, rate: float) -> dict[str, float]:
        """Writes a line.

        Args:
            names: of the loss terms.
            means: (K + 1,) this process's means since the last line; the gradient norm comes last.
            progress: of the run.
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
        self._record.advance(loss=f"{losses[TOTAL]:.4g}", images_s=f"{speed:.1f}")
        self._record.scalars(progress.step, {
            **losses, "lr": rate, "images_per_second": speed, "images": progress.images,
            "memory_mb": memory_in_use(self._device) / 2**20})
        named = ", ".join(f"{name.removeprefix('self_supervised_')} {value:.5g}" for name, value in losses.items())
        log.info("epoch %d, step %d of %d: %s, lr %.3g, %.1f images/s, %d:%02d h left", progress.epoch + 1,
                 progress.step, self._total, named, rate, speed, left // 3600, left % 3600 // 60)
        return losses
