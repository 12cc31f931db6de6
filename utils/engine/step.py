"""One optimiser step (losses, gradients, clipping, update), on one or several devices and from one or more batches."""

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
    """The interface of a task: an ``nn.Module`` whose forward pass returns the losses of a batch.

    Attributes:
        model: the network; checkpoints store its ``state_dict``.
    """

    model: nn.Module

    def __call__(self, batch: Any, generators: dict[str, torch.Generator]) -> dict[str, Tensor]:
        """Loss terms as batch means; ``total_loss`` is minimised. All random draws use ``generators``."""

    def pictures(self, batch: Any, generators: dict[str, torch.Generator]) -> dict[str, Tensor]:
        """Pictures for inspection by name, (B, 3, H, W) in [0, 1]."""

    def trainable(self) -> Iterable[nn.Parameter]:
        """The parameters that receive a gradient in every step. All others have ``requires_grad`` False."""


class TrainingStopped(UserError):
    """A run cannot continue; the message has the reason, epoch, step and last good checkpoint."""


class Stepper:
    """Makes the steps of a run.

    Args:
        task: an ``nn.Module`` that implements :class:`Task`, on the device.
        state: model, optimiser and moving average.
        options: reads ``accumulate``, ``amp``, ``compile``, ``manual_seed`` and ``max_grad_norm``.
        device: training device.

    Attributes:
        lock: held while weights and counters change. Its holder sees them as at the end of a step; the signal thread
            may copy them at any time.
        updating: True during such a change.
        names: names of the loss terms, known after the first step.
        randomness: the random generators.
        watch: seconds by phase.
    """

    def __init__(self, task: nn.Module, state: State, options: TrainOptions, device: torch.device) -> None:
        self._state, self._options, self._device = state, options, device
        self._parameters = list(task.trainable())
        self._dtype = autocast_dtype(options.amp, device)
        # Reading a CPU tensor at every step is free, reading from a GPU synchronises. Only fused optimisers can skip.
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
            task.model.compile()  # in place, so that its weights keep their names
        if not is_joined():
            return task
        ids = [self._device.index] if self._device.type == "cuda" else None
        known = inspect.signature(DistributedDataParallel).parameters  # newer releases renamed the argument
        switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        return DistributedDataParallel(task, device_ids=ids, gradient_as_bucket_view=True, **{switch: False})

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Autocast to the precision of the run."""
        return autocast(self._dtype, self._device)

    def next_group(self, batches: Iterator[Loaded]) -> list[Loaded]:
        """The batches of one step; fewer at the end of an epoch, none after it."""
        return list(itertools.islice(batches, self._options.accumulate))

    def do_step(self, group: list[Loaded], progress: Progress) -> None:
        """Make one step on the mean over all samples of the group, in all processes.

        Args:
            group: batches of any sizes.
            progress: advanced by this step.

        Raises:
            TrainingStopped: non-finite numbers (on a CPU; on a GPU :meth:`stop_if_bad` raises it later).
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
            terms = self._gradients(group, share, progress.step)  # the draws are the same: each step reseeds
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
        """Weight of one sample. DDP averages over processes; with these weights gradients and loss terms are means over
        all samples, even for batches of different sizes."""
        if not is_joined():
            return 1 / local
        everywhere = sum_over_processes(torch.tensor(float(local), device=self._device))
        return current_world().size / everywhere

    def _without_exchange(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        """Defer the exchange of gradients to the last batch of the step."""
        if wanted and isinstance(self._module, DistributedDataParallel):
            return self._module.no_sync()
        return contextlib.nullcontext()

    def _update(self, terms: Tensor, position: dict[str, Any], images: int, progress: Progress) -> None:
        """Clip, check and apply the gradients and advance all counters, under the lock."""
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
        """Inside the block, the run can be read as at the end of its last step.

        On a GPU copies wait only for the update of that step, not for later work: they complete even if the next step
        hangs in a collective call whose peer is gone.
        """
        with self.lock, contextlib.ExitStack() as stack:
            if self._done is not None:
                stream = torch.cuda.Stream(self._device)
                stream.wait_event(self._done)
                stack.enter_context(torch.cuda.stream(stream))
            yield

    def stop_if_bad(self, progress: Progress) -> None:
        """End the run if a number of any step so far was not finite. Synchronises with the device.

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

    From that step on, the fused optimiser leaves the weights unchanged (by its ``found_inf`` for gradient scaling)
    without a synchronisation. :meth:`check` synchronises, at log lines and before saving. The weights in memory
    therefore always are those of the last good step.

    Args:
        device: device of the losses.
        immediate: check at every step instead; free on a CPU.
    """

    def __init__(self, device: torch.device, *, immediate: bool) -> None:
        self.immediate = immediate
        self._step = torch.full((), -1, dtype=torch.int64, device=device)
        self._terms: Tensor | None = None
        self.found = torch.zeros((), device=device)

    def look(self, step: int, terms: Tensor, norm: Tensor) -> None:
        """Inspect the numbers of a step before its update.

        Args:
            step: index of the step.
            terms: (K,) loss terms.
            norm: () global norm of the gradient.
        """
        bad = ~(torch.isfinite(terms).all() & torch.isfinite(norm))
        first = bad & (self._step < 0)
        self._step = torch.where(first, step, self._step)
        self._terms = terms if self._terms is None else torch.where(first | (self._step < 0), terms, self._terms)
        self.found = torch.maximum(self.found, bad.to(self.found.dtype))

    def check(self, names: list[str]) -> tuple[int, str] | None:
        """The first bad step and the non-finite term in it; None if there is none. Synchronises with the device."""
        step = int(self._step)
        if step < 0 or self._terms is None:
            return None
        wrong = [f"{name} = {value}" for name, value in zip(names, self._terms.tolist())
                 if not math.isfinite(value)]
        return step, "loss term " + ", ".join(wrong) if wrong else "gradient norm (all loss terms are finite)"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
