"""The state of a run at the end of a step: its progress, and everything stored in checkpoints."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from option.load import options_hash
from option.schema import Options
from utils.engine.batches import map_tensors
from utils.engine.optimisation import Schedule
from utils.errors import UserError
from utils.version import VERSION, commit

log = logging.getLogger(__name__)

FORMAT = 2  # 1: the average as a list, generator states, no steps_per_epoch
TOTAL = "total_loss"


@dataclasses.dataclass
class Progress:
    """The progress of a run.

    Attributes:
        step: completed optimiser steps.
        epoch: completed epochs; also the index of the current one.
        step_in_epoch: completed optimiser steps in the current epoch.
        steps_per_epoch: optimiser steps in an epoch; 0 in checkpoints of format 1.
        images: samples seen by all processes, computed as those of this process times the number of processes.
        seconds: training time over all starts.
        position: the loader's state after the last batch used in a step.
        sums: (K,) sums of the loss terms and the gradient norm since the last log line.
        summed: number of steps in ``sums``.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    steps_per_epoch: int = 0
    images: int = 0
    seconds: float = 0.0
    position: dict[str, Any] = dataclasses.field(default_factory=dict)
    sums: Tensor | None = None
    summed: int = 0

    @property
    def epochs(self) -> float:
        """Completed epochs, including the fraction of the current one."""
        return self.epoch + self.step_in_epoch / self.steps_per_epoch

    def advance(self, images: int, position: dict[str, Any], numbers: Tensor) -> None:
        """Count one step.

        Args:
            images: samples in the step.
            position: the loader's state after the step.
            numbers: (K,) loss terms and gradient norm.
        """
        self.step += 1
        self.step_in_epoch += 1
        self.images += images
        self.position = position
        self.sums = numbers if self.sums is None else self.sums.to(numbers.device) + numbers
        self.summed += 1

    def take_sums(self) -> tuple[Tensor, int]:
        """Return and reset the sums since the last log line and the number of steps in them."""
        sums, summed = self.sums, self.summed
        self.sums, self.summed = None, 0
        return sums, summed

    def begin_epoch(self, epoch: int, position: dict[str, Any]) -> None:
        """Move to the start of ``epoch``."""
        self.epoch, self.step_in_epoch, self.position = epoch, 0, position

    def use_steps_per_epoch(self, steps: int) -> None:
        """Continue with another step size (batch, accumulation, processes) at the same number of images seen.

        Args:
            steps: optimiser steps in an epoch from now on.
        """
        known = self.steps_per_epoch or (self.step - self.step_in_epoch) // max(self.epoch, 1) or steps
        self.step_in_epoch = round(self.step_in_epoch * steps / known)
        self.steps_per_epoch = steps


