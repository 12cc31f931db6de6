"""Freed memory stays with the process when it is asked for, so that using it again faults no pages."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from utils.memory import keep_freed_memory, memory_in_use

SCRIPT = """
import resource, sys
import numpy as np
from utils.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(64 << 20, 1, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Page faults of filling 64 MB for the second time, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library is not glibc")
def test_memory_that_was_freed_is_used_again_without_page_faults():
    assert faults("keep") < 100 < faults("default")


def test_memory_is_told_where_the_system_has_it_and_0_where_not(monkeypatch):
    held = torch.ones(2**24)
    assert held.nbytes < memory_in_use(torch.device("cpu")) < 2**40
    monkeypatch.setattr("utils.memory.Path", lambda name: Path("/nowhere"))
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert memory_in_use(torch.device("cpu")) == 0
