"""Streams photographs from WebDataset tar shards (written by ``data/shards.py``).

Only shards in use are open. Each epoch has its own order of the shards. Each worker of each process reads separate
shards and shuffles within them.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from data.loading import epoch_order, start_worker
from data.photos import Photo, PhotoBatch, PhotoFolder, decode_photo
from data.registry import DATASETS
from data.shard_names import counted, shard_urls
from data.shards import MEMBER_BYTES, read_shard
from utils.engine.randomness import derive_seed
from utils.errors import UserError
from utils.pictures.codecs import MAX_PIXELS
from utils.pictures.reading import ReadingRule

if TYPE_CHECKING:
    from option.schema import TrainDataOptions

log = logging.getLogger(__name__)

_BUFFER = 1000
_LABEL = "shards"


@dataclass(frozen=True)
class Limits:
    """Size limits; larger pictures are skipped.

    Attributes:
        member_bytes: bytes of an encoded picture.
        pixels: pixels of a decoded picture.
    """

    member_bytes: int = MEMBER_BYTES
    pixels: int = MAX_PIXELS


class Position(NamedTuple):
    """Position of a stream: number of finished shards, and of pictures taken from the current one."""

    shards: int = 0
    pictures: int = 0


@dataclass
class Share:
    """The part of an epoch that a process reads; copied to its workers at the start of the epoch.

    Attributes:
        positions: start position of each stream; empty for the beginning.
        batch: index of the next batch in the epoch.
    """

    rank: int
    world: int
    workers: int
    batches: int
    batch_size: int
    seed: int
    epoch: int = 0
    batch: int = 0
    positions: tuple[Position, ...] = ()


@dataclass(frozen=True)
class ShardBatch:
    """A worker's batch: photographs, their stream, the position of that stream, and the problems found."""

    photos: PhotoBatch | None
    stream: int
    position: Position
    problems: dict[str, str]

    def pin_memory(self) -> ShardBatch:
        """The photographs in page-locked memory."""
        photos = self.photos.pin_memory() if self.photos else None
        return ShardBatch(photos, self.stream, self.position, self.problems)


