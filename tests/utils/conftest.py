"""What the tests of the workshop share."""

import subprocess

import pytest


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield place
    # Lazily: a log record that the test keeps may hold the error, and with it the file that could not be written.
    subprocess.run(["umount", "--lazy", str(place)], check=True)
