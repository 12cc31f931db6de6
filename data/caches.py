"""Caches of decoded pictures, in memory or on the training device."""

from __future__ import annotations

import abc
import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from data.loading import OrderedLoader, Source
from utils.errors import UserError

if TYPE_CHECKING:
    from option.schema import TrainDataOptions

log = logging.getLogger(__name__)


class MemoryCache:
    """All items of a source, decoded by threads at the start.

    Args:
        source: the items.
        threads: number of decoding threads.
        show: show a progress bar.
    """

    def __init__(self, source: Source, *, threads: int = 0, show: bool = True) -> None:
        self.label = source.label
        self.source = source
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            done = pool.map(self._read, range(len(source)))
            self.items = list(tqdm(done, f"decode {source.label}", len(source), leave=False,
                                   disable=None if show else True))

    def _read(self, index: int) -> Any:
        try:
            return self.source.read(index)
        except UserError as error:
            return error

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> Any:
        """The decoded item.

        Raises:
            UserError: it was unreadable; says why.
        """
        item = self.items[index]
        if isinstance(item, UserError):
            raise item
        return item

    def collate(self, items: list[Any]) -> Any:
        """Collate as the source does."""
        return self.source.collate(items)


class DeviceCache(abc.ABC):
    """The readable items of a memory cache, moved to the training device, where batches are gathered.

    Args:
        cache: the decoded items; emptied to free its memory.
        device: where to keep them.
    """

    def __init__(self, cache: MemoryCache, device: torch.device) -> None:
        items, cache.items = cache.items, []
        self.label, self.device = cache.label, device
        self._errors = {index: item for index, item in enumerate(items) if isinstance(item, UserError)}
        readable = [index for index in range(len(items)) if index not in self._errors]
        self._rows = {index: row for row, index in enumerate(readable)}
        self._pack([items[index] for index in readable])

    def __len__(self) -> int:
        return len(self._rows) + len(self._errors)

    def read(self, index: int) -> int:
        """Row of the item on the device.

        Raises:
            UserError: it was unreadable; says why.
        """
        if index in self._errors:
            raise self._errors[index]
        return self._rows[index]

    @abc.abstractmethod
    def _pack(self, items: list[Any]) -> None:
        """Move the items to the device."""

    @abc.abstractmethod
    def collate(self, items: list[int]) -> Any:
        """Gather a batch from rows."""


class PackedPictures:
    """Pictures of different sizes, concatenated in one tensor on a device without padding.

    Args:
        pictures: (3, h, w) ``uint8`` each, on the CPU.
        device: where to keep them.
    """

    def __init__(self, pictures: Iterable[Tensor], device: torch.device) -> None:
        pictures = list(pictures)
        self.sizes = torch.tensor([picture.shape[-2:] for picture in pictures]).reshape(-1, 2)
        ends = self.sizes.prod(1).cumsum(0)
        starts = ends - self.sizes.prod(1)
        self.pixels = torch.empty(int(ends[-1]) if len(pictures) else 0, 3, dtype=torch.uint8, device=device)
        for picture, start, end in zip(pictures, starts.tolist(), ends.tolist()):
            self.pixels[start:end] = picture.permute(1, 2, 0).reshape(-1, 3).to(device)
        self.starts = starts
        log.info("%d pictures kept on %s: %.2f GB", len(pictures), device, self.pixels.numel() / 1e9)

    def gather(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """The pictures of the given rows in the form of :func:`data.loading.pad_batch`, on the device."""
        device = self.pixels.device
        sizes = self.sizes[rows]
        height, width = sizes.amax(0).tolist()
        starts = self.starts[rows].to(device, non_blocking=True).view(-1, 1, 1)
        sizes = sizes.to(device, non_blocking=True)
        y = torch.arange(height, device=device).view(1, -1, 1)
        x = torch.arange(width, device=device).view(1, 1, -1)
        h, w = sizes[:, 0].view(-1, 1, 1), sizes[:, 1].view(-1, 1, 1)
        inside = (y < h) & (x < w)
        places = torch.where(inside, starts + y * w + x, 0)
        pixels = self.pixels[places] * inside.unsqueeze(-1)
        return pixels.permute(0, 3, 1, 2).contiguous(), sizes


def cached_loader(source: Source, on_device: type[DeviceCache], options: TrainDataOptions, *, seed: int,
                  rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> OrderedLoader:
    """The loader of a source, with the cache and workers set in the option file.

    Args:
        source: the items.
        on_device: cache class for ``cache: device``.
        options: ``dataset.train``.
        seed: determines the order of each epoch.
        rank, world: index of this process and number of processes.
        device: the training device; CUDA uses pinned memory.
    """
    device = torch.device(device)
    workers = options.workers
    if options.cache != "none":
        source = MemoryCache(source, threads=workers, show=rank == 0)
        workers = 0
    if options.cache == "device":
        source = on_device(source, device)
    pin = device.type == "cuda" and options.cache != "device" and torch.cuda.is_available()
    return OrderedLoader(source, batch_size=options.batch_size, seed=seed, rank=rank, world=world,
                         workers=workers, pin=pin)
