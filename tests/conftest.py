"""What the tests share: where real pictures lie, one thread policy, and signals that reach the programs they start."""

import os
import signal
from pathlib import Path

# Tests are many small networks: threads that wait for each other cost more than they bring. Before torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# A shell's `&` and nohup start us with ignored signals, which our children would inherit and tests would wait for.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (getattr(signal, "SIGHUP", None), signal.SIG_DFL)):
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real pictures that are not part of the repository; skips where it is missing."""
    folder = Path(os.environ.get("DEFUSION_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real pictures at {folder}: set DEFUSION_SHARED to the folder that holds data/")
    return folder
