"""What makes training fast changes nothing else: 200 steps of the fast and of the literal path stay together."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import models.attention
from benchmarks.naive import NaiveNetwork, naive_losses
from data.photos import PhotoBatch
from data.synthesis import Synthesizer
from models.defusion import DeFusionPP
from models.losses import CUDLoss
from models.tasks import draw_mfm
from option.schema import TrainOptions
from utils.engine.optimisation import build_optimizer
from utils.engine.randomness import Randomness

STEPS, SIZE, BATCH = 200, 64, 4


def small_network(dropout: float) -> DeFusionPP:
    torch.manual_seed(0)
    return DeFusionPP(embed_dim=48, depth=3, num_heads=3, last_heads=6, decoder_heads=4, dropout=dropout,
                      drop_path=dropout)


def train(network: nn.Module, losses: Callable, *, bf16: bool = False) -> torch.Tensor:
    """Total losses (STEPS,) of a training on random smooth pictures; equal draws for every network."""
    coarse = torch.rand(32, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    pictures = (255 * nn.functional.interpolate(coarse, (72, 96), mode="bicubic").clamp(0, 1)).byte()
    draws, synthesize = Randomness(1, torch.device("cpu")), Synthesizer(SIZE)
    parameters = [value for name, value in network.named_parameters() if "encoder.norm." not in name]
    optimizer, total = build_optimizer(parameters, TrainOptions(), 2e-4), []
    for step in range(STEPS):
        draws.begin_step(step)
        pixels = pictures[torch.arange(step * BATCH, (step + 1) * BATCH) % len(pictures)]
        batch = PhotoBatch(pixels, torch.tensor([[72, 96]] * BATCH), pixels.float().mean((1, 2, 3)) / 255)
        sample = synthesize(batch, draws.generators)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = network(sample.x1, sample.x2, *draw_mfm(sample.x1, 16, draws.generators))
            loss = losses(out, sample)["total_loss"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 20.0)
        optimizer.step()
        total.append(loss.detach())
    return torch.stack(total)


@pytest.mark.slow
def test_literal_and_fast_training_stay_together_in_float32():
    literal = train(NaiveNetwork(small_network(dropout=0.0)).train(), lambda out, sample: naive_losses(
        out, sample.common, sample.unique1, sample.unique2, sample.target))
    fast = train(small_network(dropout=0.0).train(), CUDLoss())
    difference = (fast / literal - 1).abs()
    print(f"float32: first 20 steps {difference[:20].max():.1e}, all {difference.max():.1e}; {fast[0]} -> {fast[-1]}")
    assert fast[-20:].mean() < 0.3 * fast[:5].mean()  # it did learn
    assert difference[:20].max() < 1e-5
    assert difference.max() < 0.01


@pytest.mark.slow
def test_blockwise_and_library_attention_train_alike_in_bf16(monkeypatch):
    fast = train(small_network(dropout=0.1).train(), CUDLoss(), bf16=True)
    exact = train(small_network(dropout=0.1).train(), CUDLoss())

    def library(heads: int, *parts: torch.Tensor) -> torch.Tensor:
        return models.attention.attention(heads, *(part.float() for part in parts)).to(parts[0].dtype)

    monkeypatch.setattr("models.layers.attention", library)
    slow = train(small_network(dropout=0.1).train(), CUDLoss(), bf16=True)
    among, against = (fast / slow - 1).abs(), (fast / exact - 1).abs()
    print(f"bf16: two attentions {among.mean():.1e}, at most {among.max():.1e}; bf16 against float32 "
          f"{against.mean():.1e}, at most {against.max():.1e}")
    assert among.mean() < 1e-3
    assert against.mean() < 2e-3
