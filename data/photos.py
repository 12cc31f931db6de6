"""Photographs for self-supervised training: a sample of any folder, saved with the run and decoded by workers.

Workers decode whole photographs to ``uint8`` with the short side reduced to ``cache_size``; crop, jitter and damage
are computed on the device (``data/synthesis.py``).
"""

from __future__ import annotations

import fnmatch
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.caches import DeviceCache, PackedPictures, cached_loader
from data.lists import find_list, keep_list, read_list
from data.loading import OrderedLoader, TensorBatch, pad_batch
from data.registry import DATASETS
from utils.engine.randomness import derive_seed
from utils.errors import MissingFileError, UserError
from utils.pictures.codecs import MAX_PIXELS, list_pictures, read_bytes
from utils.pictures.colour import TORCHVISION_LUMA, luma
from utils.pictures.reading import ReadingRule, read_rgb8

if TYPE_CHECKING:
    from option.schema import TrainDataOptions

log = logging.getLogger(__name__)

LIST_NAME = "trainpairs.txt"


@dataclass(frozen=True)
class Photo:
    """One photograph: pixels (3, h, w) ``uint8`` RGB, and its mean grey in [0, 1]."""

    pixels: Tensor
    mean: float


@dataclass(frozen=True)
class PhotoBatch(TensorBatch):
    """Whole photographs of different sizes.

    Attributes:
        pixels: (B, 3, Hmax, Wmax) ``uint8`` RGB, zero-padded at the right and bottom.
        sizes: (B, 2) int64, [h, w] of each photograph.
        means: (B,) ``float32``, mean grey of each whole photograph in [0, 1].
    """

    pixels: Tensor
    sizes: Tensor
    means: Tensor


class PhotoFolder(Dataset):
    """The photographs of a list.

    Args:
        root: folder to which relative paths refer.
        files: relative (or absolute) paths.
        cache_size: the short side is reduced to this; smaller photographs keep their size.
        max_pixels: larger photographs are rejected.
    """

    label = "photographs"

    def __init__(self, root: Path, files: list[str], cache_size: int = 256,
                 max_pixels: int = MAX_PIXELS) -> None:
        self.root, self.files, self.cache_size, self.max_pixels = root, files, cache_size, max_pixels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """Pixels (3, h, w) ``uint8``."""
        return self.read(index).pixels

    def read(self, index: int) -> Photo:
        """Decode a photograph.

        Raises:
            UserError: it is missing, truncated, empty or not a picture.
        """
        path = self.root / self.files[index]
        return decode_photo(read_bytes(path), self.cache_size, path, self.max_pixels)

    @staticmethod
    def collate(items: list[Photo]) -> PhotoBatch:
        """Pad photographs to a batch."""
        means = torch.tensor([item.mean for item in items], dtype=torch.float32)
        return PhotoBatch(*pad_batch([item.pixels for item in items]), means)


class DevicePhotos(DeviceCache):
    """Photographs on the training device."""

    def _pack(self, items: list[Photo]) -> None:
        self._means = torch.tensor([item.mean for item in items], dtype=torch.float32)
        self._pictures = PackedPictures((item.pixels for item in items), self.device)

    def collate(self, items: list[int]) -> PhotoBatch:
        """Gather a batch on the device."""
        means = self._means[items].to(self.device, non_blocking=True)
        return PhotoBatch(*self._pictures.gather(items), means)


def decode_photo(data: bytes, cache_size: int, path: Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a photograph to RGB with its short side reduced to ``cache_size``; never enlarged.

    A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size if the result is not smaller than ``cache_size``, which
    saves most of the work; an area filter does the rest.

    Raises:
        UserError: see :func:`utils.pictures.reading.read_rgb8`.
    """
    pixels = shrink(read_rgb8(data, path, at_least=cache_size, max_pixels=max_pixels), cache_size)
    return Photo(to_planes(pixels), mean_grey(pixels))


def mean_grey(pixels: np.ndarray) -> float:
    """Mean grey in [0, 1] of (H, W, 3) ``uint8`` RGB."""
    means = np.array(cv2.mean(pixels)[:3]).reshape(3, 1, 1)
    return luma(means, TORCHVISION_LUMA).item() / 255


def shrink(pixels: np.ndarray, short_side: int) -> np.ndarray:
    """Reduce (H, W) or (H, W, C) to a short side with an area filter; smaller pictures are returned unchanged."""
    height, width = pixels.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return pixels
    size = max(short_side, round(width * scale)), max(short_side, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def to_planes(pixels: np.ndarray) -> Tensor:
    """Convert (H, W) or (H, W, C) to (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1)))


@DATASETS.register("photos")
def build_photo_loader(options: TrainDataOptions, *, seed: int, run_dir: str | Path | None, rank: int = 0,
                       world: int = 1, device: torch.device | str = "cpu") -> OrderedLoader:
    """Loader of photographs as :class:`PhotoBatch`.

    Args:
        options: ``dataset.train``.
        seed: determines the sample and the order of each epoch.
        run_dir: folder of the run, where the list of drawn files is saved; None saves none.
        rank, world: index of this process and number of processes.
        device: the training device; CUDA uses pinned memory, and ``cache: device`` stores the set there.

    Raises:
        UserError: no folder is given, or it is missing or has no pictures.
    """
    root, files = photo_files(options, seed=seed, run_dir=run_dir, rank=rank)
    source = PhotoFolder(root, files, options.cache_size, ReadingRule.of(options).max_pixels)
    return cached_loader(source, DevicePhotos, options, seed=seed, rank=rank, world=world, device=device)


def photo_files(options: TrainDataOptions, *, seed: int, run_dir: str | Path | None,
                rank: int = 0) -> tuple[Path, list[str]]:
    """The folder of the photographs, and the paths of the drawn ones in it.

    Taken from the list in the run's folder if it exists (a resumed run keeps its list), else from the list given in
    the option file, else drawn: ``samples`` files, by the seed. The list is saved in the run's folder.

    Raises:
        UserError: as :func:`build_photo_loader`, or no file of the list exists.
    """
    if not options.photo_root:
        raise UserError("dataset.train.dataroot is not set; give the folder of the photographs")
    root = Path(options.photo_root) / (options.train_name or "")
    chosen = find_list(run_dir, LIST_NAME, options.photo_list)
    if chosen:
        files = read_list(chosen)
        if not any((root / name).exists() for name in files):
            raise MissingFileError(f"{chosen}: none of its {len(files)} files is in {root}; correct dataroot, or "
                                   "remove the list to have a new one drawn")
        log.info("%d photographs as listed in %s", len(files), chosen)
    else:
        files = _draw(root, options, seed)
    keep_list(run_dir, LIST_NAME, files, rank)
    return root, files


def _draw(root: Path, options: TrainDataOptions, seed: int) -> list[str]:
    found = [path.relative_to(root).as_posix() for path in list_pictures(root, recursive=True)]
    if options.extra_data:
        extra = Path(options.extra_data)
        found += [path.absolute().as_posix() for path in list_pictures(extra, recursive=True)]
    if options.filter:
        found = [name for name in found if fnmatch.fnmatch(name, options.filter)]
    if not found:
        suffix = f" that match {options.filter}" if options.filter else ""
        raise UserError(f"no pictures{suffix} in {root}; correct dataset.train.dataroot or train_name")
    generator = torch.Generator().manual_seed(derive_seed("sample", seed))
    drawn = torch.randperm(len(found), generator=generator)[:options.samples].sort().values.tolist()
    log.info("%d of %d photographs drawn from %s", len(drawn), len(found), root)
    return [found[index] for index in drawn]
