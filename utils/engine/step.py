"""One optimiser step: losses, gradients, clipping, update. On one device or on many, of one batch or of several."""

import contextlib
import inspect
import itertools
import logging
import math
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from option.schema import TrainOptions
from utils.distributed import current_world, is_joined, sum_over_processes
from utils.engine.batches import Loaded
from utils.engine.randomness import Randomness
from utils.engine.record import Stopwatch
from utils.engine.state import TOTAL, Progress, State
from utils.errors import UserError
from utils.precision import autocast, autocast_dtype

log = logging.getLogger(__name__)

_COMPILER = ("torch._dynamo", "torch._inductor")


class Task(Protocol):
    """What is trained: an ``nn.Module`` whose forward returns the losses of a batch.

    Attributes:
        model: the network; its ``state_dict`` is what checkpoints hold.
    """

    model: nn.Module

    def __call__(self, batch: Any, generators: dict[str, torch.Generator]) -> dict[str, Tensor]:
        """Loss terms, batch means; ``total_loss`` is minimised. Every draw comes from ``generators``."""

    def pictures(self, batch: Any, generators: dict[str, torch.Generator]) -> dict[str, Tensor]:
        """(B, 3, H, W) pictures in [0, 1] to look at, by name."""

    def trainable(self) -> Iterable[nn.Parameter]:
        """The parameters that get a gradient in every step. All others have ``requires_grad`` False."""


class TrainingStopped(UserError):
    """A run that cannot continue: says why, at which epoch and step, and where the last good checkpoint is."""


class Stepper:
    """Makes the steps of a run.

    Args:
        task: an ``nn.Module`` that is a :class:`Task`, on the device.
        state: model, optimiser and moving average.
        options: ``accumulate``, ``amp``, ``compile``, ``manual_seed`` and ``max_grad_norm`` are read.
        device: where the task is.

    Attributes:
        lock: held while weights and counters change. Whoever holds it sees them as they were at the end of a step;
            the signal thread copies them at any moment.
        updating: True inside of that change.
        names: the loss terms' names, known after the first step.
        randomness: the generators that all draws come from.
        watch: seconds by phase.
    """

    def __init__(self, task: nn.Module, state: State, options: TrainOptions, device: torch.device) -> None:
        self._state, self._options, self._device = state, options, device
        self._parameters = list(task.trainable())
        self._dtype = autocast_dtype(options.amp, device)
        # Asking a CPU tensor at every step costs nothing, asking a GPU makes it wait; only fused optimisers can skip.
        skips = getattr(state.optimizer, "_step_supports_amp_scaling", False)
        self._guard = FiniteGuard(device, immediate=device.type != "cuda" or not skips)
        self._module = self._wrapped(task)
        self._done: torch.cuda.Event | None = None
        self.lock = threading.RLock()
        self.updating = False
        self.names: list[str] = []
        self.randomness = Randomness(options.manual_seed, device, current_world().rank)
        self.watch = Stopwatch(device)

    def _wrapped(self, task: nn.Module) -> nn.Module:
        if self._options.compile:
            task.model.compile()  # in place, so that the names of its weights stay
        if not is_joined():
            return task
        ids = [self._device.index] if self._device.type == "cuda" else None
        known = inspect.signature(DistributedDataParallel).parameters  # the switch has a new name in newer releases
        switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        return DistributedDataParallel(task, device_ids=ids, gradient_as_bucket_view=True, **{switch: False})

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The precision that the run works in."""
        return autocast(self._dtype, self._device)

    def next_group(self, batches: Iterator[Loaded]) -> list[Loaded]:
        """The batches of one step; fewer at the end of an epoch, none after it."""
        return list(itertools.islice(batches, self._options.accumulate))

    def do_step(self, group: list[Loaded], progress: Progress) -> None:
        """One step on the mean over all samples of the group, in all processes.

        Args:
            group: batches of any sizes.
            progress: moved on by this step.

        Raises:
            TrainingStopped: non-finite numbers (on a CPU; on a GPU :meth:`stop_if_bad` tells later).
        """
        images = sum(loaded.size for loaded in group)
        share = self._sample_share(images)
        try:
            terms = self._gradients(group, share, progress.step)
        except Exception as error:
            if not (self._options.compile and type(error).__module__.startswith(_COMPILER)):
                raise
            log.warning("train.compile: the network cannot be compiled here (%s); it runs as it is", _first_line(error))
            torch.compiler.set_stance("force_eager")
            terms = self._gradients(group, share, progress.step)  # with the same draws: each step seeds anew
        self._update(terms, group[-1].state, images * current_world().size, progress)
        self.watch.lap("optimiser")

    def _gradients(self, group: list[Loaded], share: Tensor | float, step: int) -> Tensor:
        """Forward and backward passes of a group.

        Returns:
            (K,) loss terms; their mean over the processes is the mean over all samples.
        """
        self._state.optimizer.zero_grad(set_to_none=True)
        terms: Tensor | float = 0.0
        for micro, loaded in enumerate(group):
            self.randomness.begin_step(step, micro)
            with self._without_exchange(micro < len(group) - 1):
                with self.autocast():
                    losses = self._module(loaded.batch, self.randomness.generators)
                self.watch.lap("forward")
                (losses[TOTAL] * (loaded.size * share)).backward()
                self.watch.lap("backward")
            self.names = list(losses)
            terms += torch.stack([value.detach().float() for value in losses.values()]) * (loaded.size * share)
        return terms

    def _sample_share(self, local: int) -> Tensor | float:
        """Weight of one sample. DDP averages over processes, so with these weights gradients and loss terms are means
        over all samples, however uneven the batches are."""
        if not is_joined():
            return 1 / local
        everywhere = sum_over_processes(torch.tensor(float(local), device=self._device))
        return current_world().size / everywhere

    def _without_exchange(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients stay in their process until the last batch of the step."""
        if wanted and isinstance(self._module, DistributedDataParallel):
            return self._module.no_sync()
        return contextlib.nullcontext()

    def _update(self, terms: Tensor, position: dict[str, Any], images: int, progress: Progress) -> None:
        """Clips, checks and applies the gradients, and moves all counters, as one."""
        optimizer, average = self._state.optimizer, self._state.average
        trained = [value for value in self._parameters if value.grad is not None]
        norm = torch.nn.utils.get_total_norm([value.grad for value in trained]).detach().float()
        if self._options.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_(trained, self._options.max_grad_norm, norm)
        numbers = torch.cat([terms, norm.reshape(1)])
        with self.lock:
            self._guard.look(progress.step + 1, terms, norm)
            if self._guard.immediate:
                self.stop_if_bad(progress)
            else:
                optimizer.found_inf = self._guard.found
            self.updating = True
            optimizer.step()
            if average:
                average.update(self._state.model, progress.step + 1)
            progress.advance(images, position, numbers)
            if self._device.type == "cuda":
                self._done = torch.cuda.Event()
                self._done.record()
            self.updating = False

    @contextlib.contextmanager
    def last_step(self) -> Iterator[None]:
        """Inside, the run is as it was at the end of its last step, for reading.

        On a GPU the copies wait for that step's update and for nothing that was queued since: they get through
        even while the next step hangs in a collective call whose peer is gone.
        """
        with self.lock, contextlib.ExitStack() as stack:
            if self._done is not None:
                stream = torch.cuda.Stream(self._device)
                stream.wait_event(self._done)
                stack.enter_context(torch.cuda.stream(stream))
            yield

    def stop_if_bad(self, progress: Progress) -> None:
        """Ends the run if any number of a step so far was not finite. Waits for the device.

        Raises:
            TrainingStopped: names the loss term, epoch and step.
        """
        fault = self._guard.check(self.names)
        if fault is not None:
            step, what = fault
            raise TrainingStopped(f"non-finite {what} at epoch {progress.epoch + 1}, step {step}; this step was not "
                                  "applied; resume with a smaller train.lr or train.max_grad_norm, or train.amp=off")


