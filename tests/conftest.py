"""What the tests share: where real pictures lie, and one thread policy."""

import os
from pathlib import Path

# Tests are many small networks: threads that wait for each other cost more than they bring. Before torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real pictures that are not part of the repository; skips where it is missing."""
    folder = Path(os.environ.get("DEFUSION_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real pictures at {folder}: set DEFUSION_SHARED to the folder that holds data/")
    return folder
