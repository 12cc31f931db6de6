"""What benchmarks that train share: arguments, the options of a run, its trainer, and results that outlive a stop."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn

from option.schema import Options
from utils.engine.batches import Loader
from utils.engine.loop import Trainer
from utils.files import atomic_write


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that :func:`run_options` reads, and where a run takes place."""
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs to train on")
    parser.add_argument("--out", type=Path, required=True, help="where runs and results go")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--minutes", type=float, default=10, help="between two checkpoints")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--amp", default="auto", choices=("auto", "off", "bf16"))
    parser.add_argument("--workers", type=int, default=2)


def run_options(name: str, args: argparse.Namespace, *, model: str, network: dict, size: int, cache_size: int,
                scenarios: dict[str, float], train: dict[str, Any]) -> Options:
    """The option file of a run that ends after ``train["max_steps"]`` steps and keeps its last checkpoint only.

    Args:
        name: of the run.
        args: what :func:`add_training_arguments` asks for.
        model, network: registered model and its keywords.
        size: side of the training crops.
        cache_size: short side that the photographs are kept with.
        scenarios: damages and their shares.
        train: further keys of the section ``train``.
    """
    return Options.model_validate({
        "name": name, "model": model, "network_G": network, "use_tb_logger": False,
        "dataset": {"train": {"dataroot": str(args.photos), "batch_size": args.batch, "image_size": size,
                              "workers": args.workers, "cache": "ram", "cache_size": cache_size}},
        "synthesis": {"scenarios": scenarios},
        "logger": {"print_freq": 20, "save_checkpoint_minutes": args.minutes, "keep_checkpoints": 1,
                   "save_checkpoint_freq": 1_000_000},
        "train": {"lr": args.lr, "schedule": "cosine", "epoch": 1_000_000, "manual_seed": args.seed, "amp": args.amp,
                  **train}})


def resumed_trainer(task: nn.Module, loader: Loader, options: Options, folder: Path, device: torch.device) -> Trainer:
    """A trainer that stands where the run in ``folder`` stopped, or at its start."""
    trainer = Trainer(task, loader, options=options, run_dir=folder, device=device)
    trainer.resume("latest")
    return trainer


def keep_text(text: str, path: Path) -> None:
    """Writes a small file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
