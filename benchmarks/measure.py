"""Measuring tools of the benchmarks: repeats, seconds by phase, arithmetic, memory and load of the machine."""

import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Row:
    """One line of the table.

    Attributes:
        name: what was measured; identifies the row in comparisons.
        unit: "images" or "pairs".
        items: number of items per repeat.
        seconds: time of the fastest repeat.
        median: median time of all repeats.
        repeats: number of repeats.
        gflop: arithmetic of a repeat, network only, as required by the method.
        dtype: type of matrix products.
        memory: peak bytes, of tensors on a GPU, else of the process.
        free: share of the processor that this process got, at most 1 (below 0.9 others were working too).
        split: seconds by phase of the fastest repeat.
        note: further remarks.
    """

    name: str
    unit: str
    items: int
    seconds: float
    median: float
    repeats: int
    gflop: float
    dtype: str
    memory: int
    free: float | None = None
    split: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds

    @property
    def gflops(self) -> float:
        """GFLOP per second."""
        return self.gflop / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, including the rates."""
        return asdict(self) | {"rate": self.rate, "gflops": self.gflops}


class Laps:
    """Seconds by phase of one repeat.

    Args:
        device: where the work runs.
        wait: wait for a GPU at the end of each phase, so that the phases add up. Slows the step as a whole.
    """

    def __init__(self, device: torch.device, *, wait: bool) -> None:
        self._device, self._wait = device, wait
        self.seconds: dict[str, float] = {}
        self._moment = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Attribute the time since the last lap to ``phase``."""
        if self._wait:
            synchronize(self._device)
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._moment
        self._moment = now


@dataclass
class Timing:
    """The result of :func:`repeat`."""

    seconds: list[float]
    splits: list[dict[str, float]]
    free: float | None

    @property
    def fastest(self) -> int:
        """Index of the fastest repeat."""
        return self.seconds.index(min(self.seconds))

    def fields(self) -> dict[str, Any]:
        """Fields for a :class:`Row`."""
        return {"seconds": min(self.seconds), "median": statistics.median(self.seconds),
                "repeats": len(self.seconds), "free": self.free,
                "split": self.splits[self.fastest] if self.splits else {}}


def repeat(work: Callable[[Laps], None], device: torch.device, *, budget: float, warmup: int = 1,
           most: int = 20) -> Timing:
    """Run ``work`` repeatedly.

    On a GPU phases are measured in separate repeats, because this synchronises.

    Args:
        work: one repeat; receives the laps to mark its phases.
        device: where it runs.
        budget: seconds after which no further repeat is started.
        warmup: repeats that are not counted.
        most: largest number of repeats.
    """
    for _ in range(warmup):
        work(Laps(device, wait=False))
    synchronize(device)
    seconds, splits = [], []
    begin, used = time.perf_counter(), _processor_seconds()
    while not seconds or (len(seconds) < most and time.perf_counter() - begin < budget):
        laps, start = Laps(device, wait=False), time.perf_counter()
        work(laps)
        synchronize(device)
        seconds.append(time.perf_counter() - start)
        splits.append(laps.seconds)
    share = (_processor_seconds() - used) / (time.perf_counter() - begin) / torch.get_num_threads()
    if device.type == "cuda":
        laps = Laps(device, wait=True)
        work(laps)
        splits = [laps.seconds] * len(seconds)
    return Timing(seconds, splits, min(share, 1.0) if device.type == "cpu" else None)


def synchronize(device: torch.device) -> None:
    """Synchronise with a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor_seconds() -> float:
    times = os.times()  # does not include running loader workers
    return times.user + times.system


def peak_memory(device: torch.device) -> int:
    """Peak bytes so far, of tensors on a GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def count_gflop(work: Callable[[], Any]) -> float:
    """GFLOP of some work in float32: matrix products and convolutions, counting multiplications and additions.

    Attention counts as its two products (four in the backward pass: products recomputed by a kernel are not counted).
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9
