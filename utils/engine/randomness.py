"""Reproducible random draws: named generators, reseeded at every step.

Draws depend only on (seed, name, process, step, micro-batch). Therefore an interrupted step can be repeated exactly,
no generator state has to be saved, and a run may continue with another number of processes.
"""

import hashlib

import torch

NAMES = ("crop", "damage", "mfm", "order")


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from numbers and names; equal on every machine for equal arguments."""
    text = "/".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


class Randomness:
    """The generators of one process.

    Args:
        seed: ``train.manual_seed``.
        device: device of the generators.
        rank: index of this process; draws differ between processes.

    Attributes:
        generators: ``crop`` (crop and colour), ``damage`` (masks and noise), ``mfm`` (kept tokens) and
            ``order`` (order of the pair). All are on ``device`` except ``order``, which is on the CPU: its value
            controls Python flow, and reading it from a GPU would synchronise. Dropout uses PyTorch's global generator.
    """

    def __init__(self, seed: int, device: torch.device, rank: int = 0) -> None:
        self._seed = seed
        self._rank = rank
        self.generators = {name: torch.Generator("cpu" if name == "order" else device) for name in NAMES}
        self.begin_step(0)

    def begin_step(self, step: int, micro: int = 0) -> None:
        """Seed all generators for micro-batch ``micro`` of optimiser step ``step``."""
        for name, generator in self.generators.items():
            generator.manual_seed(derive_seed(self._seed, name, self._rank, step, micro))
        torch.manual_seed(derive_seed(self._seed, "global", self._rank, step, micro))
