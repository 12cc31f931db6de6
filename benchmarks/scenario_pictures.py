"""Makes the pictures of the scenarios for docs/SCENARIOS.md from photographs of scikit-image.

    python -m benchmarks.scenario_pictures docs/assets

One JPEG per scenario with one row per photograph: x1, x2, target, common, unique1, unique2.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch
from torch import Tensor

from data.registry import SCENARIOS
from utils.cli import run
from utils.files import atomic_write

PHOTOGRAPHS = {"focus": ("coffee", "chelsea"), "exposure": ("astronaut", "rocket"), "contrast": ("coffee", "astronaut"),
               "thermal": ("astronaut", "chelsea"), "targets": ("coffee", "chelsea"),
               "defocus": ("chelsea", "coffee"), "bracket": ("astronaut", "rocket"),
               "sensor": ("rocket", "coffee"), "glare": ("chelsea", "rocket"),
               "noise": ("astronaut",)}
SEEDS = {"focus": 8, "exposure": 6, "contrast": 5, "thermal": 4, "targets": 6, "defocus": 3, "bracket": 4, "sensor": 4,
         "glare": 4, "noise": 1}
COLUMNS = ("x1", "x2", "target", "common", "unique1", "unique2")


def photograph(name: str, side: int) -> Tensor:
    """The central square of a photograph, (3, side, side) in [0, 1]."""
    pixels = getattr(skimage.data, name)()[..., :3]
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = cv2.resize(pixels[top:top + short, left:left + short], (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(square).permute(2, 0, 1).float() / 255


def sheet(name: str, side: int, gap: int = 3) -> np.ndarray:
    """A scenario's rows of pictures, (H, W, 3) uint8."""
    x = torch.stack([photograph(chosen, side) for chosen in PHOTOGRAPHS[name]])
    sample = SCENARIOS.get(name)(x, torch.Generator().manual_seed(SEEDS[name]))
    columns = torch.stack([getattr(sample, column) for column in COLUMNS], dim=1)
    framed = torch.nn.functional.pad(columns, (0, gap, 0, gap), value=1.0)
    rows = framed.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)[:-gap, :-gap]
    return (rows.clamp(0, 1) * 255 + 0.5).byte().numpy()


def main(arguments: list[str]) -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=132, help="side of one picture in pixels")
    args = parser.parse_args(arguments)
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in PHOTOGRAPHS:
        _, code = cv2.imencode(".jpg", sheet(name, args.side)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 72])
        with atomic_write(args.folder / f"scenario_{name}.jpg") as temporary:
            temporary.write_bytes(code.tobytes())


if __name__ == "__main__":
    run(main)
