"""The record of a run: ``history.jsonl``, TensorBoard, the progress bar."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid
from tqdm import tqdm

from utils.files import atomic_write

log = logging.getLogger(__name__)


class Record:
    """Writes what a run tells; does nothing in processes other than the main one.

    A full disk or a lost drive costs lines of the record, with one warning, never the run.

    Args:
        run_dir: ``history.jsonl`` (one line for each log line and validation) and ``tb/`` go here.
        step: where the run goes on; lines of later steps, which will be made again, are dropped.
        total: optimiser steps of the whole run, for the bar.
        active: False for other processes.
        tensorboard: write TensorBoard files.
    """

    def __init__(self, run_dir: Path, *, step: int, total: int, active: bool, tensorboard: bool) -> None:
        self._active = active
        self._history = run_dir / "history.jsonl"
        self._writer: SummaryWriter | None = None
        self._complained = False
        self._bar = tqdm(total=total, initial=step, unit="step", dynamic_ncols=True, disable=None if active else True)
        if not active:
            return
        run_dir.mkdir(parents=True, exist_ok=True)
        self._guarded(self._drop_after, step)
        if tensorboard:
            self._guarded(self._open_writer, run_dir / "tb", step)

    def _open_writer(self, folder: Path, step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def _drop_after(self, step: int) -> None:
        """Keeps the lines up to ``step``; a line that was cut off by a crash goes as well."""
        if not self._history.exists():
            return
        kept = [line for line in self._history.read_text().splitlines() if _step_of(line) <= step]
        with atomic_write(self._history) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))

    def advance(self, **shown: Any) -> None:
        """One step on the bar."""
        if shown:
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def scalars(self, step: int, values: dict[str, float], *, kind: str = "train") -> None:
        """A line of ``history.jsonl`` and scalars ``kind/name``."""
        if self._active:
            self._guarded(self._write_scalars, step, values, kind)

    def _write_scalars(self, step: int, values: dict[str, float], kind: str) -> None:
        with self._history.open("a") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def pictures(self, step: int, pictures: dict[str, Tensor], rows: int = 4) -> None:
        """One TensorBoard picture: a row for each sample, the named pictures side by side.

        Args:
            step: of the run.
            pictures: (B, 3, H, W) each, in [0, 1]; values outside are clipped.
            rows: at most so many samples.
        """
        if self._writer is None or not pictures:
            return
        columns = torch.stack([value[:rows].detach().float().cpu().clamp(0, 1) for value in pictures.values()], 1)
        grid = make_grid(columns.flatten(0, 1), nrow=len(pictures), padding=2, pad_value=1.0)
        self._guarded(self._writer.add_image, "pictures/" + "-".join(pictures), grid, step)

    def flush(self) -> None:
        """Puts what is written so far on the disk."""
        if self._writer is not None:
            self._guarded(self._writer.flush)

    def close(self) -> None:
        """Ends the bar and the TensorBoard file."""
        self._bar.close()
        if self._writer is not None:
            self._guarded(self._writer.close)

    def _guarded(self, write: Any, *arguments: Any) -> None:
        try:
            write(*arguments)
        except (OSError, ValueError) as error:
            if not self._complained:
                log.warning("the run's record could not be written (%s); training goes on", error)
            self._complained = True


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
