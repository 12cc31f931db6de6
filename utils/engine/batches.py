"""Batches on their way to the device: one ahead of the step that works, from pinned memory."""

import dataclasses
import itertools
import signal
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor


class Loader(Protocol):
    """What the trainer asks of a source of batches.

    A batch is a dataclass, dict, list or tuple of tensors whose first dimension is the batch, or one tensor. In a
    run of several processes each gets its own part and every part has equally many batches.
    """

    def __iter__(self) -> Iterator[Any]:
        """The batches of the current epoch that have not been handed out yet."""

    def __len__(self) -> int:
        """Batches of a whole epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Starts epoch ``epoch`` (from 0) at its first batch."""

    def state_dict(self) -> dict[str, Any]:
        """Epoch and position after the batch that was handed out last; plain values.

        The main process's state is what is saved, and every process goes on from it.
        """

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved position."""


@dataclasses.dataclass
class Loaded:
    """A batch on the training device.

    Attributes:
        batch: what the loader gave, its tensors moved.
        size: samples in it.
        state: the loader's position after it.
    """

    batch: Any
    size: int
    state: dict[str, Any]


def map_tensors(batch: Any, change: Any) -> Any:
    """The batch with ``change`` applied to each tensor in it, whatever holds them."""
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
        TypeError: there is no tensor in it.
    """
    sizes: list[int] = []
    map_tensors(batch, lambda tensor: sizes.append(len(tensor)))
    if not sizes:
        raise TypeError(f"a batch of type {type(batch).__name__} holds no tensor")
    return sizes[0]


def load_ahead(loader: Loader, device: torch.device) -> Iterator[Loaded]:
    """Moves the batches of the current epoch to the device.

    On a GPU the copy of the next batch runs on a stream of its own, from pinned memory, while the current batch
    is worked on. Elsewhere there is nothing to gain and batches come one by one.
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
    """The next ``count`` batches on the device, or as many as the epoch has; the loader stays where it is."""
    position = loader.state_dict()
    batches = load_ahead(loader, device)
    first = [loaded.batch for loaded in itertools.islice(batches, count)]
    batches.close()
    loader.load_state_dict(position)
    return first


def _with_positions(loader: Loader) -> Iterator[tuple[Any, dict[str, Any]]]:
    for batch in loader:
        # PyTorch notices a lost worker in two ways: it asks every few seconds, and it has a handler that raises
        # wherever the main thread happens to be, in the middle of an update or of a save. The first will do.
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
    """Makes the working stream wait for the copy, and tells the allocator that it uses the memory."""
    current = torch.cuda.current_stream()
    current.wait_stream(stream)
    map_tensors(loaded.batch, lambda tensor: tensor.record_stream(current))
    return loaded
