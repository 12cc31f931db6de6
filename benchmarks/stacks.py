"""Scores all methods on focus series and exposure brackets of 3, 5 and 9 pictures with ground truth.

    python -m benchmarks.stacks [--device cpu]

Prints one Markdown row per method. *Focus*: the left picture of scikit-image's motorcycle, blurred by a Gaussian whose
width is proportional to the distance of each pixel's disparity from the focal plane (nothing spreads over the
background). *Exposures*: four photographs of scikit-image with uneven light, exposed from -2 to +2 stops
(`data/simulate.py`). The ground truth is the photograph.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from data import simulate
from data.demo import load_photograph
from metrics import compute
from models.fuser import Fuser
from models.zoo import create_model
from utils.cli import run

COUNTS = (3, 5, 9)
PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket")
BLUR, LARGEST_BLUR = 0.25, 6.0  # standard deviation in pixels per pixel of disparity, and its maximum
STOPS, LIGHT = 2.0, 2.0  # range of the exposures and of the uneven light in stops
SCORES = ("PSNR_truth", "SSIM_truth")

Pictures = list[np.ndarray]
Fuse = Callable[[Pictures, str], np.ndarray]


class InPairs(nn.Module):
    """Restricts a model for any number of pictures to pairs, so that the fuser fuses two at a time."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.traits = model, replace(model.traits, many=False)

    def decompose(self, x1: Tensor, x2: Tensor, **keywords: object) -> object:
        """Forward to the model."""
        return self.model.decompose(x1, x2, **keywords)


def motorcycle() -> tuple[np.ndarray, np.ndarray]:
    """The left picture, (H, W, 3) uint8, and its disparity in pixels, (H, W), gaps filled from the nearest pixel."""
    folder = Path(skimage.data.__file__).parent
    picture = cv2.cvtColor(cv2.imread(str(folder / "motorcycle_left.png")), cv2.COLOR_BGR2RGB)
    disparity = np.load(folder / "motorcycle_disp.npz")["arr_0"]
    nearest = distance_transform_edt(~np.isfinite(disparity), return_distances=False, return_indices=True)
    return picture, disparity[tuple(nearest)].astype(np.float32)


def focus_series(picture: np.ndarray, disparity: np.ndarray, count: int) -> Pictures:
    """Pictures focused at equally spaced quantiles of the disparity, the farthest first.

    Args:
        picture: (H, W, 3) uint8.
        disparity: (H, W), in pixels.
        count: number of pictures.
    """
    sigmas = np.linspace(0, LARGEST_BLUR, 25)
    sharp = picture.astype(np.float32)
    blurred = np.stack([sharp, *(cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in sigmas[1:])])
    planes = np.quantile(disparity, (np.arange(count) + 0.5) / count)
    return [_at_blur(blurred, np.minimum(BLUR * np.abs(disparity - plane), LARGEST_BLUR) / sigmas[1])
            for plane in planes]


def _at_blur(blurred: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The picture of ``blurred`` (K, H, W, 3) at each pixel's ``place`` (H, W) in [0, K - 1], as uint8."""
    lower = np.floor(place).astype(int).clip(0, len(blurred) - 2)
    rows, columns = np.indices(place.shape)
    share = (place - lower)[..., None]
    mixed = blurred[lower, rows, columns] * (1 - share) + blurred[lower + 1, rows, columns] * share
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def bracket(photograph: np.ndarray, count: int) -> Pictures:
    """Exposures of a photograph (H, W, 3) in [0, 1], from dark to bright in equal steps, as uint8."""
    light = simulate.slope(photograph.shape[:2], (1, 0.5), LIGHT)
    return [simulate.to_bytes(picture)
            for picture in simulate.exposures(photograph, light, np.linspace(-STOPS, STOPS, count))]


def methods(device: str) -> dict[str, Fuse]:
    """Methods that fuse a stack, by name."""
    def fusing(model: nn.Module) -> Fuse:
        fuser = Fuser(model, device=device)
        return lambda pictures, task: fuser(*pictures, task=task, components=False).fused

    head = create_model("defusionpp_hr", pretrained=True)
    weightless = {name: fusing(create_model(name)) for name in ("SaliencePyramid", "FocusSelection", "Mertens")}
    return {"the middle picture": lambda pictures, task: pictures[len(pictures) // 2],
            "defusionpp_hr, all at once": fusing(head),
            "defusionpp_hr, two by two": fusing(InPairs(head)), **weightless}


def score(fuse: Fuse, task: str, stacks: Sequence[tuple[np.ndarray, Pictures]]) -> tuple[float, float]:
    """Mean PSNR and SSIM against the ground truth over stacks of (truth, pictures)."""
    rows = [compute(SCORES, *pictures[:2], fuse(pictures, task), colour="channels", truth=truth)
            for truth, pictures in stacks]
    return tuple(float(np.mean([row[name] for row in rows])) for name in SCORES)


def main(arguments: list[str]) -> None:
    """Score every method on every kind of stack and print the table."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.stacks", description=__doc__.splitlines()[0])
    line.add_argument("--device", default="cpu")
    fuses = methods(line.parse_args(arguments).device)
    picture, disparity = motorcycle()
    photographs = [load_photograph(name) for name in PHOTOGRAPHS]
    kinds = [("MFF", [(picture, focus_series(picture, disparity, count))]) for count in COUNTS]
    kinds += [("MEF", [(simulate.to_bytes(one), bracket(one, count)) for one in photographs]) for count in COUNTS]
    titles = [f"{name} {count}" for name in ("focus", "exposures") for count in COUNTS]
    sys.stdout.write(f"| PSNR / SSIM | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}\n")
    for name, fuse in fuses.items():
        scores = [score(fuse, *kind) for kind in kinds]
        cells = [f"{psnr:.2f} / {ssim:.4f}" for psnr, ssim in scores]
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    run(main)
