"""How a benchmark measures: repeats, seconds by phase, arithmetic, memory, and whether the machine was free."""

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
        name: what was measured; rows of two runs are compared by it.
        unit: "images" or "pairs".
        items: how many of them a repeat handles.
        seconds: of the fastest repeat.
        median: of all repeats.
        repeats: how many.
        gflop: arithmetic of a repeat, network only, as the method needs it.
        dtype: what matrix products ran in.
        memory: bytes held at most: of the GPU by tensors, else of the process.
        free: share of the processor that this process got while it worked, at most 1 (below 0.9 others worked too).
        split: seconds by phase of the fastest repeat.
        note: what else the reader should know.
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
        """Items a second."""
        return self.items / self.seconds

    @property
    def gflops(self) -> float:
        """GFLOP a second."""
        return self.gflop / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the rates."""
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
        """What ran since the last lap was ``phase``."""
        if self._wait:
            synchronize(self._device)
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._moment
        self._moment = now


@dataclass
class Timing:
    """What :func:`repeat` found."""

    seconds: list[float]
    splits: list[dict[str, float]]
    free: float | None

    @property
    def fastest(self) -> int:
        """Index of the fastest repeat."""
        return self.seconds.index(min(self.seconds))

    def fields(self) -> dict[str, Any]:
        """For a :class:`Row`."""
        return {"seconds": min(self.seconds), "median": statistics.median(self.seconds),
                "repeats": len(self.seconds), "free": self.free,
                "split": self.splits[self.fastest] if self.splits else {}}


def repeat(work: Callable[[Laps], None], device: torch.device, *, budget: float, warmup: int = 1,
           most: int = 20) -> Timing:
    """Runs ``work`` again and again.

    On a GPU phases are measured in repeats of their own, as measuring them makes it wait.

    Args:
        work: one repeat; gets the laps to mark its phases in.
        device: where it runs.
        budget: seconds after which no further repeat is begun.
        warmup: repeats that do not count.
        most: repeats at most.
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
    """Waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor_seconds() -> float:
    times = os.times()  # loader workers that are still alive are not in it
    return times.user + times.system


def peak_memory(device: torch.device) -> int:
    """Bytes held at most so far: of a GPU by tensors, else by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def count_gflop(work: Callable[[], Any]) -> float:
    """GFLOP of some work in float32: matrix products and convolutions, a multiplication and an addition each.

    Attention counts as its two products (five in the backward pass need four: what a kernel computes again is not
    counted).
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9
