"""The training loop, for any task: steps, log lines, validation, checkpoints, resume, and every way it may end.

    trainer = Trainer(task, loader, options=options, run_dir=run_dir, device=device)
    trainer.resume("latest")
    trainer.fit()

A run is the same run after any stop: all draws depend on the seed and the step, and a checkpoint holds the rest.
Checkpoints are always of the end of a step, though they may be written in the middle of the next one.
"""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from option.schema import Options
from utils.distributed import current_world, from_main
from utils.engine.checkpoint import CheckpointFolder
from utils.engine.interrupts import Interrupts
from utils.engine.optimisation import MovingAverage, Schedule, TrainingStopped, build_optimizer
from utils.engine.prefetch import Loader, load_ahead, map_tensors
from utils.engine.randomness import Randomness
from utils.engine.reporting import Reporter
from utils.engine.saving import Saver
from utils.engine.snapshot import Progress, Snapshot
from utils.engine.step import Stepper
from utils.engine.timing import describe_split
from utils.engine.tracking import Record
from utils.errors import UserError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a finished run was.

    Attributes:
        steps, images: done in all, earlier starts included.
        seconds: time in training, earlier starts included.
        split: seconds by phase of this start.
        losses: the last logged means by name.
        checkpoint: the last one.
    """

    steps: int
    images: int
    seconds: float
    split: dict[str, float]
    losses: dict[str, float]
    checkpoint: Path | None


class Trainer:
    """Trains a task.

    Args:
        task: an ``nn.Module`` that is a :class:`utils.engine.step.Task`. Name prefixes in its ``frozen_prefixes``, if
            it has that attribute, are left out of checkpoints.
        loader: source of batches.
        options: sections ``train`` and ``logger`` and ``use_tb_logger`` are read; all are kept in checkpoints.
        run_dir: folder of the run.
        device: where the training runs.
        validate: called with the step by the main process, the model in eval mode and with averaged weights if
            there are any; gives numbers to log.

    Raises:
        UserError: the loader has no batch.
    """

    def __init__(self, task: nn.Module, loader: Loader, *, options: Options, run_dir: Path, device: torch.device,
                 validate: Callable[[int], dict[str, float]] | None = None) -> None:
        if len(loader) == 0:
            raise UserError("the training set gives no batch; each process needs dataset.train.batch_size pictures")
        self._options, self._loader, self._validate = options, loader, validate
        self._run_dir, self._device, self._world = run_dir, device, current_world()
        self._task = task.to(device).train()
        train = options.train
        self._steps_per_epoch = math.ceil(len(loader) / train.accumulate)
        self._total = min(train.epoch * self._steps_per_epoch, train.max_steps or math.inf)
        self._parts = self._build_parts()
        self._stepper = Stepper(task, self._parts, train, device)
        self._folder = CheckpointFolder(run_dir / "checkpoints", options.logger.keep_checkpoints)
        self._progress = Progress()
        self._resumed = False
        self._losses: dict[str, float] = {}
        self._sample: Any = None

    def _build_parts(self) -> Snapshot:
        train, data = self._options.train, self._options.dataset.train
        batch = data.batch_size if data else 1
        lr = train.learning_rate(batch * train.accumulate * self._world.size)
        parameters = list(self._task.trainable())
        optimizer = build_optimizer(parameters, train, lr)
        return Snapshot(
            options=self._options, model=self._task.model, optimizer=optimizer,
            schedule=Schedule(optimizer, train, lr, self._total / self._steps_per_epoch),
            randomness=Randomness(train.manual_seed, self._device, self._world.rank),
            average=MovingAverage(parameters, train.ema) if train.ema else None,
            frozen=tuple(getattr(self._task, "frozen_prefixes", ())))

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self._progress.step

    def resume(self, which: str) -> bool:
        """Goes on from a checkpoint.

        Args:
            which: ``latest`` (of this run's folder) or a file.

        Returns:
            False when ``latest`` was asked for and nothing was saved yet.

        Raises:
            UserError: no checkpoint can be read, or it is of another network.
        """
        # One process reads and tells the others: no two can disagree on which file is the latest.
        found = from_main(self._folder.load(which) if self._world.main else None)
        if found is None:
            log.warning("no checkpoint in %s yet: starting anew", self._folder.folder)
            return False
        state, path = found
        self._progress = self._parts.restore(state, path, randomness=self._world.main)
        self._loader.load_state_dict(self._progress.position)
        self._resumed = True
        log.info("resumed from %s: epoch %d, step %d", path, self._progress.epoch + 1, self.step)
        return True

    def fit(self) -> Summary:
        """Trains to the end of the schedule.

        Raises:
            TrainingStopped: non-finite numbers, a lost loader worker or process, no memory. Says where the last
                checkpoint is.
        """
        self._begin()
        with contextlib.closing(self._record), Interrupts(self._leave):
            try:
                while not self._over():
                    self._run_epoch()
            except (TrainingStopped, RuntimeError, ConnectionError, EOFError) as error:
                explained = self._saver.explained(error)
                if explained is error:
                    raise
                raise explained from error
        return self._summary()

    def _begin(self) -> None:
        self._saver = Saver(self._folder, self._parts, self._stepper, self._progress,
                            self._options.logger.save_checkpoint_minutes)
        self._record = Record(self._run_dir, step=self.step, total=int(self._total), active=self._world.main,
                              tensorboard=self._options.use_tb_logger)
        self._reporter = Reporter(self._record, self._device, self._progress, int(self._total))
        if not self._resumed:
            self._go_to_epoch(0)

    def _over(self) -> bool:
        return self.step >= self._total or self._progress.epoch >= self._options.train.epoch

    def _go_to_epoch(self, epoch: int) -> None:
        with self._stepper.lock:
            self._loader.set_epoch(epoch)
            self._progress.begin_epoch(epoch, self._loader.state_dict())

    def _run_epoch(self) -> None:
        progress, stepper = self._progress, self._stepper
        at_start = progress.step_in_epoch == 0
        self._parts.randomness.begin_epoch(progress.epoch)
        batches = load_ahead(self._loader, self._device)
        stepper.watch.restart()
        while self.step < self._total and (group := stepper.next_group(batches)):
            stepper.watch.lap("data")
            self._parts.schedule.set(progress.epoch + progress.step_in_epoch / self._steps_per_epoch)
            stepper.do_step(group, progress)
            self._sample = group[-1].batch
            self._after_step()
        batches.close()
        if at_start and progress.step_in_epoch == 0:
            raise UserError(f"epoch {progress.epoch + 1} gave no batch although {len(self._loader)} were promised; see "
                            "the data set's warnings above")
        # max_steps may end the run in the middle of an epoch.
        finished = self.step < self._total or progress.step_in_epoch >= self._steps_per_epoch
        if finished:
            self._go_to_epoch(progress.epoch + 1)
        self._after_epoch(finished)

    def _after_step(self) -> None:
        if self.step % self._options.logger.print_freq == 0 or self.step == self._total:
            self._report()
        else:
            self._record.advance()
        self._saver.save_when_due()
        self._stepper.watch.restart()

    def _report(self) -> None:
        """A log line; also the moment when a GPU is asked whether all numbers were finite."""
        self._stepper.stop_if_bad(self._progress)
        with self._stepper.lock:
            sums, summed = self._progress.take_sums()
        self._losses = self._reporter.report(self._stepper.names, sums / summed, self._progress,
                                             self._parts.optimizer.param_groups[0]["lr"])

    def _after_epoch(self, finished: bool) -> None:
        epoch, over = self._progress.epoch, self._over()
        kept = finished and epoch % self._options.logger.save_checkpoint_freq == 0
        if kept or over:
            self._saver.try_to_save(kept_epoch=kept, must=over)
        if over or (finished and epoch % self._options.train.val_freq == 0):
            log.info("time: %s", describe_split(self._stepper.watch.seconds()))
            if self._world.main:
                self._look()
        self._reporter.restart_clock(self._progress)

    def _look(self) -> None:
        """Pictures and validation."""
        with self._for_inference():
            if self._sample is not None:
                sample = map_tensors(self._sample, lambda tensor: tensor[:4])
                with torch.no_grad(), self._stepper.autocast():
                    pictures = self._task.pictures(sample, self._parts.randomness.generators)
                self._record.pictures(self.step, pictures)
            if self._validate is None:
                return
            try:
                values = self._validate(self.step)
            except (UserError, OSError) as error:
                log.error("validation failed: %s; training goes on", error)
                return
        self._record.scalars(self.step, values, kind="val")
        log.info("validation: %s", ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    @contextlib.contextmanager
    def _for_inference(self) -> Iterator[None]:
        """Eval mode, with the averaged weights if there are any."""
        self._swap_average()
        self._task.eval()
        try:
            yield
        finally:
            self._task.train()
            self._swap_average()

    def _swap_average(self) -> None:
        if self._parts.average:
            with self._stepper.lock:
                self._parts.average.swap()

    def _leave(self) -> None:
        self._saver.save_and_tell()
        self._record.flush()

    def _summary(self) -> Summary:
        seconds, split = self._saver.seconds, self._stepper.watch.seconds()
        log.info("done: %d steps, %d images in %.0f s; %s", self.step, self._progress.images, seconds,
                 describe_split(split))
        return Summary(self.step, self._progress.images, seconds, split, self._losses, self._folder.newest())
