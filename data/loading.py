"""Loads batches in an order that depends only on (seed, epoch) and can be resumed at any batch.

Photographs and registered pairs are *sources*. Workers, order, resuming, distribution over processes and unreadable
files are handled here for both.
"""

from __future__ import annotations

import dataclasses
import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from utils.engine.batches import map_tensors
from utils.engine.randomness import derive_seed
from utils.errors import UserError

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)


class Source(Protocol):
    """The interface of a source: items by index, and their collation to a batch."""

    label: str

    def __len__(self) -> int:
        """Number of items, readable or not."""

    def read(self, index: int) -> Any:
        """Read one item; raises UserError if it is unreadable."""

    def collate(self, items: list[Any]) -> Any:
        """Collate items to a batch: a dataclass of tensors whose first dimension is the batch."""


def epoch_order(count: int, seed: int, epoch: int, label: str = "") -> Tensor:
    """The order of ``count`` items in an epoch: a permutation, int64."""
    generator = torch.Generator().manual_seed(derive_seed("order", label, seed, epoch))
    return torch.randperm(count, generator=generator)


class OrderedBatches(Dataset):
    """Maps (epoch, first position, length) to a batch of the epoch's order.

    An unreadable item is replaced by the next readable one in the order, so that batches keep their size and each
    batch is independent of the previous ones.

    Args:
        source: the items.
        seed: determines the order of each epoch.
    """

    def __init__(self, source: Source, seed: int) -> None:
        self.source = source
        self.seed = seed
        self._order: tuple[int, Tensor] | None = None

    def __getitem__(self, key: tuple[int, int, int]) -> tuple[Any, dict[int, str]]:
        """The batch (None if no item is readable), and a map from the index of each skipped item to the reason."""
        epoch, start, length = key
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, epoch_order(len(self.source), self.seed, epoch, self.source.label)
        problems: dict[int, str] = {}
        items = []
        for position in range(start, start + length):
            item = self._readable(position, problems)
            if item is None:
                return None, problems
            items.append(item)
        return self.source.collate(items), problems

    def _readable(self, position: int, problems: dict[int, str]) -> Any:
        order = self._order[1]
        for step in range(len(order)):
            index = int(order[(position + step) % len(order)])
            if index not in problems:
                try:
                    return self.source.read(index)
                except UserError as error:
                    problems[index] = str(error)
        return None


