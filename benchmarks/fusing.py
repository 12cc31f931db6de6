"""Measures fusing of pairs of any size, ours and the literal version, from pictures in memory to the result."""

import torch
from torch import Tensor

from benchmarks.ceiling import dtype_name
from benchmarks.measure import Laps, Row, count_gflop, peak_memory, repeat
from benchmarks.naive import NaiveNetwork, naive_fuse
from models.defusion import Decomposition, DeFusionPP
from models.fuser import Fuser
from models.registry import MODELS

NAIVE_STEP = 112  # as stable under shifts of the windows as our blended ones, see docs/SPEED.md


class _Counted:
    """Forwards ``decompose`` and counts its windows."""

    def __init__(self, network: torch.nn.Module, method: str) -> None:
        self._inner = getattr(network, method)
        self.windows = 0
        self.size = (0, 0)
        setattr(network, method, self)

    def __call__(self, x1: Tensor, x2: Tensor) -> Decomposition | Tensor:
        self.windows += len(x1)
        self.size = tuple(x1.shape[-2:])
        return self._inner(x1, x2)


def picture_pair(width: int, height: int) -> Tensor:
    """Two pictures (2, 3, H, W) in [0, 1]."""
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def measure_fusing(device: torch.device, *, model: str, width: int, height: int, amp: str, budget: float) -> Row:
    """Measure our fusing with components and initial weights."""
    network = MODELS.create(model)
    fuser = Fuser(network, device=str(device), amp=amp)
    pair = picture_pair(width, height)
    counted = _Counted(fuser.model, "context" if network.traits.large == "maps" else "decompose")

    def fuse(laps: Laps) -> None:
        counted.windows = 0
        fuser(pair[0], pair[1], color="rgb")

    timing = repeat(fuse, device, budget=budget, warmup=1 if width * height < 10**6 else 0)
    windows, memory = counted.windows, peak_memory(device)
    gflop = windows * _window_gflop(counted, device)
    kind = dtype_name(fuser.dtype)
    return Row(name=f"fusing, {model}, {kind}, {width} x {height}", unit="pairs", items=1, gflop=gflop, dtype=kind,
               memory=memory, note=f"{windows} windows", **timing.fields())


def measure_naive_fusing(device: torch.device, *, width: int, height: int, budget: float) -> Row:
    """Measure the literal network on dense windows."""
    network = NaiveNetwork(DeFusionPP()).to(device).eval()
    pair = picture_pair(width, height).to(device)
    counted = _Counted(network, "decompose")

    def fuse(laps: Laps) -> None:
        counted.windows = 0
        with torch.inference_mode():
            naive_fuse(network, pair[0], pair[1], step=NAIVE_STEP)

    timing = repeat(fuse, device, budget=budget, warmup=0)
    windows, memory = counted.windows, peak_memory(device)
    return Row(name=f"fusing, literal, float32, {width} x {height}", unit="pairs", items=1,
               gflop=windows * _window_gflop(counted, device), dtype="float32", memory=memory,
               note=f"{windows} windows", **timing.fields())


def _window_gflop(counted: _Counted, device: torch.device) -> float:
    x = torch.rand(1, 3, *counted.size, device=device)

    def work() -> None:
        with torch.no_grad():
            counted(x, x)

    return count_gflop(work)
