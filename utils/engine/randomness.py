"""Random draws that a resumed run repeats: named generators, seeded anew at every step.

Each step's draws depend only on (seed, name, process, step, micro-batch). So a step that was broken off can be
done again exactly, a checkpoint of one process is valid for all of them, and a run may go on with another
number of processes. The states are kept in the checkpoint as well, for draws that are made between steps.
"""

import hashlib
import random
from typing import Any

import numpy as np
import torch

NAMES = ("crop", "damage", "mfm", "order")


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any numbers and names; equal parts give equal seeds on every machine."""
    text = "/".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


class Randomness:
    """The generators of one process.

    Args:
        seed: ``train.manual_seed``.
        device: where the draws are made.
        rank: number of this process; each draws its own numbers.

    Attributes:
        generators: ``crop`` (crop and colour), ``damage`` (masks and noise), ``mfm`` (kept tokens) and
            ``order`` (order of the pair). All are on ``device`` but ``order``: it decides what Python does next,
            and a GPU should not be waited for. Dropout uses PyTorch's global generator.
    """

    def __init__(self, seed: int, device: torch.device, rank: int = 0) -> None:
        self._seed = seed
        self._rank = rank
        self.generators = {name: torch.Generator("cpu" if name == "order" else device) for name in NAMES}
        self.begin_step(0)
        random.seed(derive_seed(seed, "python", rank))
        np.random.seed(derive_seed(seed, "numpy", rank) % 2**32)

    def begin_step(self, step: int, micro: int = 0) -> None:
        """Seeds every generator for the micro-batch ``micro`` of optimiser step ``step``."""
        for name, generator in self.generators.items():
            generator.manual_seed(derive_seed(self._seed, name, self._rank, step, micro))
        torch.manual_seed(derive_seed(self._seed, "global", self._rank, step, micro))

    def begin_epoch(self, epoch: int) -> None:
        """Seeds the global generator, from which the data loader draws its workers' seeds."""
        torch.manual_seed(derive_seed(self._seed, "epoch", self._rank, epoch))

    def state_dict(self) -> dict[str, Any]:
        """All states as tensors and plain numbers (``torch.load(weights_only=True)`` reads them)."""
        name, keys, position, has_gauss, gauss = np.random.get_state()
        state: dict[str, Any] = {
            "seed": self._seed,
            "generators": {key: generator.get_state() for key, generator in self.generators.items()},
            "torch": torch.get_rng_state(),
            "numpy": [str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
            "python": random.getstate(),
        }
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            state["cuda"] = torch.cuda.get_rng_state()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what :meth:`state_dict` gave. A state of another kind of device is left out: steps seed anew."""
        for name, generator in self.generators.items():
            saved = state["generators"].get(name)
            if saved is not None and saved.numel() == generator.get_state().numel():
                generator.set_state(saved)
        torch.set_rng_state(state["torch"])
        kind, keys, position, has_gauss, gauss = state["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
        random.setstate(state["python"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])