@dataclasses.dataclass
class State:
    """The parts of a run that change during training.

    Attributes:
        model: the network without wrappers.
        average: its moving average, or None.
        frozen: name prefixes of parameters that are neither saved nor expected (teachers).
    """

    options: Options
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    average: ModelEmaV3 | None
    frozen: tuple[str, ...] = ()

    def capture(self, progress: Progress) -> dict[str, Any]:
        """The contents of a checkpoint, on the CPU.

        Args:
            progress: progress at the same step as the weights.
        """
        state = {
            "format": FORMAT, "version": VERSION, "commit": commit(),
            "state_dict": self._weights(self.model),
            "optimizers": [self.optimizer.state_dict()],
            "schedulers": [self.schedule.state_dict()],
            "ema": self._weights(self.average.module) if self.average else None,
            "options": json.dumps(self.options.model_dump(mode="json")),
            "options_hash": options_hash(self.options),
            **{field.name: getattr(progress, field.name) for field in dataclasses.fields(progress)},
        }
        return map_tensors(state, lambda tensor: tensor.detach().to("cpu"))

    def restore(self, state: dict[str, Any], path: Path) -> Progress:
        """Restore a checkpoint.

        Args:
            state: return value of :meth:`capture`.
            path: source of the state, for messages.

        Raises:
            UserError: it belongs to another network or optimiser.
        """
        before = _options_of(state) or self.options
        self._warn_of_changes(before, path)
        self._load_weights(state["state_dict"], path)
        self._load_optimizer(state["optimizers"], before.train.optimizer, path)
        average = averaged_weights(state, self.model, path)
        if self.average and average:
            self.average.module.load_state_dict(average, strict=False)
        elif self.average:
            self.average.set(self.model)
        return Progress(**{field.name: state[field.name] for field in dataclasses.fields(Progress)
                           if field.name in state})

    def _weights(self, model: nn.Module) -> dict[str, Tensor]:
        return {name: value for name, value in model.state_dict().items() if not self._is_frozen(name)}

    def _is_frozen(self, name: str) -> bool:
        return name.startswith(self.frozen)

    def _load_weights(self, saved: dict[str, Tensor], path: Path) -> None:
        own = self._weights(self.model)
        missing, unknown = [name for name in own if name not in saved], [name for name in saved if name not in own]
        shapes = [f"{name} of shape {tuple(saved[name].shape)} instead of {tuple(value.shape)}"
                  for name, value in own.items() if name in saved and saved[name].shape != value.shape]
        if missing or unknown or shapes:
            parts = [f"missing {_few(missing)}", f"unknown {_few(unknown)}"] if missing or unknown else [_few(shapes)]
            raise UserError(f"checkpoint {path} is of another network: {', '.join(parts)}; resume with the options it "
                            "was trained with; if an older version wrote it, start from its weights with "
                            f"path.pretrain_model_G={path}")
        self.model.load_state_dict(saved, strict=False)

    def _load_optimizer(self, saved: list[dict[str, Any]], earlier: str, path: Path) -> None:
        chosen = self.options.train.optimizer
        if "muon" in (chosen, earlier) and chosen != earlier:
            raise UserError(f"checkpoint {path} was trained by {earlier}, whose state {chosen} cannot use; resume with "
                            f"train.optimizer={earlier}, or start from its weights with path.pretrain_model_G")
        settings = [{key: value for key, value in group.items() if key != "params"}
                    for group in self.optimizer.param_groups]
        try:
            self.optimizer.load_state_dict(saved[0])
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"checkpoint {path}: its optimiser state cannot be used here ({error}); start from its "
                            "weights with path.pretrain_model_G") from error
        for group, setting in zip(self.optimizer.param_groups, settings):
            group.update(setting)  # settings of the option file override those of the checkpoint

    def _warn_of_changes(self, before: Options, path: Path) -> None:
        old, new = (_flat(options.model_dump(mode="json")) for options in (before, self.options))
        changed = [f"{key}: {old.get(key)} -> {new.get(key)}" for key in sorted(old.keys() | new.keys())
                   if old.get(key) != new.get(key) and key not in ("device", "path.resume_state")]
        if changed:
            log.warning("options differ from those of %s: %s", path.name, "; ".join(changed))


def averaged_weights(state: dict[str, Any], model: nn.Module, path: Path) -> dict[str, Tensor] | None:
    """The moving average stored in a checkpoint, by name; None if there is none.

    Args:
        state: a checkpoint of any format.
        model: its network. Format 1 has no names; it lists the trained parameters in order, which are all except an
            unused last norm of the encoder.
        path: the checkpoint's file, for messages.

    Raises:
        UserError: format 1, and the numbers of tensors differ.
    """
    average = state.get("ema")
    if not average or "average" not in average:
        return average
    values = average["average"]
    names = [name for name, value in model.named_parameters() if value.requires_grad and name in state["state_dict"]]
    if len(names) > len(values):
        names = [name for name in names if not name.startswith("encoder.norm.")]
    if len(names) != len(values):
        raise UserError(f"{path}: its moving average has {len(values)} tensors, this network {len(names)}; export the "
                        "last weights with --last")
    return dict(zip(names, values))


def _options_of(state: dict[str, Any]) -> Options | None:
    """The options stored in a checkpoint; None if missing or unreadable by this version."""
    try:
        return Options.model_validate(json.loads(state["options"]))
    except (KeyError, TypeError, ValueError):
        return None


def _few(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "none"


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    return {key: value for name, part in tree.items() for key, value in _flat(part, f"{prefix}{name}.").items()}
