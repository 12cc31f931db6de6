"""A task that trains in milliseconds, and a script that trains it and breaks in ways a test asks for.

    python -m tests.utils.toy FOLDER '{"options": {...}, "resume": "latest", "fault": "kill", "at": 5}'
"""

import functools
import json
import logging
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader

import utils.engine.checkpoints
from option.schema import Options
from utils.cli import run
from utils.distributed import choose_device, joined
from utils.engine.loop import Summary, Trainer
from utils.logging import set_up_logging

ITEMS, BATCH, WIDTH = 44, 8, 8  # the last batch of an epoch has 4


class ToyLoader:
    """Numbers in an order that the epoch decides; batch k of process r is batch k * world + r of that order."""

    def __init__(self, batch: int = BATCH, rank: int = 0, world: int = 1, workers: int = 0) -> None:
        self.batch, self.rank, self.world, self.workers = batch, rank, world, workers
        self.values = torch.randn(ITEMS, WIDTH, generator=torch.Generator().manual_seed(3))
        self.epoch = self.position = 0

    def __len__(self) -> int:
        return -(-ITEMS // (self.batch * self.world))

    def set_epoch(self, epoch: int) -> None:
        self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "items": self.position * self.batch * self.world}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["items"] // (self.batch * self.world)

    def rows(self) -> list[list[int]]:
        order = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        joint = [order[start:start + self.batch * self.world]
                 for start in range(0, ITEMS, self.batch * self.world)]
        # The rest of an epoch is shared out unevenly on purpose: 3 to 1.
        return [part[self.rank * self.batch:(self.rank + 1) * self.batch] if len(part) == self.batch * self.world
                else part[:len(part) * 3 // 4] if self.rank == 0 and self.world > 1
                else part[len(part) * 3 // 4:] if self.world > 1 else part for part in joint]

    def __iter__(self):
        rows = self.rows()[self.position:]
        source = ({"x": self.values[index]} for index in rows)
        if self.workers:
            source = DataLoader(Lethal([self.values[index] for index in rows]), batch_size=None,
                                num_workers=self.workers)
        for batch in source:
            self.position += 1
            yield batch


class Lethal(list):
    """A data set whose fourth item kills the worker that reads it."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"x": super().__getitem__(index)}


class ToyTask(nn.Module):
    """Denoises vectors; with ``noise`` False nothing is drawn and samples do not see each other."""

    def __init__(self, *, noise: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Dropout(0.1 if noise else 0.0),
                                   nn.Linear(16, WIDTH))
        self.noise = noise
        self.calls = 0
        self.before = lambda call: None
        self.poison = ""

    def forward(self, batch, generators):
        self.calls += 1
        self.before(self.calls)
        x = batch["x"]
        seen = x + torch.randn(x.shape, generator=generators["damage"], device=x.device) if self.noise else x * 0.5
        near = (self.model(seen) - x).abs().mean()
        far = (self.model(seen) - x).square().mean()
        if self.poison == "loss":
            far = far * torch.nan
        if self.poison == "gradient":
            far = far + (self.model[0].weight.sum() * 0).sqrt()  # 0, its gradient is 0 * inf
        return {"near": near, "far": far, "total_loss": near + 10 * far}

    def pictures(self, batch, generators):
        return {"x": batch["x"].reshape(-1, 1, 1, WIDTH).expand(-1, 3, 4, -1)}

    def trainable(self):
        return self.model.parameters()


def toy_options(**train) -> Options:
    """Four epochs, a line for each step, a checkpoint for each epoch."""
    logger = {"print_freq": 1, "save_checkpoint_freq": 1, **train.pop("logger", {})}
    return Options(name="toy", use_tb_logger=False, logger=logger,
                   train={"epoch": 4, "lr": 1e-2, "lr_steps": [2], "amp": "off", **train})


def train_toy(folder: Path, *, resume: str | None = None, task: ToyTask | None = None,
              loader: ToyLoader | None = None, validate=None, **train) -> Summary:
    """Trains in this process."""
    trainer = Trainer(task or ToyTask(), loader or ToyLoader(), options=toy_options(**train), run_dir=folder,
                      device=torch.device("cpu"), validate=validate)
    if resume:
        trainer.resume(resume)
    return trainer.fit()


def losses(folder: Path) -> list[tuple[int, float]]:
    """(step, total loss) of each line of the history."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(line["step"], line["total_loss"]) for line in lines if line["kind"] == "train"]


def _kill_in_write(at: int) -> None:
    """The ``at``-th checkpoint is cut off by a kill -9 when half of it is on the disk."""
    original, count = torch.save, iter(range(1, 1000))

    def save(state, path):
        original(state, path)
        if next(count) == at:
            os.truncate(path, Path(path).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    utils.engine.checkpoints.torch.save = save


def _arm(task: ToyTask, fault: str, at: int) -> None:
    def before(call: int) -> None:
        if call == at and fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if call == at and fault == "hang":
            logging.getLogger("toy").info("hanging in step %d", call)
            time.sleep(100)  # as a long backward pass does, this holds the main thread

    task.before = before
    if fault == "kill in write":
        _kill_in_write(at)


def _slow_at_first(seconds: float):
    """A validation whose first call takes so long."""
    waits = iter([seconds])

    def validate(step: int, model: nn.Module) -> dict[str, float]:
        time.sleep(next(waits, 0))
        return {"score": 0.0}

    return validate


def main(arguments: list[str]) -> None:
    folder, wish = Path(arguments[0]), json.loads(arguments[1])
    if "patience" in wish:  # seconds that a process waits for another in a collective call
        patience = timedelta(seconds=wish["patience"])
        dist.init_process_group = functools.partial(dist.init_process_group, timeout=patience)
    device = choose_device("cpu")
    with joined(device) as world:
        set_up_logging(folder, world)
        task = ToyTask(noise=wish.get("noise", True))
        first_start, here = world.restarts == 0, world.rank == wish.get("rank", 0)
        if first_start and here:
            _arm(task, wish.get("fault", ""), wish.get("at", 0))
        loader = ToyLoader(wish.get("batch", BATCH), world.rank, world.size, wish.get("workers", 0))
        resume = wish.get("resume") if first_start else "latest"
        validate = _slow_at_first(wish["validation"]) if "validation" in wish else None
        train_toy(folder, task=task, loader=loader, resume=resume, validate=validate, **wish.get("options", {}))


if __name__ == "__main__":
    run(main)
