"""All that a run is at the end of a step, into a checkpoint and out of it."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from option.load import options_hash
from option.schema import Options
from utils.engine.checkpoint import FORMAT
from utils.engine.optimisation import MovingAverage, Schedule
from utils.engine.prefetch import map_tensors
from utils.engine.randomness import Randomness
from utils.errors import UserError
from utils.version import VERSION, commit

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimiser steps done.
        epoch: epochs done; number of the one that runs.
        step_in_epoch: optimiser steps done in it.
        images: samples seen by all processes, counted as those of this process times their number.
        seconds: time spent in training, over all starts.
        position: the loader's state after the last batch that went into a step.
        sums: (K,) sums of the loss terms and the gradient norm since the last log line.
        summed: steps in ``sums``.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    images: int = 0
    seconds: float = 0.0
    position: dict[str, Any] = dataclasses.field(default_factory=dict)
    sums: Tensor | None = None
    summed: int = 0

    def advance(self, images: int, position: dict[str, Any], numbers: Tensor) -> None:
        """Counts one more step.

        Args:
            images: samples in it.
            position: the loader's state after it.
            numbers: (K,) its loss terms and gradient norm.
        """
        self.step += 1
        self.step_in_epoch += 1
        self.images += images
        self.position = position
        self.sums = numbers if self.sums is None else self.sums.to(numbers.device) + numbers
        self.summed += 1

    def take_sums(self) -> tuple[Tensor, int]:
        """The sums since the last log line and the steps in them; new ones begin."""
        sums, summed = self.sums, self.summed
        self.sums, self.summed = None, 0
        return sums, summed

    def begin_epoch(self, epoch: int, position: dict[str, Any]) -> None:
        """The run stands at the start of ``epoch``."""
        self.epoch, self.step_in_epoch, self.position = epoch, 0, position


@dataclasses.dataclass
class Snapshot:
    """The parts of a run that change.

    Attributes:
        model: the network without any wrapper.
        frozen: name prefixes in it that are neither saved nor expected (teachers).
    """

    options: Options
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    randomness: Randomness
    average: MovingAverage | None
    frozen: tuple[str, ...] = ()

    def capture(self, progress: Progress) -> dict[str, Any]:
        """The contents of a checkpoint, on the CPU.

        Args:
            progress: of the same step as the weights.
        """
        state = {
            "format": FORMAT, "version": VERSION, "commit": commit(),
            "state_dict": {name: value for name, value in self.model.state_dict().items()
                           if not name.startswith(self.frozen or ("\0",))},
            "optimizers": [self.optimizer.state_dict()],
            "schedulers": [self.schedule.state_dict()],
            "rng": self.randomness.state_dict(),
            "ema": self.average.state_dict() if self.average else None,
            "options": json.dumps(self.options.model_dump(mode="json")),
            "options_hash": options_hash(self.options),
            **{field.name: getattr(progress, field.name) for field in dataclasses.fields(progress)},
        }
        return map_tensors(state, lambda tensor: tensor.detach().to("cpu"))

    def restore(self, state: dict[str, Any], path: Path, *, randomness: bool = True) -> Progress:
        """Puts a checkpoint back into the parts.

        Args:
            state: what :meth:`capture` gave.
            path: where it came from, for messages.
            randomness: False in processes other than the one that wrote it.

        Raises:
            UserError: its weights are those of another network.
        """
        self._warn_of_changes(state, path)
        wrong = self.model.load_state_dict(state["state_dict"], strict=False)
        missing = [name for name in wrong.missing_keys if not name.startswith(self.frozen or ("\0",))]
        if missing or wrong.unexpected_keys:
            raise UserError(f"checkpoint {path} is of another network: missing {_few(missing)}, unknown "
                            f"{_few(wrong.unexpected_keys)}; resume with the options it was trained with")
        settings = [{key: value for key, value in group.items() if key != "params"}
                    for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizers"][0])
        for group, setting in zip(self.optimizer.param_groups, settings):
            group.update(setting)  # the option file decides, not what the run once started with
        if self.average and state.get("ema"):
            self.average.load_state_dict(state["ema"])
        if randomness:
            self.randomness.load_state_dict(state["rng"])
        return Progress(**{field.name: state[field.name] for field in dataclasses.fields(Progress)
                           if field.name in state})

    def _warn_of_changes(self, state: dict[str, Any], path: Path) -> None:
        if state.get("options_hash") == options_hash(self.options) or "options" not in state:
            return
        old, new = _flat(json.loads(state["options"])), _flat(self.options.model_dump(mode="json"))
        changed = [f"{key}: {old.get(key)} -> {new.get(key)}" for key in sorted(old.keys() | new.keys())
                   if old.get(key) != new.get(key) and key not in ("device", "path.resume_state")]
        log.warning("options differ from those of %s: %s", path.name, "; ".join(changed))


def _few(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "none"


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    return {key: value for name, part in tree.items() for key, value in _flat(part, f"{prefix}{name}.").items()}
