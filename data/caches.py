"""A source that was read once and stays decoded: in memory, or on the training device."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from data.loading import Source
from utils.errors import UserError

log = logging.getLogger(__name__)


class MemoryCache:
    """All items of a source, decoded by threads at the start.

    Args:
        source: what to read.
        threads: how many pictures are decoded at once.
        show: draw a progress bar.
    """

    def __init__(self, source: Source, *, threads: int = 0, show: bool = True) -> None:
        self.label = source.label
        self.source = source
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            done = pool.map(self._read, range(len(source)))
            self.items = list(tqdm(done, f"decode {source.label}", len(source), leave=False, disable=not show))

    def _read(self, index: int) -> Any:
        try:
            return self.source.read(index)
        except UserError as error:
            return error

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> Any:
        """The decoded item; UserError, with the reason, when it was unreadable."""
        item = self.items[index]
        if isinstance(item, UserError):
            raise item
        return item

    def collate(self, items: list[Any]) -> Any:
        """As the source's own."""
        return self.source.collate(items)


class PackedPictures:
    """Pictures of different sizes end to end in one tensor on a device, without padding.

    Args:
        pictures: (3,h,w) ``uint8`` each, on the CPU.
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

    def batch(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Some of the pictures as :func:`data.loading.pad_batch` gives them, on the device."""
        device = self.pixels.device
        sizes = self.sizes[indices]
        height, width = sizes.amax(0).tolist()
        starts = self.starts[indices].to(device, non_blocking=True).view(-1, 1, 1)
        sizes = sizes.to(device, non_blocking=True)
        rows = torch.arange(height, device=device).view(1, -1, 1)
        columns = torch.arange(width, device=device).view(1, 1, -1)
        h, w = sizes[:, 0].view(-1, 1, 1), sizes[:, 1].view(-1, 1, 1)
        inside = (rows < h) & (columns < w)
        places = torch.where(inside, starts + rows * w + columns, 0)
        pixels = self.pixels[places] * inside.unsqueeze(-1)
        return pixels.permute(0, 3, 1, 2).contiguous(), sizes
