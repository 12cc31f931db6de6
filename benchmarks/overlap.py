"""How much windows should overlap: what a shift of the window grid changes, and what it costs.

    python -m benchmarks.overlap --weights FILE --a IR --b VI

For each overlap, over the pairs: the mean difference, in levels of 255, between the fused picture and the one with the
windows moved by 16 pixels (the patches stay where they are) or by 8 (the patches move too); the windows of a 640 x 512
pair; seconds a pair of the set.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from models.fuser import Fuser
from models.windows import run_windows, window_starts
from option.schema import TileOptions
from utils.cli import run
from utils.pictures.colour import luma
from utils.pictures.picture import to_unit
from utils.pictures.reading import read_picture
from utils.precision import autocast

OVERLAPS = (0, 16, 32, 64, 96, 112)
SHIFTS = ((16, 16), (8, 8))


def grey(path: Path) -> torch.Tensor:
    """Luma of a picture, repeated to (3, H, W)."""
    x = torch.from_numpy(to_unit(read_picture(path)))
    return (luma(x) if x.shape[0] == 3 else x).expand(3, -1, -1)


@torch.inference_mode()
def fuse(fuser: Fuser, pair: torch.Tensor, overlap: int, shift: tuple[int, int]) -> torch.Tensor:
    """Fused pair (3, H, W) in levels of 255."""
    def decompose(x: torch.Tensor) -> torch.Tensor:
        with autocast(fuser.dtype, fuser.device):
            return fuser.model.decompose(*x.split(3, dim=1)).fused.float()

    tile = TileOptions(overlap=overlap)
    result = run_windows(decompose, pair, size=tile.size, overlap=overlap, batch=tile.batch, shift=shift)
    return result.clamp(0, 1) * 255


def main(arguments: list[str]) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--a", type=Path, required=True, help="folder of first pictures")
    parser.add_argument("--b", type=Path, required=True, help="folder of second pictures, the same file names")
    parser.add_argument("--pairs", type=int, default=4)
    given = parser.parse_args(arguments)
    fuser = Fuser.from_pretrained(given.weights)
    files = sorted(given.a.iterdir())[: given.pairs]
    pairs = [torch.cat([grey(file), grey(given.b / file.name)]) for file in files]
    print("| overlap | windows of 640 x 512 | windows moved | patches moved | seconds a pair |")
    print("|---:|---:|---:|---:|---:|")
    for overlap in OVERLAPS:
        changes, seconds = {shift: [] for shift in SHIFTS}, []
        for pair in pairs:
            start = time.perf_counter()
            still = fuse(fuser, pair, overlap, (0, 0))
            seconds.append(time.perf_counter() - start)
            for shift in SHIFTS:
                changes[shift].append((still - fuse(fuser, pair, overlap, shift)).abs().mean().item())
        windows = len(window_starts(544, 224, overlap)) * len(window_starts(672, 224, overlap))
        means = " | ".join(f"{np.mean(values):.2f}" for values in changes.values())
        print(f"| {overlap} | {windows} | {means} | {np.median(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    run(main)
