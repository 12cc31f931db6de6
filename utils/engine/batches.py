"""Moves batches to the device, one ahead of the current step and from pinned memory."""

import dataclasses
import itertools
import signal
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor


class Loader(Protocol):
    """The interface of a source of batches.

    A batch is a tensor, or a dataclass, dict, list or tuple of tensors; the first dimension is the batch. In a run of
    several processes each process gets its own part, and all parts have the same number of batches.
    """

    def __iter__(self) -> Iterator[Any]:
        """The remaining batches of the current epoch."""

    def __len__(self) -> int:
        """Number of batches in an epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Start epoch ``epoch`` (from 0) at its first batch."""

    def state_dict(self) -> dict[str, Any]:
        """Epoch and position after the last batch returned, as plain values.

        Only the main process's state is saved; all processes resume from it.
        """

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved position."""


@dataclasses.dataclass
class Loaded:
    """A batch on the training device.

    Attributes:
        batch: the loader's batch, with its tensors on the device.
        size: number of samples.
        state: the loader's position after this batch.
    """

    batch: Any
    size: int
    state: dict[str, Any]


def map_tensors(batch: Any, change: Any) -> Any:
    """Apply ``change`` to each tensor of a batch, keeping its structure."""
    if isinstance(batch, Tensor):
        return change(batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        changed = {field.name: map_tensors(getattr(batch, field.name), change)
                   for field in dataclasses.fields(batch) if field.init}
        return dataclasses.replace(batch, **changed)
    if isinstance(batch, dict):
        return {key: map_tensors(value, change) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(value, change) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(map_tensors(value, change) for value in batch)
    return batch


def batch_size(batch: Any) -> int:
    """Length of the first tensor in the batch.

    Raises:
        TypeError: the batch contains no tensor.
    """
    sizes: list[int] = []
    map_tensors(batch, lambda tensor: sizes.append(len(tensor)))
    if not sizes:
        raise TypeError(f"a batch of type {type(batch).__name__} holds no tensor")
    return sizes[0]


def load_ahead(loader: Loader, device: torch.device) -> Iterator[Loaded]:
    """Move the batches of the current epoch to the device.

    On a GPU the next batch is copied from pinned memory on a separate stream while the current batch is processed.
    On other devices batches are moved one at a time.
    """
    source = _with_positions(loader)
    if device.type != "cuda":
        for batch, state in source:
            yield Loaded(map_tensors(batch, lambda tensor: tensor.to(device)), batch_size(batch), state)
        return
    stream = torch.cuda.Stream(device)
    ahead: Loaded | None = None
    for batch, state in source:
        following = _copy(batch, state, device, stream)
        if ahead is not None:
            yield _ready(ahead, stream)
        ahead = following
    if ahead is not None:
        yield _ready(ahead, stream)


def first_batches(loader: Loader, device: torch.device, count: int) -> list[Any]:
    """The next ``count`` batches of the epoch (fewer at its end) on the device; the loader's position is unchanged."""
    position = loader.state_dict()
    batches = load_ahead(loader, device)
    first = [loaded.batch for loaded in itertools.islice(batches, count)]
    batches.close()
    loader.load_state_dict(position)
    return first


def _with_positions(loader: Loader) -> Iterator[tuple[Any, dict[str, Any]]]:
    for batch in loader:
        # PyTorch detects a lost worker in two ways: by polling every few seconds, and by a signal handler that raises
        # wherever the main thread happens to be, even during an update or a save. Polling is sufficient.
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        yield batch, loader.state_dict()


def _copy(batch: Any, state: dict[str, Any], device: torch.device, stream: torch.cuda.Stream) -> Loaded:
    def move(tensor: Tensor) -> Tensor:
        if tensor.device.type == "cpu" and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True)

    with torch.cuda.stream(stream):
        return Loaded(map_tensors(batch, move), batch_size(batch), state)


def _ready(loaded: Loaded, stream: torch.cuda.Stream) -> Loaded:
    """Make the compute stream wait for the copy, and register its use of the memory with the allocator."""
    current = torch.cuda.current_stream()
    current.wait_stream(stream)
    map_tensors(loaded.batch, lambda tensor: tensor.record_stream(current))
    return loaded
