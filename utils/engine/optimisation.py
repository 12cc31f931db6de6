"""Optimiser, learning rate and moving average."""

import functools
import math
from collections.abc import Iterable
from typing import Any

import torch
from timm.optim import Muon, muon
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from option.schema import TrainOptions
from utils.precision import device_gains


def build_optimizer(parameters: Iterable[nn.Parameter], options: TrainOptions, lr: float) -> torch.optim.Optimizer:
    """Build fused Adam or AdamW, or Muon. Biases, norms and other vectors get no weight decay. The learning rate of a
    parameter with an attribute ``lr_scale`` is multiplied by it.

    Muon (Jordan 2024) replaces the momentum of each matrix by the nearest orthogonal matrix, which learns more per
    step than Adam; vectors use AdamW. Its updates are scaled to the magnitude of AdamW's (Liu et al. 2025, arXiv
    2502.16982), so that learning rates carry over.

    Args:
        parameters: parameters to train.
        options: reads ``optimizer``, ``beta1``, ``beta2`` and ``weight_decay``. With Muon the betas apply to the
            AdamW of the vectors, and the momentum of the matrices is 0.95.
        lr: initial learning rate.
    """
    trained = list(parameters)
    groups = []
    for scale in sorted({1.0, *map(_scale, trained)}):
        own = [value for value in trained if _scale(value) == scale]
        groups += [
            {"params": [value for value in own if value.ndim > 1], "weight_decay": options.weight_decay},
            {"params": [value for value in own if value.ndim <= 1], "weight_decay": 0.0},
        ]
        for group in groups[-2:]:
            group |= {"lr": lr * scale, "lr_scale": scale} if scale != 1 else {}
    betas = (options.beta1, options.beta2)
    if options.optimizer == "muon":
        bf16 = all(device_gains(device) for device in {value.device for value in trained})
        return StackedMuon(groups, lr=lr, betas=betas, nesterov=True, adjust_lr_fn="match_rms_adamw",
                           dtype=torch.bfloat16 if bf16 else torch.float32)
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    fused = all(value.device.type in ("cpu", "cuda") for value in trained)
    return kind(groups, lr=lr, betas=betas, fused=fused)


def _scale(value: nn.Parameter) -> float:
    return float(getattr(value, "lr_scale", 1.0))


class StackedMuon(Muon):
    """timm's Muon with matrices of equal shape updated as one stack, and with a choice of precision.

    One by one, the 133 matrices of the published network need 3,226 operations a step, which a GPU waits for; stacked
    146. timm's optimiser passes neither stacks nor ``dtype`` to its function, so the update is bound for the duration
    of a step.

    Args:
        dtype: of the Newton-Schulz iteration; bfloat16, or float32 on devices without native bf16.
    """

    def __init__(self, *arguments: Any, dtype: torch.dtype, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._dtype = dtype

    def step(self, closure: Any = None) -> Any:
        """Make one step; see :class:`timm.optim.Muon`."""
        one_by_one = muon._single_tensor_muon
        muon._single_tensor_muon = functools.partial(_stacked_update, dtype=self._dtype)
        try:
            return super().step(closure)
        finally:
            muon._single_tensor_muon = one_by_one


def _stacked_update(params: list[Tensor], grads: list[Tensor], momentum_bufs: list[Tensor], *, lr: float,
                    weight_decay: float, momentum: float, ns_steps: int, ns_coefficients: str, adjust_lr_fn: str,
                    dtype: torch.dtype, **_: Any) -> None:
    """Muon's update with Nesterov momentum for all matrices; the kernels of a convolution count as one row each."""
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_lerp_(momentum_bufs, grads, 1 - momentum)
    updates = torch._foreach_lerp(grads, momentum_bufs, momentum)
    coefficients = muon.resolve_ns_coefficients(ns_coefficients, muon._COEFFICIENTS)
    by_shape: dict[torch.Size, list[int]] = {}
    for index, value in enumerate(params):
        by_shape.setdefault(value.shape, []).append(index)
    for shape, members in by_shape.items():
        stack = torch.stack([updates[index].flatten(1) for index in members])
        stack = muon.zeropower_via_newtonschulz(stack, ns_steps, coefficients, dtype=dtype).to(params[members[0]].dtype)
        rate = lr * muon.get_lr_scale(stack.shape, adjust_lr_fn)
        torch._foreach_add_([params[index] for index in members], list(stack.view(-1, *shape)), alpha=-rate)


class Schedule:
    """The learning rate schedule, with a linear warm-up from 0 during ``warmup_epochs``.

    ``step``: multiplied by ``lr_gamma`` after each epoch in ``lr_steps``. ``cosine``: falls to 0 at the end. ``wsd``
    (warm-up, stable, decay; Hu et al. 2024, arXiv 2404.06395): constant, then linear to 0 over the last
    ``decay_share`` of the run. The rate depends only on progress and options, so a run may be resumed with another
    length or schedule at any point.

    Args:
        optimizer: optimiser whose rate is set.
        options: ``schedule`` and its parameters.
        lr: learning rate after the warm-up.
        epochs: length of the run in epochs; may be fractional with ``max_steps``.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, options: TrainOptions, lr: float, epochs: float) -> None:
        self._optimizer, self._options, self._lr = optimizer, options, lr
        self.epochs = epochs

    def factor(self, progress: float) -> float:
        """Factor of the learning rate.

        Args:
            progress: completed epochs, including the fraction of the current one.
        """
        options, warmup = self._options, self._options.warmup_epochs
        if progress < warmup:
            return progress / warmup
        if options.schedule == "step":
            return options.lr_gamma ** sum(progress >= epoch for epoch in options.lr_steps)
        if options.schedule == "wsd":
            left = (self.epochs - progress) / max(options.decay_share * self.epochs, 1e-9)
            return min(1.0, max(0.0, left))
        done = min(1.0, (progress - warmup) / max(self.epochs - warmup, 1e-9))
        return 0.5 * (1 + math.cos(math.pi * done))

    def set(self, progress: float) -> float:
        """Set the optimiser's rate for the next step and return it."""
        rate = self._lr * self.factor(progress)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        return rate

    def state_dict(self) -> dict[str, Any]:
        """State for the checkpoint's ``schedulers`` key; not needed to resume."""
        return {"kind": self._options.schedule, "lr": self._lr, "epochs": self.epochs}


def build_average(model: nn.Module, decay: float) -> ModelEmaV3 | None:
    """Exponential moving average of the weights; None for a decay of 0.

    After step n the decay is min(decay, (n - 1) / (n + 8)), so that the initial weights are soon forgotten. Pass n to
    ``update``.

    Args:
        model: the network, on its device, not compiled.
        decay: weight of the old average at each step, in [0, 1).
    """
    return ModelEmaV3(model, decay, use_warmup=True, warmup_gamma=9.0, warmup_power=1.0) if decay else None
