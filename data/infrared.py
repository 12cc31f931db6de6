"""Single infrared (or CT, MR) pictures, to pretrain the teacher of that modality on.

As photographs, but the whole depth of 16 bit pictures is read and mapped as ``ir_range`` says, so that the teacher is
trained on what ``data/irvis.py`` will show it.
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
from utils.pictures.depth import ValueRange
from utils.pictures.reading import read_picture

if TYPE_CHECKING:
    from option.schema import TrainDataOptions


class InfraredFolder(PhotoFolder):
    """The infrared pictures of a list.

    Args:
        root, files, cache_size: see :class:`PhotoFolder`.
        ir_range: how values are mapped, see :func:`utils.pictures.depth.stretch`.
    """

    label = "infrared pictures"

    def __init__(self, root: Path, files: list[str], cache_size: int = 256, ir_range: ValueRange = "full") -> None:
        super().__init__(root, files, cache_size)
        self.ir_range = ir_range

    def read(self, index: int) -> Photo:
        """Decodes a picture; a grey one has three equal channels.

        Raises:
            UserError: it is missing, truncated, empty or no picture.
        """
        picture = read_picture(self.root / self.files[index], value_range=self.ir_range)
        planes = picture_planes(picture, self.cache_size)
        mean = luma(planes.float().mean(dim=(1, 2), keepdim=True), TORCHVISION_LUMA) / 255
        return Photo(planes, mean.item())


@DATASETS.register("infrared")
def build_infrared_loader(options: TrainDataOptions, *, seed: int, run_dir: str | Path | None, rank: int = 0,
                          world: int = 1, device: torch.device | str = "cpu") -> OrderedLoader:
    """Infrared pictures of the option file as ``PhotoBatch`` es; arguments as for photographs.

    Raises:
        UserError: no folder is named, it is missing or without pictures.
    """
    root, files = photo_files(options, seed=seed, run_dir=run_dir, rank=rank)
    source = InfraredFolder(root, files, options.cache_size, options.ir_range)
    return cached_loader(source, DevicePhotos, options, seed=seed, rank=rank, world=world, device=device)
