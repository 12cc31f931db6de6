"""The training loop for any task: steps, logging, validation, checkpoints, resuming and error handling.

    trainer = Trainer(task, loader, options=options, run_dir=run_dir, device=device)
    trainer.resume("latest")
    trainer.fit()

A resumed run equals an uninterrupted one: random draws depend only on the seed and the step, and checkpoints store
the rest. A checkpoint always describes the end of a step, even if it is written during the next one.
"""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from option.schema import Options
from utils.distributed import current_world, from_main, wait_for_main
from utils.engine.batches import Loader, first_batches, load_ahead, map_tensors
from utils.engine.checkpoints import CheckpointFolder, Saver
from utils.engine.optimisation import Schedule, build_average, build_optimizer
from utils.engine.record import Record, describe_split
from utils.engine.state import Progress, State
from utils.engine.step import Stepper, TrainingStopped
from utils.errors import UserError
from utils.interrupts import Interrupts

log = logging.getLogger(__name__)

_INIT_PICTURES = 256  # 12,500 patches of each input at crops of 112

Validation = Callable[[int, nn.Module], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Summary:
    """The outcome of a finished run.

    Attributes:
        steps, images, seconds: totals, including earlier starts.
        split: seconds by phase, for this start.
        losses: last logged means by name.
        checkpoint: the last checkpoint.
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
        task: an ``nn.Module`` that implements :class:`utils.engine.step.Task`. Parameters with a prefix in its optional
            attribute ``frozen_prefixes`` are left out of checkpoints.
        loader: source of batches.
        options: reads the sections ``train`` and ``logger``, and ``use_tb_logger``; all options are stored in
            checkpoints.
        run_dir: folder of the run.
        device: where the training runs.
        validate: called in the main process with the step and the network, in eval mode and with averaged weights if
            available; returns numbers to log.
        on_signal: called last when a signal ends the process, for cleanup that a normal exit would do.

    Raises:
        UserError: the loader has no batch.
    """

    def __init__(self, task: nn.Module, loader: Loader, *, options: Options, run_dir: Path, device: torch.device,
                 validate: Validation | None = None, on_signal: Callable[[], None] = lambda: None) -> None:
        if len(loader) == 0:
            raise UserError("the training set has no batch; each process needs dataset.train.batch_size pictures")
        self._options, self._loader, self._validate, self._on_signal = options, loader, validate, on_signal
        self._run_dir, self._device, self._world = run_dir, device, current_world()
        self._task = task.to(device).train()
        self._progress = Progress(steps_per_epoch=math.ceil(len(loader) / options.train.accumulate))
        self._state = self._build_state()
        self._plan_length()
        self._stepper = Stepper(task, self._state, options.train, device)
        self._folder = CheckpointFolder(run_dir / "checkpoints", options.logger.keep_checkpoints)
        self._resumed, self._sample = False, None
        self._losses: dict[str, float] = {}

    def _build_state(self) -> State:
        train = self._options.train
        lr = train.learning_rate(self._batch_size() * train.accumulate * self._world.size)
        optimizer = build_optimizer(self._task.trainable(), train, lr)
        return State(
            options=self._options, model=self._task.model, optimizer=optimizer,
            schedule=Schedule(optimizer, train, lr, train.epoch), average=build_average(self._task.model, train.ema),
            frozen=tuple(getattr(self._task, "frozen_prefixes", ())))

    def _plan_length(self) -> None:
        """Compute the number of the last step and the length of the schedule, for the current step size."""
        train, progress = self._options.train, self._progress
        done = progress.epoch * progress.steps_per_epoch + progress.step_in_epoch
        length = train.epoch * progress.steps_per_epoch
        if train.max_steps:
            length = min(length, train.max_steps - progress.step + done)
        self._total = progress.step + length - done
        self._state.schedule.epochs = length / progress.steps_per_epoch

    @property
    def step(self) -> int:
        """Completed optimiser steps."""
        return self._progress.step

    def rehearse(self) -> None:
        """Compute the losses of one batch to detect mistakes before the run starts. Changes nothing.

        Raises:
            UserError: as in training.
        """
        with torch.no_grad(), torch.compiler.set_stance("force_eager"), self._stepper.autocast():
            self._task(first_batches(self._loader, self._device, 1)[0], self._stepper.randomness.generators)

    def initialise(self) -> None:
        """Set the initial weights from training batches, for ``train.init: data``; equal in all processes.

        Raises:
            UserError: the task does not support this, or starts from given weights.
        """
        if not getattr(self._task, "starts_from_data", False) or self._options.path.pretrain_model_G:
            raise UserError(f"{self._options.at('train.init')}: data is a start for networks of stage 1 without given "
                            "weights; give train.init=random")
        model, weights = self._task.model, None
        if self._world.main:
            batches = first_batches(self._loader, self._device, max(1, _INIT_PICTURES // self._batch_size()))
            with torch.compiler.set_stance("force_eager"):
                self._task.initialise(batches, self._stepper.randomness.generators)
            self._task.train()
            weights = map_tensors(model.state_dict(), lambda tensor: tensor.cpu())
        model.load_state_dict(from_main(weights))
        if self._state.average:
            self._state.average.set(model)

    def _batch_size(self) -> int:
        data = self._options.dataset.train
        return data.batch_size if data else 1

    def resume(self, which: str) -> bool:
        """Continue from a checkpoint.

        Args:
            which: ``latest`` (of this run's folder) or a file.

        Returns:
            False if ``which`` is ``latest`` and nothing has been saved.

        Raises:
            UserError: no checkpoint can be read, or it belongs to another network.
        """
        # One process reads the file for all, so that they cannot disagree on which one is the latest.
        found = from_main(self._folder.load(which) if self._world.main else None)
        if found is None:
            log.warning("no checkpoint in %s yet: starting a new run", self._folder.folder)
            return False
        state, path = found
        steps_per_epoch = self._progress.steps_per_epoch
        self._progress = self._state.restore(state, path)
        self._progress.use_steps_per_epoch(steps_per_epoch)
        self._plan_length()
        self._loader.load_state_dict(self._progress.position)
        self._resumed = True
        log.info("resumed from %s: epoch %d, step %d, %d images", path, self._progress.epoch + 1, self.step,
                 self._progress.images)
        return True

    def fit(self) -> Summary:
        """Train to the end of the schedule.

        Raises:
            TrainingStopped: non-finite numbers, a lost loader worker or process, or out of memory. Names the last
                checkpoint.
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
        self._saver = Saver(self._folder, self._state, self._stepper, self._progress,
                            self._options.logger.save_checkpoint_minutes)
        self._record = Record(self._run_dir, self._progress, total=self._total, device=self._device,
                              tensorboard=self._options.use_tb_logger)
        if not self._resumed:
            self._go_to_epoch(0)

    def _out_of_steps(self) -> bool:
        return self.step >= (self._options.train.max_steps or math.inf)

    def _over(self) -> bool:
        return self._out_of_steps() or self._progress.epoch >= self._options.train.epoch

    def _go_to_epoch(self, epoch: int) -> None:
        with self._stepper.lock:
            self._loader.set_epoch(epoch)
            self._progress.begin_epoch(epoch, self._loader.state_dict())

    def _run_epoch(self) -> None:
        progress, stepper = self._progress, self._stepper
        at_start = progress.step_in_epoch == 0
        batches = load_ahead(self._loader, self._device)
        stepper.watch.restart()
        while not self._out_of_steps() and (group := stepper.next_group(batches)):
            stepper.watch.lap("data")
            self._state.schedule.set(progress.epochs)
            stepper.do_step(group, progress)
            self._sample = group[-1].batch
            self._after_step()
        batches.close()
        if at_start and progress.step_in_epoch == 0:
            raise UserError(f"epoch {progress.epoch + 1} gave no batch although {len(self._loader)} were promised; see "
                            "the data set's warnings above")
        # max_steps may end the run in the middle of an epoch.
        finished = not self._out_of_steps() or progress.step_in_epoch >= progress.steps_per_epoch
        if self._out_of_steps() or progress.epoch + 1 >= self._options.train.epoch:
            self._report()
        if finished:
            self._go_to_epoch(progress.epoch + 1)
        self._after_epoch(finished)

    def _after_step(self) -> None:
        self._record.advance()
        if self.step % self._options.logger.print_freq == 0:
            self._report()
        self._saver.save_when_due()
        self._stepper.watch.restart()

    def _report(self) -> None:
        """Write a log line; on a GPU, also check that all numbers were finite."""
        if not self._progress.summed:
            return
        self._stepper.stop_if_bad(self._progress)
        with self._stepper.lock:
            sums, summed = self._progress.take_sums()
        self._losses = self._record.line(self._stepper.names, sums / summed, self._progress,
                                         self._state.optimizer.param_groups[0]["lr"])

    def _after_epoch(self, finished: bool) -> None:
        epoch, over = self._progress.epoch, self._over()
        kept = finished and epoch % self._options.logger.save_checkpoint_freq == 0
        if kept or over:
            self._saver.try_to_save(kept_epoch=kept, must=over)
        if over or (finished and epoch % self._options.train.val_freq == 0):
            log.info("time: %s", describe_split(self._stepper.watch.seconds()))
            if self._world.main:
                self._look()
            wait_for_main(f"validated step {self.step}")
        self._record.restart_clock(self._progress)

    def _look(self) -> None:
        """Log pictures and run the validation."""
        with self._for_inference():
            if self._sample is not None:
                sample = map_tensors(self._sample, lambda tensor: tensor[:4])
                with torch.no_grad(), self._stepper.autocast():
                    self._record.pictures(self.step, self._task.pictures(sample, self._stepper.randomness.generators))
            if self._validate is None:
                return
            try:
                values = self._validate(self.step, self._task.model)
            except (UserError, OSError) as error:
                log.error("validation failed: %s; training continues", error)
                return
        self._record.scalars(self.step, values, kind="val")
        log.info("validation: %s", ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    @contextlib.contextmanager
    def _for_inference(self) -> Iterator[None]:
        """Switch to eval mode, with averaged weights if available."""
        if self._state.average:
            self._task.model = self._state.average.module
        self._task.eval()
        try:
            yield
        finally:
            self._task.model = self._state.model
            self._task.train()

    def _leave(self) -> None:
        try:
            self._saver.save_and_tell()
            self._record.flush()
        finally:
            self._on_signal()

    def _summary(self) -> Summary:
        seconds, split, images = self._saver.seconds, self._stepper.watch.seconds(), self._progress.images
        log.info("done: %d steps, %d images in %.0f s; %s", self.step, images, seconds, describe_split(split))
        return Summary(self.step, images, seconds, split, self._losses, self._folder.newest())