class OrderedLoader:
    """Batches of the current epoch, for one of ``world`` processes.

    Batch k of process r is batch ``k * world + r`` of the epoch's order: together, the batches of all processes equal
    one large batch of a single process, in the same order. A remainder that does not fill a batch for every process
    is dropped (other epochs have other orders). A set smaller than one batch makes one smaller batch.

    Args:
        source: the items.
        batch_size: items per batch of this process.
        seed: determines the order of each epoch.
        rank, world: index of this process and number of processes.
        workers: reading processes; with 0 the main process reads.
        pin: return pinned memory, for faster copies to a GPU.

    Attributes:
        skipped: index -> reason, for the unreadable items found by this process so far.

    Raises:
        UserError: fewer items than processes.
    """

    def __init__(self, source: Source, *, batch_size: int, seed: int, rank: int = 0, world: int = 1,
                 workers: int = 0, pin: bool = False) -> None:
        if len(source) < world:
            raise UserError(f"{len(source)} {source.label} cannot be shared by {world} processes; start fewer")
        self.source = source
        self.batch_size = min(batch_size, len(source) // world)
        if self.batch_size < batch_size:
            log.warning("only %d %s: batches of %d instead of %d", len(source), source.label, self.batch_size,
                        batch_size)
        self.seed, self.world = seed, world
        self.skipped: dict[int, str] = {}
        self._resumed = False
        self._place = _Place(len(source) // (self.batch_size * world), self.batch_size, rank, world)
        self._batches = DataLoader(
            OrderedBatches(source, seed), batch_size=None, sampler=self._place, num_workers=workers,
            pin_memory=pin, persistent_workers=workers > 0, worker_init_fn=start_worker,
            generator=torch.Generator())  # separate, so that seeding workers does not advance the global generator

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._place.batches

    def __iter__(self) -> Iterator[Any]:
        """The remaining batches of the current epoch; at its end, the next epoch becomes current."""
        for batch, problems in self._batches:
            self._warn(problems)
            if batch is None:
                raise UserError(f"none of the {len(self.source)} {self.source.label} can be read; first reason: "
                                f"{next(iter(self.skipped.values()))}")
            self._place.batch += 1
            self._resumed = False
            yield batch
        self._place.epoch, self._place.batch = self._place.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch (from 0) at its first batch, or at the resumed position if it lies in this epoch."""
        if not (self._resumed and epoch == self._place.epoch):
            self._place.epoch, self._place.batch = epoch, 0
        self._resumed = False

    def state_dict(self) -> dict[str, int]:
        """Position after the last batch returned, as plain numbers.

        ``items`` counts over all processes, so that a run can resume with another number of processes.
        """
        place = self._place
        return {"epoch": place.epoch, "batch": place.batch, "count": len(self.source), "seed": self.seed,
                "items": place.batch * self.batch_size * self.world}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved position; exact if the set, the seed and the total batch size are unchanged."""
        if (state["count"], state["seed"]) != (len(self.source), self.seed):
            log.warning("the run was saved with %d %s and seed %d, now there are %d and seed %d: the order of "
                        "this epoch is another one", state["count"], self.source.label, state["seed"],
                        len(self.source), self.seed)
        self._place.epoch = state["epoch"]
        self._place.batch = min(state["items"] // (self.batch_size * self.world), len(self))
        self._resumed = True

    def _warn(self, problems: dict[int, str]) -> None:
        for index, reason in problems.items():
            if index not in self.skipped:
                self.skipped[index] = reason
                log.warning("skipped (%d so far): %s", len(self.skipped), reason)


@dataclass
class _Place:
    """The position of a loader; also the sampler, iterated at the start of each epoch.

    It has no reference to the loader: in a reference cycle the garbage collector would close the workers' queues
    before stopping the workers, and closing would take five seconds per worker.
    """

    batches: int
    batch_size: int
    rank: int
    world: int
    epoch: int = 0
    batch: int = 0

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """The keys for :class:`OrderedBatches` in the rest of the current epoch."""
        for batch in range(self.batch, self.batches):
            yield self.epoch, (batch * self.world + self.rank) * self.batch_size, self.batch_size

    def __len__(self) -> int:
        return self.batches - self.batch


def start_worker(_: int) -> None:
    """Use one thread per worker; the main process handles Ctrl-C."""
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class TensorBatch:
    """Base of batches, which are frozen dataclasses of tensors whose first dimension is the batch."""

    def __len__(self) -> int:
        return len(getattr(self, dataclasses.fields(self)[0].name))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The batch on another device."""
        return map_tensors(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The batch in page-locked memory."""
        return map_tensors(self, lambda tensor: tensor.pin_memory())


def pad_batch(pictures: list[Tensor], fill: int = 0) -> tuple[Tensor, Tensor]:
    """Pad pictures of different sizes to one tensor.

    Args:
        pictures: (C, h, w) each, with equal C, ``uint8``.
        fill: value of the padding, at the right and bottom.

    Returns:
        (B, C, Hmax, Wmax) and the sizes [h, w], (B, 2) int64.
    """
    sizes = torch.tensor([picture.shape[-2:] for picture in pictures])
    height, width = sizes.amax(0).tolist()
    batch = torch.full((len(pictures), pictures[0].shape[0], height, width), fill, dtype=pictures[0].dtype)
    for row, picture in zip(batch, pictures):
        row[:, :picture.shape[1], :picture.shape[2]] = picture
    return batch, sizes
