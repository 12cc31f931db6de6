"""Undamaged crops for pretraining masked autoencoders."""

from collections.abc import Mapping

import torch
from torch import Tensor

from data.photos import PhotoBatch
from data.synthesis import crop_resize, random_boxes

MAE_AREA = (0.2, 1.0)


class FlippedCrop:
    """Random resized crop and horizontal flip, the augmentation of MAE, batched on the device.

    Bilinear with antialiasing; MAE's own code is bicubic.

    Args:
        image_size: side S of the result in pixels.
        area: smallest and largest share of the picture's area covered by the crop.
    """

    def __init__(self, image_size: int, area: tuple[float, float] = MAE_AREA) -> None:
        self.image_size, self.area = image_size, area

    def __call__(self, batch: PhotoBatch, generators: Mapping[str, torch.Generator]) -> Tensor:
        """Pictures (B, 3, S, S) in [0, 1].

        Args:
            batch: whole pictures.
            generators: "crop", on the batch's device.
        """
        generator = generators["crop"]
        boxes = random_boxes(batch.sizes, generator, area=self.area)
        flip = torch.rand(len(batch.sizes), generator=generator, device=batch.sizes.device) < 0.5
        return crop_resize(batch.pixels, boxes, self.image_size, flip)
