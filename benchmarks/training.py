"""Measures training steps, ours and the literal version, from JPEG files to updated weights."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.ceiling import dtype_name
from benchmarks.measure import Laps, Row, count_gflop, peak_memory, repeat
from benchmarks.naive import NaiveNetwork, naive_losses
from benchmarks.naive_data import naive_loader
from data.photos import build_photo_loader
from data.synthesis import Synthesizer
from models.defusion import DeFusionPP
from models.losses import CUDLoss
from models.tasks import draw_mfm
from option.schema import TrainOptions
from option.sections_data import TrainDataOptions
from utils.engine.batches import load_ahead
from utils.engine.optimisation import build_optimizer
from utils.engine.randomness import Randomness
from utils.memory import keep_freed_memory
from utils.precision import autocast, autocast_dtype

SIZE = 224
WORKERS = 2
DISTINCT = 64  # distinct photographs; the others are links to them


def write_photographs(folder: Path, count: int) -> Path:
    """Write JPEGs of 640 x 480, smooth shapes with noise, which take as long to decode as photographs."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index:06d}.jpg"
        if index < DISTINCT:
            coarse = generator.integers(0, 256, (15, 20, 3), np.uint8)
            fine = generator.normal(0, 12, (480, 640, 1))
            picture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC) + fine
            cv2.imwrite(str(path), picture.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])
        elif not path.exists():
            path.symlink_to(f"{index % DISTINCT:06d}.jpg")
    return folder


def measure_ours(folder: Path, device: torch.device, *, batch: int, amp: str, compiled: bool, budget: float) -> Row:
    """Measure our step: photographs from workers (cached on a GPU), synthesis on the device, bf16 if native."""
    keep_freed_memory()  # as in utils/engine/launch.py
    network = DeFusionPP().to(device).train()
    gflop = _step_gflop(network, batch)
    if compiled:
        network.compile()
    optimizer = build_optimizer((p for p in network.parameters() if p.requires_grad), TrainOptions(), 1e-4)
    batches = _our_batches(folder, device, batch)
    draws, synthesize, criterion = Randomness(1, device), Synthesizer(SIZE), CUDLoss()
    dtype = autocast_dtype(amp, device)

    def step(laps: Laps) -> None:
        photographs = next(batches)
        laps.lap("data")
        optimizer.zero_grad(set_to_none=True)
        with autocast(dtype, device):
            sample = synthesize(photographs, draws.generators)
            laps.lap("synthesis")
            out = network(sample.x1, sample.x2, *draw_mfm(sample.x1, network.patch_size, draws.generators))
            laps.lap("forward")
            loss = criterion(out, sample)["total_loss"]
            laps.lap("loss")
        _finish(loss, network, optimizer, laps)

    timing = repeat(step, device, budget=budget, warmup=4 if compiled else 2)
    name = f"training, {'compiled, ' if compiled else ''}{dtype_name(dtype)}, batch {batch}"
    return Row(name=name, unit="images", items=batch, gflop=gflop, dtype=dtype_name(dtype),
               memory=peak_memory(device), **timing.fields())


def measure_naive(folder: Path, device: torch.device, *, batch: int, budget: float) -> Row:
    """Measure the literal step (``benchmarks/naive.py``)."""
    network = NaiveNetwork(DeFusionPP()).to(device).train()
    gflop = _step_gflop(network, batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    batches = _naive_batches(folder, batch)

    def step(laps: Laps) -> None:
        x1, x2, *targets = (tensor.to(device) for tensor in next(batches))
        laps.lap("data")
        optimizer.zero_grad()
        noise = torch.rand(batch, (SIZE // 16) ** 2, device=device)
        out = network(x1, x2, noise, bool(torch.rand(()) < 0.5))
        laps.lap("forward")
        loss = naive_losses(out, *targets)["total_loss"]
        laps.lap("loss")
        _finish(loss, network, optimizer, laps)

    timing = repeat(step, device, budget=budget)
    return Row(name=f"training, literal, float32, batch {batch}", unit="images", items=batch, gflop=gflop,
               dtype="float32", memory=peak_memory(device), **timing.fields())


def _finish(loss: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer, laps: Laps) -> None:
    loss.backward()
    laps.lap("backward")
    torch.nn.utils.clip_grad_norm_(network.parameters(), 20.0)
    optimizer.step()
    laps.lap("optimiser")


def _our_batches(folder: Path, device: torch.device, batch: int) -> Iterator[object]:
    options = TrainDataOptions(dataroot=str(folder), train_name="", batch_size=batch, workers=WORKERS,
                               cache="device" if device.type == "cuda" else "none")
    loader = build_photo_loader(options, seed=1, run_dir=None, device=device)
    while True:
        yield from (loaded.batch for loaded in load_ahead(loader, device))


def _naive_batches(folder: Path, batch: int) -> Iterator[list[Tensor]]:
    loader = naive_loader(folder, batch_size=batch, workers=WORKERS, size=SIZE)
    while True:
        yield from loader


def _step_gflop(network: nn.Module, batch: int) -> float:
    """GFLOP of the forward and backward pass of a batch.

    Linear in the batch except for operations on weights alone, so it is extrapolated from one and two pairs.
    """
    device = next(network.parameters()).device

    def passes(pairs: int) -> float:
        x, noise = torch.rand(pairs, 3, SIZE, SIZE, device=device), torch.rand(pairs, (SIZE // 16) ** 2, device=device)

        def work() -> None:
            out = network(x, x, noise)
            (out.common.sum() + out.unique1.sum() + out.unique2.sum() + out.fused.sum() + out.recon.sum()).backward()

        return count_gflop(work)

    one, two = passes(1), passes(2)
    network.zero_grad(set_to_none=True)
    return one + (batch - 1) * (two - one)
