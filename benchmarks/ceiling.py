"""Measures the limits of the machine: matrix products and bytes per second, and its name."""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import synchronize

TOKENS = 2 * 16 * 197  # tokens in a step of 16 pairs at 224
# (rows, inner, columns) of the linear maps of a block, and of the products for their weight gradients.
NETWORK_SHAPES = ((TOKENS, 192, 576), (TOKENS, 192, 192), (TOKENS, 192, 768), (TOKENS, 768, 192),
                  (768, TOKENS, 192), (192, TOKENS, 768))


@dataclass
class Ceiling:
    """Measured limits of a device.

    Attributes:
        name: name of the processor or GPU.
        threads: number of PyTorch threads.
        square: GFLOP/s of a large square matrix product, by dtype.
        shapes: the same for the products of this network, total work over total time.
        bandwidth: GB/s of a large copy, counting bytes read and written.
    """

    name: str
    threads: int
    square: dict[str, float] = field(default_factory=dict)
    shapes: dict[str, float] = field(default_factory=dict)
    bandwidth: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def device_name(device: torch.device) -> str:
    """The processor's or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    flags = facts.get("flags", "").split()
    wide = [label for flag, label in (("avx512f", "AVX-512"), ("avx512_bf16", "BF16"), ("amx_bf16", "AMX"))
            if flag in flags]
    return " ".join([facts.get("model name", platform.machine()), *([f"({', '.join(wide)})"] if wide else [])])


def measure_ceiling(device: torch.device, *, budget: float = 1.0) -> Ceiling:
    """Measure the limits.

    Args:
        device: the device.
        budget: seconds per number.
    """
    ceiling = Ceiling(device_name(device), torch.get_num_threads())
    side = 8192 if device.type == "cuda" else 2048
    for dtype in (torch.float32, torch.bfloat16):
        name = dtype_name(dtype)
        ceiling.square[name] = _products([(side, side, side)], dtype, device, budget)
        ceiling.shapes[name] = _products(NETWORK_SHAPES, dtype, device, budget)
    ceiling.bandwidth = _copies(device, budget)
    return ceiling


def dtype_name(dtype: torch.dtype | None) -> str:
    """``float32`` or ``bfloat16``; None is float32."""
    return str(dtype or torch.float32).removeprefix("torch.")


def _products(shapes, dtype: torch.dtype, device: torch.device, budget: float) -> float:
    """GFLOP/s over all shapes."""
    work = seconds = 0.0
    for rows, inner, columns in shapes:
        a = torch.randn(rows, inner, device=device).to(dtype)
        b = torch.randn(columns, inner, device=device).to(dtype).T  # as the weights of a linear map lie
        seconds += fastest(lambda a=a, b=b: a @ b, device, budget / len(shapes))
        work += 2e-9 * rows * inner * columns
    return work / seconds


def _copies(device: torch.device, budget: float) -> float:
    source = torch.zeros(1 << 26, device=device)  # 256 MB, far beyond any cache
    target = torch.empty_like(source)
    return 2e-9 * source.nbytes / fastest(lambda: target.copy_(source), device, budget)


def fastest(work: Callable[[], object], device: torch.device, budget: float) -> float:
    """Seconds of the fastest run within the budget."""
    best, end = float("inf"), time.perf_counter() + budget
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best
