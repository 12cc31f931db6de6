"""A teacher of thermal pictures sees all of their 16 bits, mapped as the pairs of stage 2 are."""

import cv2
import numpy as np
import torch

from data.crops import FlippedCrop
from data.irvis import picture_planes
from data.photos import PhotoBatch
from data.registry import DATASETS
from option.schema import TrainDataOptions
from utils.pictures.reading import read_picture


def thermal(folder, count: int = 4) -> None:
    """Pictures that use 400 of 65,536 values, as a sensor's raw ones do."""
    draw = np.random.default_rng(0)
    for index in range(count):
        pixels = draw.integers(7_000, 7_400, (40, 50 + index), dtype=np.uint16)
        cv2.imwrite(str(folder / f"{index}.tiff"), pixels)


def test_sixteen_bits_are_mapped_to_the_whole_range(tmp_path):
    thermal(tmp_path)
    options = TrainDataOptions(dataroot=str(tmp_path), batch_size=4, workers=0, ir_range="minmax", type="infrared")
    loader = DATASETS.get("infrared")(options, seed=1, run_dir=None)
    batch = next(iter(loader))
    assert batch.pixels.shape == (4, 3, 40, 53) and batch.pixels.dtype == torch.uint8
    for pixels, (height, width), mean in zip(batch.pixels, batch.sizes.tolist(), batch.means):
        own = pixels[:, :height, :width]
        assert (own.min(), own.max()) == (0, 255)
        assert torch.equal(own[0], own[2])
        assert abs(float(mean) - float(own.float().mean() / 255)) < 1e-4  # the weights sum to 0.9999
    seen = picture_planes(read_picture(tmp_path / "0.tiff", value_range="minmax"), 256)
    assert any(torch.equal(pixels[:, :40, :50], seen) for pixels in batch.pixels)


def test_crops_are_mirrored_half_of_the_time_and_repeat():
    ramp = torch.arange(64, dtype=torch.uint8).mul(4).expand(200, 3, 48, 64)
    batch = PhotoBatch(ramp, torch.tensor([[48, 64]]).expand(200, 2), torch.full((200,), 0.5))
    crops = [FlippedCrop(32)(batch, {"crop": torch.Generator().manual_seed(5)}) for _ in range(2)]
    assert torch.equal(*crops) and crops[0].shape == (200, 3, 32, 32)
    assert crops[0].min() >= 0 and crops[0].max() <= 1
    rising = (crops[0][:, 0, :, -1] > crops[0][:, 0, :, 0]).all(dim=1)
    assert 70 < int(rising.sum()) < 130
