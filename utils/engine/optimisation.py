"""Optimiser, learning rate, moving average and the guard against non-finite numbers."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from timm.optim import Muon
from torch import Tensor, nn

from option.schema import TrainOptions
from utils.errors import UserError


class TrainingStopped(UserError):
    """A run that cannot go on: says why, at which epoch and step, and where the last good checkpoint is."""


def build_optimizer(parameters: Iterable[nn.Parameter], options: TrainOptions, lr: float) -> torch.optim.Optimizer:
    """Adam or AdamW in its fused form, or Muon. Biases, norms and other vectors get no weight decay.

    Muon (Jordan 2024) turns the momentum of every matrix into the nearest orthogonal one before it is applied, which
    learns more from a step than Adam does; vectors get AdamW. Its steps are scaled to the size that AdamW's have (Liu
    et al. 2025, arXiv 2502.16982), so that rates carry over.

    Args:
        parameters: what is trained.
        options: ``optimizer``, ``beta1``, ``beta2`` and ``weight_decay`` are read; with Muon the betas are those of the
            vectors' AdamW, and the matrices' momentum is .95.
        lr: learning rate at the start.
    """
    trained = list(parameters)
    groups = [
        {"params": [value for value in trained if value.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [value for value in trained if value.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (options.beta1, options.beta2)
    if options.optimizer == "muon":
        return Muon(groups, lr=lr, betas=betas, nesterov=True, adjust_lr_fn="match_rms_adamw")
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    fused = all(value.device.type in ("cpu", "cuda") for value in trained)
    return kind(groups, lr=lr, betas=betas, fused=fused)


class Schedule:
    """The learning rate at a moment of the run.

    ``step``: times ``lr_gamma`` from each epoch of ``lr_steps`` on. ``cosine``: down to 0 at the end. Both rise
    from 0 during ``warmup_epochs``.

    Args:
        optimizer: whose rate is set.
        options: ``schedule`` and what belongs to it.
        lr: the rate at the start.
        epochs: length of the run; with ``max_steps`` this may be a fraction.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, options: TrainOptions, lr: float, epochs: float) -> None:
        self._optimizer = optimizer
        self._options = options
        self._lr = lr
        self._epochs = epochs

    def factor(self, progress: float) -> float:
        """Factor on the starting rate.

        Args:
            progress: epochs done, with the fraction of the current one.
        """
        warmup = self._options.warmup_epochs
        if progress < warmup:
            return progress / warmup
        if self._options.schedule == "step":
            return self._options.lr_gamma ** sum(progress >= epoch for epoch in self._options.lr_steps)
        done = min(1.0, (progress - warmup) / max(self._epochs - warmup, 1e-9))
        return 0.5 * (1 + math.cos(math.pi * done))

    def set(self, progress: float) -> float:
        """Sets the optimiser's rate for the coming step and returns it."""
        rate = self._lr * self.factor(progress)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint's ``schedulers``; the rate follows from options and progress alone."""
        return {"kind": self._options.schedule, "lr": self._lr, "epochs": self._epochs}


class MovingAverage:
    """Exponential moving average of the trained weights.

    Args:
        parameters: the trained parameters.
        decay: share of the old average at each step; early steps use less, (1 + n) / (10 + n).
    """

    def __init__(self, parameters: list[nn.Parameter], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self._steps = 0
        self.swapped = False
        self.average = [value.detach().clone() for value in parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights after a step in."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self.average, [value.detach() for value in self._parameters], 1 - decay)

    def swap(self) -> None:
        """Exchanges weights and average: before a validation, and back after it."""
        for value, average in zip(self._parameters, self.average):
            value.data, average.data = average.data, value.data
        self.swapped = not self.swapped

    def state_dict(self) -> dict[str, Any]:
        """The average, in the order of the parameters."""
        return {"steps": self._steps, "average": list(self.average)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts a saved average back."""
        self._steps = state["steps"]
        for own, saved in zip(self.average, state["average"], strict=True):
            own.copy_(saved)


class FiniteGuard:
    """Notices the first step with a non-finite loss term or gradient norm, on the device.

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
