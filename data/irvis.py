"""Registered pairs for the second stage: infrared and visible (or CT and MR) pictures of one scene.

Both pictures of a pair get the same crop, flip and scale, on the device. The loader is shared with the photographs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.caches import DeviceCache, PackedPictures, cached_loader
from data.lists import find_list, keep_list, read_list
from data.loading import OrderedLoader, TensorBatch, pad_batch
from data.photos import shrink, to_planes
from data.regions import chance
from data.registry import DATASETS
from data.sample import IVF, Sample
from data.scenarios import swap_some
from data.synthesis import crop_resize, random_boxes
from data.warm import cold_noise
from utils.errors import UserError
from utils.pictures.depth import to_8_bit
from utils.pictures.pairs import PairPaths, load_pair, match_stems
from utils.pictures.picture import Picture
from utils.pictures.reading import AS_STORED, ReadingRule

if TYPE_CHECKING:
    from option.schema import TrainDataOptions

log = logging.getLogger(__name__)

LIST_NAME = "irvis_trainpairs.txt"
NOISY = 0.15  # share of the pairs whose infrared picture gets noise for a head
_SHOWN_PROBLEMS = 10


@dataclass(frozen=True)
class SmallPair:
    """Two registered pictures, (3, h, w) ``uint8`` each; grey ones have three equal channels."""

    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class PairBatch(TensorBatch):
    """Registered pairs of different sizes.

    Attributes:
        first, second: (B, 3, Hmax, Wmax) ``uint8`` RGB, zero-padded at the right and bottom; infrared and visible.
        sizes: (B, 2) int64, [h, w] of each pair.
    """

    first: Tensor
    second: Tensor
    sizes: Tensor


class PairFolder(Dataset):
    """The pairs of a list.

    Args:
        pairs: the files.
        cache_size: the short side is reduced to this; smaller pairs keep their size.
        rule: how values are mapped; the first picture is the infrared one.
    """

    label = "pairs"

    def __init__(self, pairs: list[PairPaths], cache_size: int = 256, rule: ReadingRule = AS_STORED) -> None:
        self.pairs, self.cache_size, self.rule = pairs, cache_size, rule

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> SmallPair:
        return self.read(index)

    def read(self, index: int) -> SmallPair:
        """Decode a pair.

        Raises:
            UserError: a file is missing or not a complete picture, or the sizes differ.
        """
        pair = load_pair(self.pairs[index], self.rule, "IVF")
        return SmallPair(*(picture_planes(picture, self.cache_size) for picture in (pair.first, pair.second)))

    @staticmethod
    def collate(items: list[SmallPair]) -> PairBatch:
        """Pad pairs to a batch."""
        first, sizes = pad_batch([item.first for item in items])
        second, _ = pad_batch([item.second for item in items])
        return PairBatch(first, second, sizes)


class DevicePairs(DeviceCache):
    """Pairs on the training device."""

    def _pack(self, items: list[SmallPair]) -> None:
        self._first = PackedPictures((item.first for item in items), self.device)
        self._second = PackedPictures((item.second for item in items), self.device)

    def collate(self, items: list[int]) -> PairBatch:
        """Gather a batch on the device."""
        first, sizes = self._first.gather(items)
        return PairBatch(first, self._second.gather(items)[0], sizes)


class PairCrop:
    """Applies :func:`crop_pairs` with the generator "crop".

    Args:
        image_size: side S of the results in pixels.
    """

    def __init__(self, image_size: int = 224) -> None:
        self.image_size = image_size

    def __call__(self, batch: PairBatch, generators: Mapping[str, torch.Generator]) -> tuple[Tensor, Tensor]:
        """First and second pictures, (B, 3, S, S) ``float32`` in [0, 1]."""
        return crop_pairs(batch, self.image_size, generators["crop"])


class PairSamples:
    """Makes samples for a full-resolution head from real infrared and visible pictures: roles, but no ground truth.

    Noise of an uncooled camera is added to the infrared picture in a share of ``NOISY`` of the pairs; ``clean`` is
    without it. In half of the pairs the visible picture comes first. Masks are 1 and the target is the visible picture.

    Args:
        image_size: side S of the pictures.
    """

    def __init__(self, image_size: int = 224) -> None:
        self.image_size = image_size

    def __call__(self, batch: PairBatch, generators: Mapping[str, torch.Generator]) -> Sample:
        """Draw a ``Sample`` from a ``PairBatch`` on its device, with the generators "crop" and "damage"."""
        infrared, visible = crop_pairs(batch, self.image_size, generators["crop"])
        damage, count = generators["damage"], len(batch)
        noise = cold_noise(count, self.image_size, damage) * chance(count, NOISY, damage)
        ones = infrared.new_ones(count)
        masks = infrared.new_ones(2, count, 1, self.image_size, self.image_size)
        sample = Sample((infrared + noise).clamp(0, 1), visible, *masks, visible, head=ones, clean1=infrared)
        sample.infrared.fill_(1)
        sample.task.fill_(IVF)
        return swap_some(sample, damage)


def crop_pairs(batch: PairBatch, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random resized crop and horizontal flip, the same for both pictures of a pair.

    Area and aspect ratio as for photographs (``data.synthesis.random_boxes``), flipped with probability 1/2, bilinear
    with antialiasing; batched, on the device of the batch.

    Args:
        batch: pairs.
        size: side S of the results in pixels.
        generator: on the batch's device.

    Returns:
        First and second pictures, (B, 3, S, S) ``float32`` in [0, 1].
    """
    boxes = random_boxes(batch.sizes, generator)
    flip = torch.rand(len(batch), generator=generator, device=batch.sizes.device) < 0.5
    both = torch.cat([batch.first, batch.second], dim=1)
    first, second = crop_resize(both, boxes, size, flip).chunk(2, dim=1)
    return first.contiguous(), second.contiguous()


