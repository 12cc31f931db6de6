"""Single infrared (or CT, MR) pictures, used to pretrain the teacher of that modality.

Handled like photographs, except that 16-bit pictures are read in full depth and mapped by ``ir_range`` (or
``range``), so that the teacher is trained on the same input that ``data/irvis.py`` provides.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from data.caches import cached_loader
from data.irvis import picture_planes
from data.loading import OrderedLoader
from data.photos import DevicePhotos, Photo, PhotoFolder, photo_files
from data.registry import DATASETS
from utils.pictures.colour import TORCHVISION_LUMA, luma
from utils.pictures.reading import AS_STORED, ReadingRule, read_scene

if TYPE_CHECKING:
    from option.schema import TrainDataOptions


class InfraredFolder(PhotoFolder):
    """The infrared pictures of a list.

    Args:
        root, files, cache_size: see :class:`PhotoFolder`.
        rule: how values are mapped.
    """

    label = "infrared pictures"

    def __init__(self, root: Path, files: list[str], cache_size: int = 256, rule: ReadingRule = AS_STORED) -> None:
        super().__init__(root, files, cache_size, rule.max_pixels)
        self.rule = rule

    def read(self, index: int) -> Photo:
        """Decode a picture; grey ones get three equal channels.

        Raises:
            UserError: it is missing, truncated, empty or not a picture.
        """
        picture = read_scene([self.root / self.files[index]], self.rule, ["infrared"])[0]
        planes = picture_planes(picture, self.cache_size)
        mean = luma(planes.float().mean(dim=(1, 2), keepdim=True), TORCHVISION_LUMA) / 255
        return Photo(planes, mean.item())


@DATASETS.register("infrared")
def build_infrared_loader(options: TrainDataOptions, *, seed: int, run_dir: str | Path | None, rank: int = 0,
                          world: int = 1, device: torch.device | str = "cpu") -> OrderedLoader:
    """Loader of infrared pictures as ``PhotoBatch``; arguments as in ``build_photo_loader``.

    Raises:
        UserError: no folder is given, or it is missing or has no pictures.
    """
    root, files = photo_files(options, seed=seed, run_dir=run_dir, rank=rank)
    source = InfraredFolder(root, files, options.cache_size, ReadingRule.of(options))
    return cached_loader(source, DevicePhotos, options, seed=seed, rank=rank, world=world, device=device)
