"""Evaluates weights of the published network on held-out photographs.

    python -m benchmarks.held_back WEIGHTS [WEIGHTS ...] --photos PHOTOS [--size 224] [--json FILE]

For each file: the stage 1 loss and its terms without recon (exported weights have no MFM decoder), means over all
photographs with identical random draws; the PSNR of a clean photograph fused with itself (centre crops); and the mean
step across patch borders of flat grey pictures minus that inside patches, in levels of 255.
WEIGHTS: files of `python -m models.export`, which uses the moving average of a run.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from data.photos import PhotoFolder, photo_files
from data.synthesis import Synthesizer
from models.losses import CUDLoss
from models.registry import MODELS
from models.tasks import CUDTask
from models.weights import load_weights
from option.schema import TrainDataOptions
from utils.cli import run
from utils.distributed import choose_device
from utils.files import atomic_write

BATCH, SEED = 16, 11
FLAT_GREYS = (0.2, 0.5, 0.8)


@torch.no_grad()  # not inference_mode: cached tables for later steps are computed here
def loss_terms(model: nn.Module, photographs: PhotoFolder, size: int, device: torch.device) -> dict[str, float]:
    """Stage 1 loss terms in float32 without recon, as means over all photographs.

    Args:
        model: a ``DeFusionPP`` in eval mode on ``device``.
        photographs: the photographs, decoded one at a time.
        size: side of the crops in pixels.
    """
    task = CUDTask(model, Synthesizer(size), CUDLoss(recon=0.0)).to(device).eval()
    generators = {name: torch.Generator("cpu" if name == "order" else device).manual_seed(SEED)
                  for name in task.generator_names}
    sums: dict[str, float] = {}
    for start in range(0, len(photographs), BATCH):
        items = [photographs.read(index) for index in range(len(photographs))[start:start + BATCH]]
        terms = task(photographs.collate(items).to(device), generators)
        sums = {name: sums.get(name, 0.0) + float(value) * len(items) for name, value in terms.items()}
    return {name: value / len(photographs) for name, value in sums.items() if not name.endswith("recon")}


@torch.inference_mode()
def same_twice(model: nn.Module, photographs: PhotoFolder, size: int, device: torch.device) -> float:
    """Mean PSNR in dB of fusing a photograph's centre with itself, over photographs that are large enough."""
    values = []
    for index in range(len(photographs)):
        pixels = photographs.read(index).pixels
        top, left = ((side - size) // 2 for side in pixels.shape[-2:])
        if min(top, left) < 0:
            continue
        x = pixels[None, :, top:top + size, left:left + size].to(device).float() / 255
        error = (model.decompose(x, x).fused.clamp(0, 1) - x).square().mean()
        values.append(-10 * error.log10())
    return float(torch.stack(values).mean())


@torch.inference_mode()
def border_step(model: nn.Module, size: int, device: torch.device) -> float:
    """Mean absolute step across patch borders of flat pictures minus the mean step inside, in levels of 255."""
    flat = torch.cat([torch.full((1, 3, size, size), grey, device=device) for grey in FLAT_GREYS])
    fused = model.decompose(flat, flat).fused.float() * 255

    def steps(x: Tensor) -> tuple[Tensor, Tensor]:
        change = x.diff(dim=-1).abs()
        border = torch.arange(1, size, device=device) % model.patch_size == 0
        return change[..., border].mean(), change[..., ~border].mean()

    both = [steps(fused), steps(fused.mT)]
    return float(sum(border - inside for border, inside in both) / 2)


def score(path: Path, photos: Path, size: int, device: torch.device) -> dict[str, float]:
    """All numbers for one weight file."""
    model = MODELS.create("DeFusionPP").to(device)
    load_weights(model, path)
    model.eval()
    root, files = photo_files(TrainDataOptions(dataroot=str(photos)), seed=0, run_dir=None)
    photographs = PhotoFolder(root, files)
    return {**loss_terms(model, photographs, size, device),
            "same_twice_db": same_twice(model, photographs, size, device),
            "border_step": border_step(model, size, device), "photographs": len(files)}


def main(arguments: list[str]) -> None:
    """Print one line per file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs that were not trained on")
    parser.add_argument("--size", type=int, default=224, help="side of the crops in pixels; default: 224")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    device, results = choose_device(args.device), {}
    for path in args.weights:
        results[str(path)] = values = score(path, args.photos, args.size, device)
        told = ", ".join(f"{name.removeprefix('self_supervised_')} {value:.4g}" for name, value in values.items())
        sys.stdout.write(f"{path}: {told}\n")
    if args.json:
        with atomic_write(args.json) as temporary:
            temporary.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run(main)
