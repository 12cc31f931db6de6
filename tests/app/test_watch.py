"""`--watch`: scenes are fused once their files are there and whole, however slowly they are written."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.jobs import Job, find_jobs
from app.watch import arriving
from tests.conftest import ROOT

watchfiles = pytest.importorskip("watchfiles")


def encoded(seed: int, ending: str = ".png") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    return cv2.imencode(ending, noise)[1].tobytes()


def write_slowly(path: Path, content: bytes, pause: float = 1.5) -> float:
    """A file in three pieces; the first pause is longer than two looks. Gives the time when it was whole."""
    with path.open("wb", buffering=0) as file:
        file.write(content[: len(content) // 3])
        time.sleep(pause)
        file.write(content[len(content) // 3 : len(content) // 2])
        time.sleep(0.2)
        file.write(content[len(content) // 2 :])
    return time.monotonic()


class Watched:
    """A watch in a thread: which scenes it handed out, and when."""

    def __init__(self, root: Path, done: list[Job] | None = None) -> None:
        self.root, self.stop, self.seen = root, threading.Event(), []
        self.folders = [root / "IR", root / "VI"]
        for folder in self.folders:
            folder.mkdir(exist_ok=True)
        self.thread = threading.Thread(target=self._run, args=(done or [],))
        self.thread.start()

    def find(self) -> list[Job]:
        return find_jobs([], *self.folders, self.root / "out", None, watching=True).jobs

    def _run(self, done: list[Job]) -> None:
        for job in arriving(self.folders, self.find, done, self.stop):
            self.seen.append((job.out.stem, time.monotonic()))

    def wait(self, count: int, timeout: float = 20) -> None:
        end = time.monotonic() + timeout
        while len(self.seen) < count and time.monotonic() < end:
            time.sleep(0.05)

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".bmp"])
def test_a_half_written_file_is_waited_for(tmp_path: Path, ending: str) -> None:
    with Watched(tmp_path) as watched:
        (tmp_path / f"VI/a{ending}").write_bytes(encoded(1, ending))
        whole = write_slowly(tmp_path / f"IR/a{ending}", encoded(2, ending))
        watched.wait(1)
    assert [stem for stem, _ in watched.seen] == ["a"]
    assert watched.seen[0][1] > whole


def test_what_is_there_comes_first_and_what_changes_comes_again(tmp_path: Path) -> None:
    for stem in ("kept", "there"):
        for side in ("IR", "VI"):
            (tmp_path / side).mkdir(exist_ok=True)
            (tmp_path / side / f"{stem}.png").write_bytes(encoded(3))
    kept = Job((tmp_path / "IR/kept.png", tmp_path / "VI/kept.png"), tmp_path / "out/kept.png")
    with Watched(tmp_path, [kept]) as watched:
        watched.wait(1)
        assert [stem for stem, _ in watched.seen] == ["there"]
        (tmp_path / "IR/kept.png").write_bytes(encoded(4) + bytes(1))
        watched.wait(2)
    assert [stem for stem, _ in watched.seen] == ["there", "kept"]


def test_the_command_fuses_what_arrives_until_it_is_interrupted(tmp_path: Path) -> None:
    for side in ("IR", "VI"):
        (tmp_path / side).mkdir()
    command = [sys.executable, "-m", "app", "fuse", "--ir", str(tmp_path / "IR"), "--vi", str(tmp_path / "VI"), "-o",
               str(tmp_path / "out"), "--watch", "--json", "--model", "SaliencePyramid", "--device", "cpu"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        (tmp_path / "VI/a.png").write_bytes(encoded(1))
        write_slowly(tmp_path / "IR/a.png", encoded(2))
        (tmp_path / "IR/alone.png").write_bytes(encoded(5))
        line = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=60)
    assert (line["status"], line["out"]) == ("fused", str(tmp_path / "out/a.png"))
    assert (tmp_path / "out/a.png").is_file() and rest == ""
    assert process.returncode == 130
    assert "alone.png: no partner" in told and "Traceback" not in told