class FiniteGuard:
    """Finds the first step with a non-finite loss term or gradient norm, on the device.

    From that step on the fused optimiser leaves the weights as they were (its ``found_inf``, made for gradient
    scaling), without the device having to report to the processor; :meth:`check` does that, at log lines and
    before anything is saved. So the weights in memory are always those of the last good step.

    Args:
        device: of the losses.
        immediate: check at every step instead; costs nothing on a CPU.
    """

    def __init__(self, device: torch.device, *, immediate: bool) -> None:
        self.immediate = immediate
        self._step = torch.full((), -1, dtype=torch.int64, device=device)
        self._terms: Tensor | None = None
        self.found = torch.zeros((), device=device)

    def look(self, step: int, terms: Tensor, norm: Tensor) -> None:
        """Looks at one step's numbers before its update.

        Args:
            step: number of the step.
            terms: (K,) loss terms.
            norm: () norm of the whole gradient.
        """
        bad = ~(torch.isfinite(terms).all() & torch.isfinite(norm))
        first = bad & (self._step < 0)
        self._step = torch.where(first, step, self._step)
        self._terms = terms if self._terms is None else torch.where(first | (self._step < 0), terms, self._terms)
        self.found = torch.maximum(self.found, bad.to(self.found.dtype))

    def check(self, names: list[str]) -> tuple[int, str] | None:
        """The first bad step and what was wrong in it; None when all was well. Waits for the device."""
        step = int(self._step)
        if step < 0 or self._terms is None:
            return None
        wrong = [f"{name} = {value}" for name, value in zip(names, self._terms.tolist())
                 if not math.isfinite(value)]
        return step, "loss term " + ", ".join(wrong) if wrong else "gradient norm (all loss terms are finite)"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