class ShardStream(IterableDataset):
    """The batches of one process; batch k of an epoch comes from stream k modulo the number of workers.

    Args:
        urls: all shards.
        share: the part of this process; changed by the loader between epochs.
        cache_size: the short side is reduced to this.
        limits: size limits.
    """

    def __init__(self, urls: list[str], share: Share, cache_size: int, limits: Limits) -> None:
        self.urls, self.share, self.cache_size, self.limits = urls, share, cache_size, limits

    def __iter__(self) -> Iterator[ShardBatch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        wanted = len(range(self.share.batch + worker, self.share.batches, workers))
        # The loader always starts with worker 0, even in the middle of an epoch.
        stream = (self.share.batch + worker) % workers
        problems: dict[str, str] = {}
        photos = self._photos(stream, workers, problems)
        for _ in range(wanted):
            chosen: list[Photo] = []
            position = Position()
            while len(chosen) < self.share.batch_size:
                found = next(photos, None)
                if found is None:
                    yield ShardBatch(None, stream, position, dict(problems))
                    return
                photo, position = found
                chosen.append(photo)
            yield ShardBatch(PhotoFolder.collate(chosen), stream, position, dict(problems))
            problems.clear()

    def _photos(self, stream: int, streams: int, problems: dict[str, str]) -> Iterator[tuple[Photo, Position]]:
        """Endless stream of photographs, each with the position after it."""
        share = self.share
        shards, passed = share.positions[stream] if share.positions else Position()
        barren = 0
        mine = len(range(share.rank + stream * share.world, len(self.urls), share.world * streams))
        while barren < mine:
            turn, place = divmod(shards, mine)
            order = epoch_order(len(self.urls), share.seed, share.epoch, f"{_LABEL} {turn}")
            url = self.urls[int(order[share.rank + share.world * (stream + streams * place)])]
            barren += 1
            for taken, (name, data) in enumerate(self._shuffled(url, turn, problems), 1):
                if taken <= passed:
                    continue  # returned before the run was resumed
                try:
                    photo = decode_photo(data, self.cache_size, Path(name), self.limits.pixels)
                except UserError as error:
                    problems[name] = str(error)
                else:
                    barren = 0
                    yield photo, Position(shards, taken)
            shards, passed = shards + 1, 0

    def _shuffled(self, url: str, turn: int, problems: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        """The encoded pictures of a shard, (name, bytes), in the order of the epoch."""
        draw = random.Random(derive_seed("shard", self.share.seed, self.share.epoch, turn, url))
        buffer: list[tuple[str, bytes]] = []
        try:
            for entry in read_shard(url, member_bytes=self.limits.member_bytes, problems=problems):
                buffer.append(entry)
                if len(buffer) == _BUFFER:
                    yield buffer.pop(draw.randrange(_BUFFER))
        except Exception as error:  # tar, network and pipes raise different errors
            problems[url] = f"{url}: the shard breaks off ({type(error).__name__}: {error})"
        draw.shuffle(buffer)
        yield from buffer


class ShardLoader:
    """Batches of the current epoch from shards, for one of ``world`` processes.

    An epoch has the same number of batches in each process. Its photographs are those counted in ``shards.json``, at
    most ``samples``; without counts, ``samples``. A process that reaches the end of its shards starts again.
    Resuming is exact: the current shard is read again from its start, skipping the pictures already returned.

    Args:
        urls: the shards.
        photographs: photographs per epoch, over all processes.
        batch_size: photographs per batch of this process.
        seed, rank, world: as in :class:`data.loading.OrderedLoader`.
        workers: reading processes; at most one per shard.
        cache_size: the short side is reduced to this.
        pin: return pinned memory.
        limits: size limits.

    Attributes:
        skipped: name -> reason, for the files that this process could not read so far.

    Raises:
        UserError: fewer shards than processes.
    """

    def __init__(self, urls: list[str], *, photographs: int, batch_size: int, seed: int, rank: int = 0,
                 world: int = 1, workers: int = 0, cache_size: int = 256, pin: bool = False,
                 limits: Limits = Limits()) -> None:
        if len(urls) < world:
            raise UserError(f"{len(urls)} shards cannot be shared by {world} processes; write more, smaller ones")
        workers = min(workers, len(urls) // world)
        batch_size = max(1, min(batch_size, photographs // world))
        batches = max(1, photographs // (batch_size * world))
        self.skipped: dict[str, str] = {}
        self._resumed = False
        self._share = Share(rank, world, workers, batches, batch_size, seed)
        self._positions = [Position()] * max(1, workers)
        self._stream = ShardStream(urls, self._share, cache_size, limits)
        self._pin = pin

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return self._share.batches

    def __iter__(self) -> Iterator[PhotoBatch]:
        """The remaining batches of the current epoch; at its end, the next epoch becomes current."""
        share = self._share
        share.positions = tuple(self._positions)
        # Workers copy the share when they start, so every epoch starts its own.
        for batch in DataLoader(self._stream, batch_size=None, num_workers=share.workers, pin_memory=self._pin,
                                worker_init_fn=start_worker, generator=torch.Generator()):
            self._warn(batch.problems)
            if batch.photos is None:
                raise UserError(f"the shards of process {share.rank} hold no readable photograph; first reason: "
                                f"{next(iter(self.skipped.values()), 'they are empty')}")
            share.batch += 1
            self._positions[batch.stream] = batch.position
            self._resumed = False
            yield batch.photos
        self._start(share.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch (from 0) at its first batch, or at the resumed position if it lies in this epoch."""
        if not (self._resumed and epoch == self._share.epoch):
            self._start(epoch)
        self._resumed = False

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batch, and the :class:`Position` of each stream as two numbers."""
        share = self._share
        return {"epoch": share.epoch, "batch": share.batch,
                "positions": [list(position) for position in self._positions],
                "items": share.batch * share.batch_size * share.world}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved position; approximately, if the number of workers has changed."""
        share = self._share
        self._start(state["epoch"])
        share.batch = min(state["items"] // (share.batch_size * share.world), share.batches)
        # Older checkpoints hold the used up shards alone.
        saved = [Position(place) if isinstance(place, int) else Position(*place) for place in state["positions"]]
        if len(saved) == len(self._positions):
            self._positions = saved
        else:
            shards = sum(place.shards for place in saved) // len(self._positions)
            self._positions = [Position(shards)] * len(self._positions)
        self._resumed = True

    def _start(self, epoch: int) -> None:
        self._share.epoch, self._share.batch = epoch, 0
        self._positions = [Position()] * len(self._positions)

    def _warn(self, problems: dict[str, str]) -> None:
        for name, reason in problems.items():
            if name not in self.skipped:
                self.skipped[name] = reason
                log.warning("skipped (%d so far): %s", len(self.skipped), reason)


@DATASETS.register("webdataset")
def build_shard_loader(options: TrainDataOptions, *, seed: int, run_dir: str | Path | None = None, rank: int = 0,
                       world: int = 1, device: torch.device | str = "cpu") -> ShardLoader:
    """Loader of photographs from the shards in ``dataroot``, as :class:`data.photos.PhotoBatch`.

    Args:
        options: ``dataset.train``; ``samples`` limits the photographs of an epoch.
        seed: determines the order of each epoch.
        run_dir: unused; shards need no list.
        rank, world: index of this process and number of processes.
        device: the training device; CUDA uses pinned memory.

    Raises:
        UserError: no shards are given, one is missing, or a URL would start a program that is not allowed.
    """
    if not options.photo_root:
        raise UserError("dataset.train.dataroot is not set; give the shards, such as shards/shard-{000000..000127}.tar")
    if options.cache != "none":
        log.warning("cache: %s has no effect on shards, which are streamed", options.cache)
    urls = shard_urls(options.photo_root, allow_programs=options.allow_programs)
    total = counted(urls)
    photographs = options.samples if total is None else min(total, options.samples)
    log.info("%d shards, %s photographs, %d an epoch", len(urls), "uncounted" if total is None else total, photographs)
    pin = torch.device(device).type == "cuda" and torch.cuda.is_available()
    limits = Limits(round(options.member_megabytes * 1e6), ReadingRule.of(options).max_pixels)
    return ShardLoader(urls, photographs=photographs, batch_size=options.batch_size, seed=seed, rank=rank,
                       world=world, workers=options.workers, cache_size=options.cache_size, pin=pin,
                       limits=limits)
