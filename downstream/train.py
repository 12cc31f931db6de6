"""Train a segmenter or a detector on pictures or on fused features of pairs.

    python -m downstream.train -opt option/downstream/Seg_MSRS.yaml
    [torchrun --nproc_per_node=4 -m] downstream.train -opt ... --set path.resume_state=latest
"""

if __name__ == "__main__":
    from utils.cli import leave_at_once_when_stopped
    leave_at_once_when_stopped()  # while the libraries below load

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.boxed import BoxedFolder
from data.caches import MemoryCache
from data.loading import OrderedLoader, Source
from downstream.detection import DetectionTask
from downstream.evaluate import score, score_boxes
from downstream.networks import network_from_options
from downstream.sets import scored_set, training_set
from downstream.task import SegmentationTask
from option.load import options_from_command_line
from option.schema import Options
from utils.cli import run
from utils.distributed import choose_device
from utils.engine.launch import train
from utils.errors import UserError


def build_task(options: Options) -> nn.Module:
    """Build the network with its augmentation and its loss."""
    torch.manual_seed(options.train.manual_seed)  # the seed also determines the initial weights
    network = network_from_options(options)
    if options.downstream.task == "detection":
        return DetectionTask(network)
    return SegmentationTask(network, options.dataset.train.image_size, options.downstream.class_weights)


def build_loader(options: Options, *, seed: int, rank: int, world: int, device: torch.device,
                 **_: Any) -> OrderedLoader:
    """Batches of labelled scenes.

    Raises:
        UserError: bad labels, or an unsupported cache.
    """
    data, source = options.dataset.train, training_set(options)
    if data.cache == "device":
        raise UserError(f"{options.at('dataset.train.cache')}: labelled scenes can be kept in memory only; give ram")
    if data.cache == "ram":
        source = MemoryCache(source, threads=data.workers, show=rank == 0)
    return batches_of(source, options, seed=seed, rank=rank, world=world, device=device)


def batches_of(source: Source, options: Options, *, seed: int, rank: int, world: int,
               device: torch.device) -> OrderedLoader:
    """Batches of a source, which is decoded by ``dataset.train.workers`` unless it is in memory."""
    data = options.dataset.train
    workers = 0 if isinstance(source, MemoryCache) else data.workers
    return OrderedLoader(source, batch_size=data.batch_size, seed=seed, rank=rank, world=world, workers=workers,
                         pin=device.type == "cuda")


def build_validation(options: Options, _: nn.Module, run_dir: Path) -> Callable[[int, nn.Module], dict[str, float]]:
    """Scores on ``dataset.val``, for the record only: the last epoch is the result."""
    scenes, device, classes = scored_set(options, "val"), choose_device(options.device), options.downstream.classes

    def validate(step: int, model: nn.Module) -> dict[str, float]:
        if isinstance(scenes, BoxedFolder):
            return score_boxes(model, scenes, device, amp=options.train.amp, silent=True)
        return score(model, scenes, len(classes), device, amp=options.train.amp, silent=True)[0].numbers(classes)

    return validate


def main(arguments: list[str]) -> None:
    """Read the options and train."""
    train(options_from_command_line(arguments, __doc__), build_task, build_loader, build_validation)


if __name__ == "__main__":
    run(main)
