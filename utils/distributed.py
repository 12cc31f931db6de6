"""Many processes, one training: what torchrun's environment says, and the few collective calls that we need.

Every function does nothing (or the obvious thing) in a single process, so that callers need no second path.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from utils.errors import UserError


@dataclass(frozen=True)
class World:
    """Who this process is among the processes of a run.

    Attributes:
        rank: number of this process, 0 to ``size`` - 1.
        size: how many processes train together.
        local_rank: number of this process on its machine; also the number of its GPU.
        restarts: how often torchrun has restarted the run after a failure.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    restarts: int = 0

    @property
    def main(self) -> bool:
        """True for the one process that writes files."""
        return self.rank == 0


def current_world() -> World:
    """The world as torchrun's environment variables describe it; a single process without them."""
    return World(rank=int(os.environ.get("RANK", 0)), size=int(os.environ.get("WORLD_SIZE", 1)),
                 local_rank=int(os.environ.get("LOCAL_RANK", 0)),
                 restarts=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)))


def choose_device(name: str = "auto") -> torch.device:
    """The device that a name of an option file means for this process.

    Args:
        name: ``auto`` (a GPU when there is one), ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``xpu``. ``auto`` and
            ``cuda`` take the GPU of this process's local rank.

    Raises:
        UserError: the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device: {name!r} is no device; give auto, cpu, cuda or cuda:N") from error
    if device.type == "cpu":
        return device
    if not getattr(torch, device.type).is_available():
        raise UserError(f"device: {name} is not available to this PyTorch; use --device auto or cpu")
    if device.type != "cuda":
        return device
    index = current_world().local_rank if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise UserError(f"device: {name} wants GPU {index}, {torch.cuda.device_count()} are visible; "
                        "use --device cpu, or fewer processes")
    return torch.device("cuda", index)


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Joins the processes that torchrun started for the length of the block.

    Args:
        device: NCCL connects GPUs, gloo everything else.

    Yields:
        The world; of one process when torchrun did not start us (no process group is made then).
    """
    world = current_world()
    if world.size == 1:
        yield world
        return
    # torchrun keeps one store over its restarts: without a prefix, processes would look for each other at the
    # addresses of those that were lost, and wait for ever.
    store, rank, size = next(iter(dist.rendezvous("env://")))
    store = dist.PrefixStore(f"start-{world.restarts}", store)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size,
                            device_id=device if device.type == "cuda" else None)
    try:
        yield world
    finally:
        dist.destroy_process_group()


def is_joined() -> bool:
    """True between the start and the end of a run of several processes."""
    return dist.is_available() and dist.is_initialized()


def barrier() -> None:
    """Waits until every process is here."""
    if is_joined():
        dist.barrier()


def wait_for_main(moment: str) -> None:
    """Waits until the main process is here, for days if need be.

    A barrier would do for short waits; NCCL and gloo end a run whose processes wait longer than ten and thirty
    minutes. This asks the store that joined them instead.

    Args:
        moment: a name that is used once in a run.
    """
    if not is_joined():
        return
    store, key = dist.distributed_c10d._get_default_store(), f"main is here: {moment}"
    if dist.get_rank() == 0:
        store.set(key, "yes")
    else:
        store.wait([key], timedelta(days=30))


def from_main(value: Any) -> Any:
    """The main process's value of any kind, in every process."""
    if not is_joined():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum of a tensor over all processes, in place.

    Args:
        values: any shape, on the training device; equal shapes everywhere.
    """
    if is_joined():
        dist.all_reduce(values)
    return values


def gather_to_main(value: Any) -> list[Any]:
    """Every process's value, in the order of the ranks; an empty list in all but the main process."""
    if not is_joined():
        return [value]
    main = dist.get_rank() == 0
    values = [None] * dist.get_world_size() if main else None
    dist.gather_object(value, values, dst=0)
    return values or []
