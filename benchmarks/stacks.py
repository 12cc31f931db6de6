"""Scores all methods on focus series and exposure brackets of 3, 5 and 9 pictures with ground truth.

    python -m benchmarks.stacks [--device cpu] [--kinds focus even tone]

Prints a Markdown table for each kind of stack: PSNR in dB, SSIM, and processor seconds for a stack.

- *focus*: the left picture of scikit-image's motorcycle, blurred by a Gaussian whose width is proportional to the
  distance of each pixel's disparity from the focal plane (nothing spreads over the background). The ground truth is the
  picture.
- *even*: four photographs of scikit-image with uneven light, exposed from -2 to +2 stops (`data/simulate.py`). The
  ground truth is the photograph, in even light.
- *tone*: the same brackets. The ground truth is the radiance of the scene through one tone curve for all pixels.

Enfuse and StackMFF V3 take part where their programs are installed; their seconds contain start and files.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import skimage.data
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from data import simulate
from data.demo import load_photograph
from metrics import compute
from models.fuser import Fuser
from models.registry import MODELS
from models.zoo import create_model
from utils.cli import run
from utils.errors import UserError

COUNTS = (3, 5, 9)
PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket")
BLUR, LARGEST_BLUR = 0.25, 6.0  # standard deviation in pixels per pixel of disparity, and its maximum
STOPS, LIGHT = 2.0, 2.0  # range of the exposures and of the uneven light in stops
SCORES = ("PSNR_truth", "SSIM_truth")

BEST = "the best picture at each pixel (needs the truth)"

Pictures = list[np.ndarray]
Fuse = Callable[[Pictures, str], np.ndarray]


class Stack(NamedTuple):
    """A stack, each picture (H, W, 3) uint8, and its ground truth."""

    truth: np.ndarray
    pictures: Pictures


class Kind(NamedTuple):
    """Stacks of one kind: title, task, and a function from the number of pictures to the stacks."""

    title: str
    task: str
    stacks: Callable[[int], list[Stack]]


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
    return [simulate.to_bytes(picture)
            for picture in simulate.exposures(photograph, _light(photograph), np.linspace(-STOPS, STOPS, count))]


def toned(photograph: np.ndarray) -> np.ndarray:
    """The radiance of the bracket's scene through one tone curve: Reinhard and Devlin 2005, by OpenCV.

    Every pixel adapts to the mean light alone, so that the curve is the same everywhere; then gamma 2.2. The brightest
    value is white, the darkest black.

    Args:
        photograph: (H, W, 3) in [0, 1].

    Returns:
        (H, W, 3) uint8.
    """
    radiance = photograph**2.2 * np.exp2(_light(photograph))[..., None]
    curve = cv2.createTonemapReinhard(gamma=2.2, intensity=0.0, light_adapt=0.0, color_adapt=0.0)
    return simulate.to_bytes(curve.process(radiance.astype(np.float32)))


def _light(photograph: np.ndarray) -> np.ndarray:
    """Stops by which each place is brighter than in the photograph, (H, W)."""
    return simulate.slope(photograph.shape[:2], (1, 0.5), LIGHT)


def kinds() -> dict[str, Kind]:
    """The kinds of stacks by name."""
    picture, disparity = motorcycle()
    photographs = [load_photograph(name) for name in PHOTOGRAPHS]

    def exposed(truth: Callable[[np.ndarray], np.ndarray]) -> Callable[[int], list[Stack]]:
        return lambda count: [Stack(truth(one), bracket(one, count)) for one in photographs]

    return {"focus": Kind("Focus", "MFF", lambda count: [Stack(picture, focus_series(picture, disparity, count))]),
            "even": Kind("Exposures, against the photograph in even light", "MEF", exposed(simulate.to_bytes)),
            "tone": Kind("Exposures, against the radiance through one tone curve", "MEF", exposed(toned))}


def methods(device: str) -> dict[str, dict[str, Fuse]]:
    """Methods that fuse a stack: task -> name -> function."""
    def fusing(model: nn.Module) -> Fuse:
        fuser = Fuser(model, device=device)
        return lambda pictures, task: fuser(*pictures, task=task, components=False).fused

    def program(title: str, name: str) -> dict[str, Fuse]:
        try:
            return {title: fusing(create_model(name))}
        except UserError as error:
            sys.stderr.write(f"left out: {error}\n")
            return {}

    head = create_model("defusionpp_hr", pretrained=True)
    shared = {"the middle picture": lambda pictures, task: pictures[len(pictures) // 2],
              "defusionpp_hr, all at once": fusing(head), "defusionpp_hr, two by two": fusing(InPairs(head)),
              "SaliencePyramid": fusing(create_model("SaliencePyramid"))}
    enfuse = program("enfuse", "Enfuse")
    contrast = MODELS.create("Mertens", saturation=0.0)
    exposed = MODELS.create("Mertens", exposure=1.0)
    return {"MFF": {**shared, "FocusSelection": fusing(create_model("FocusSelection")),
                    "Mertens (contrast)": fusing(contrast), **enfuse, **program("StackMFF V3", "StackMFFV3")},
            "MEF": {**shared, "SaliencePyramid, exposure base": fusing(MODELS.create("SaliencePyramid",
                                                                                     base="exposure")),
                    "Mertens (OpenCV's defaults)": fusing(create_model("Mertens")),
                    "Mertens (with exposure)": fusing(exposed), **enfuse}}


def best_of(stack: Stack) -> np.ndarray:
    """The picture that is nearest to the truth at each pixel, by the sum of squares over its channels."""
    pictures = np.stack(stack.pictures)
    errors = ((pictures.astype(np.float32) - stack.truth) ** 2).sum(axis=-1)
    return np.take_along_axis(pictures, errors.argmin(axis=0)[None, ..., None], axis=0)[0]


def score(fuse: Fuse, task: str, stacks: Sequence[Stack]) -> tuple[float, float, float]:
    """Mean PSNR and SSIM against the ground truth, and processor seconds, over stacks."""
    rows, seconds = [], []
    for truth, pictures in stacks:
        start = sum(os.times()[:4])  # with finished child processes
        fused = fuse(pictures, task)
        seconds.append(sum(os.times()[:4]) - start)
        rows.append(compute(SCORES, *pictures[:2], fused, colour="channels", truth=truth))
    return *(float(np.mean([row[name] for row in rows])) for name in SCORES), float(np.mean(seconds))


def table(kind: Kind, fuses: dict[str, Fuse]) -> None:
    """Print the table of a kind of stack, line by line."""
    stacks = [kind.stacks(count) for count in COUNTS]
    titles = [f"{count} pictures" for count in COUNTS]
    sys.stdout.write(f"\n| {kind.title} | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}\n")
    for name, fuse in fuses.items():
        cells = [f"{psnr:.2f} / {ssim:.4f} / {seconds:.2f}"
                 for psnr, ssim, seconds in (score(fuse, kind.task, one) for one in stacks)]
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
        sys.stdout.flush()
    best = [np.mean([compute(SCORES[:1], *one.pictures[:2], best_of(one), colour="channels", truth=one.truth)[SCORES[0]]
                     for one in group]) for group in stacks]
    sys.stdout.write(f"| {BEST} | {' | '.join(f'{psnr:.2f}' for psnr in best)} |\n")


def main(arguments: list[str]) -> None:
    """Score every method on every kind of stack and print the tables."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.stacks", description=__doc__.splitlines()[0])
    line.add_argument("--device", default="cpu")
    line.add_argument("--kinds", nargs="+", choices=["focus", "even", "tone"], default=["focus", "even", "tone"])
    given = line.parse_args(arguments)
    fuses, known = methods(given.device), kinds()
    sys.stdout.write("PSNR / SSIM / processor seconds\n")
    for name in given.kinds:
        table(known[name], fuses[known[name].task])


if __name__ == "__main__":
    run(main)
