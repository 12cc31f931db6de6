"""Draws depend on the seed, the generator's name, the process, the step and the micro-batch, and on nothing else."""

import torch

from utils.engine.randomness import NAMES, Randomness


def draws(seed: int = 1, rank: int = 0, step: int = 3, micro: int = 0) -> list[float]:
    """One number of each generator and of PyTorch's global one, at a moment that other draws came before."""
    randomness = Randomness(seed, torch.device("cpu"), rank)
    randomness.begin_step(99)
    torch.rand(7)
    randomness.begin_step(step, micro)
    return [*(float(torch.rand((), generator=randomness.generators[name])) for name in NAMES), float(torch.rand(()))]


def test_a_step_draws_the_same_again_and_no_other_one_does():
    first = draws()
    assert draws() == first
    others = [draws(seed=2), draws(rank=1), draws(step=4), draws(micro=1)]
    values = {value for one in (first, *others) for value in one}
    assert len(values) == (len(others) + 1) * (len(NAMES) + 1)
