"""How much memory the process holds."""

import resource
from pathlib import Path

import torch


def memory_in_use(device: torch.device) -> int:
    """Bytes of GPU memory held by tensors, or of resident process memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
