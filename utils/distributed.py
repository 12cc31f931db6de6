"""Training with several processes: torchrun's environment variables and the collective calls used here.

All functions also work in a single process, so that callers need no separate path.
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
    """The place of this process among the processes of a run.

    Attributes:
        rank: index of this process, 0 to ``size`` - 1.
        size: number of processes.
        local_rank: index of this process on its machine, which is also the index of its GPU.
        restarts: number of times torchrun has restarted the run after a failure.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    restarts: int = 0

    @property
    def main(self) -> bool:
        """True in the process that writes files."""
        return self.rank == 0


def current_world() -> World:
    """The world described by torchrun's environment variables; a single process if they are not set."""
    return World(rank=int(os.environ.get("RANK", 0)), size=int(os.environ.get("WORLD_SIZE", 1)),
                 local_rank=int(os.environ.get("LOCAL_RANK", 0)),
                 restarts=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)))


def choose_device(name: str = "auto") -> torch.device:
    """The device of this process for a device name of an option file.

    Args:
        name: ``auto`` (a GPU if available), ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``xpu``. ``auto`` and
            ``cuda`` select the GPU of this process's local rank.

    Raises:
        UserError: the device is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device: {name!r} is not a device; give auto, cpu, cuda or cuda:N") from error
    if device.type == "cpu":
        return device
    if not getattr(torch, device.type).is_available():
        raise UserError(f"device: {name} is not available to this PyTorch; use --device auto or cpu")
    if device.type != "cuda":
        return device
    index = current_world().local_rank if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise UserError(f"device: {name} needs GPU {index}, {torch.cuda.device_count()} are visible; "
                        "use --device cpu, or fewer processes")
    return torch.device("cuda", index)


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started for the duration of the block.

    Args:
        device: selects the backend: NCCL for GPUs, gloo otherwise.

    Yields:
        The world. Without torchrun it has one process, and no process group is created.
    """
    world = current_world()
    if world.size == 1:
        yield world
        return
    # torchrun keeps one store across restarts: without a prefix, processes would use the addresses of lost
    # processes and wait for ever.
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
    """True inside :func:`joined` in a run of several processes."""
    return dist.is_available() and dist.is_initialized()


def barrier() -> None:
    """Wait until every process has reached this call."""
    if is_joined():
        dist.barrier()


def wait_for_main(moment: str) -> None:
    """Wait until the main process has reached this call, for days if necessary.

    NCCL and gloo abort a run whose barrier takes longer than ten and thirty minutes. This waits on the rendezvous
    store instead.

    Args:
        moment: name of the wait; used once per run.
    """
    if not is_joined():
        return
    store, key = dist.distributed_c10d._get_default_store(), f"main is here: {moment}"
    if dist.get_rank() == 0:
        store.set(key, "yes")
    else:
        store.wait([key], timedelta(days=30))


def from_main(value: Any) -> Any:
    """Send the main process's value, of any type, to every process."""
    if not is_joined():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place.

    Args:
        values: any shape, on the training device; the shape is the same in all processes.
    """
    if is_joined():
        dist.all_reduce(values)
    return values


def gather_to_main(value: Any) -> list[Any]:
    """The values of all processes in rank order; an empty list except in the main process."""
    if not is_joined():
        return [value]
    main = dist.get_rank() == 0
    values = [None] * dist.get_world_size() if main else None
    dist.gather_object(value, values, dst=0)
    return values or []
