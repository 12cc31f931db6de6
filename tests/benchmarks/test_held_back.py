"""Held-back numbers of a network that gives its input back, and of one that draws tiles."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.held_back import border_step, loss_terms, same_twice
from data.photos import PhotoFolder
from models.decomposition import Decomposition
from models.registry import MODELS
from utils.pictures.writing import write_picture

CPU = torch.device("cpu")


class Stub(nn.Module):
    """Gives the first picture back, with ``step`` levels added to every second patch."""

    patch_size = 16

    def __init__(self, step: float = 0.0) -> None:
        super().__init__()
        self.step = step

    def decompose(self, x1, x2):
        columns = (torch.arange(x1.shape[-1]) // self.patch_size) % 2
        return Decomposition(None, None, None, x1 + self.step / 255 * columns)


@pytest.fixture
def photographs(tmp_path):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 200, (80, 70, 3), dtype=np.uint8)
        write_picture(tmp_path / f"{number}.png", pixels)
    return PhotoFolder(tmp_path, [f"{number}.png" for number in range(3)])


def test_steps_at_patch_borders_are_told_in_levels():
    assert border_step(Stub(), 64, CPU) == pytest.approx(0, abs=1e-5)
    assert border_step(Stub(4), 64, CPU) == pytest.approx(2, abs=1e-3)  # 4 across columns, 0 across rows


def test_a_photograph_given_twice(photographs):
    assert same_twice(Stub(2), photographs, 64, CPU) == pytest.approx(
        10 * np.log10(255**2 / (2**2 / 2)), abs=1e-3)  # half of the pixels are off by two levels


def test_the_loss_is_the_same_every_time_and_the_sum_of_its_terms(photographs):
    model = MODELS.create("DeFusionPP", embed_dim=48, depth=1, num_heads=3, last_heads=3, decoder_heads=4).eval()
    first, second = (loss_terms(model, photographs, 64, CPU) for _ in range(2))
    assert first == second and not any("recon" in name for name in first)
    total = first.pop("total_loss")
    assert total == pytest.approx(sum(first.values()), rel=1e-5)