@DATASETS.register("irvis")
def build_pair_loader(options: TrainDataOptions, *, seed: int, run_dir: str | Path | None, rank: int = 0,
                      world: int = 1, device: torch.device | str = "cpu") -> OrderedLoader:
    """Loader of registered pairs as :class:`PairBatch`.

    Args:
        options: ``dataset.train``.
        seed: determines the order of each epoch.
        run_dir: folder of the run, where the list of stems is saved; None saves none.
        rank, world: index of this process and number of processes.
        device: the training device; CUDA uses pinned memory, and ``cache: device`` stores the set there.

    Raises:
        UserError: folders are not given or missing, or contain no pair.
    """
    pairs = training_pairs(options, run_dir=run_dir, rank=rank)
    source = PairFolder(pairs, options.cache_size, ReadingRule.of(options))
    return cached_loader(source, DevicePairs, options, seed=seed, rank=rank, world=world, device=device)


def training_pairs(options: TrainDataOptions, *, run_dir: str | Path | None, rank: int = 0) -> list[PairPaths]:
    """The training pairs of a run, sorted by stem.

    Taken from the list in the run's folder if it exists, else from the list given in the option file (stems or file
    names), else all pairs.

    Raises:
        UserError: as :func:`build_pair_loader`, or no stem of the list exists.
    """
    problems: list[str] = []
    first, second = pair_folders(options)
    pairs = match_stems(first, second, problems, check=False)
    for line in problems[:_SHOWN_PROBLEMS]:
        log.warning("left out: %s", line)
    if len(problems) > _SHOWN_PROBLEMS:
        log.warning("left out: %d more, `python -m data.check` lists them", len(problems) - _SHOWN_PROBLEMS)
    chosen = find_list(run_dir, LIST_NAME, options.pair_folders[3])
    if chosen:
        wanted = {Path(line).name for line in read_list(chosen)}
        pairs = [pair for pair in pairs if wanted & {pair.stem, pair.first.name, pair.second.name}]
    if not pairs:
        source = f" that {chosen} lists" if chosen else ""
        raise UserError(f"no pair{source} in {first} and {second}; pictures pair by their names without suffix")
    log.info("%d registered pairs in %s and %s", len(pairs), first, second)
    keep_list(run_dir, LIST_NAME, [pair.stem for pair in pairs], rank)
    return pairs


def pair_folders(options: TrainDataOptions) -> tuple[Path, Path]:
    """The folders of the first and of the second pictures.

    Raises:
        UserError: a key is not set.
    """
    root, first, second, _ = options.pair_folders
    if not (root and first and second):
        keys = ("ctmr_dataroot, ct_name and mr_name" if options.ctmr_dataroot
                else "irvis_dataroot, infrare_name and visible_name")
        raise UserError(f"dataset.train: {keys} are all needed for the registered pairs; set what is missing")
    return Path(root) / first, Path(root) / second


def picture_planes(picture: Picture, short_side: int) -> Tensor:
    """Convert a picture to (3, h, w) ``uint8`` with its short side reduced; 16 bits are rounded to 8."""
    return to_planes(shrink(to_8_bit(picture.pixels), short_side)).expand(3, -1, -1)
