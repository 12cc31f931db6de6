"""Whatever ends a process of a run, only the work since the last checkpoint is lost, and the run says what happened."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.utils.toy import ToyLoader, ToyTask, losses, train_toy
from utils.engine.checkpoints import CheckpointFolder

ROOT = Path(__file__).resolve().parents[3]
STEPS = 24  # of the whole toy run, 6 an epoch


def start(folder: Path, *launcher: str, place: dict[str, str] | None = None, **wish) -> subprocess.Popen:
    """Starts the toy run in a process of its own; ``place`` is its environment among others."""
    command = [sys.executable, *launcher, "-m", "tests.utils.toy", str(folder), json.dumps(wish)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(place or {})}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[tuple[int, float]]:
    """The history of a run that nothing befell."""
    folder = tmp_path_factory.mktemp("whole")
    train_toy(folder)
    return losses(folder)


def test_kill_9_between_two_checkpoints_costs_the_steps_since_the_first(tmp_path, whole):
    process = start(tmp_path, fault="kill", at=16)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == -signal.SIGKILL, output
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 16))
    train_toy(tmp_path, resume="latest")
    assert losses(tmp_path) == whole


def test_kill_9_in_a_checkpoint_write_leaves_the_one_before(tmp_path, whole):
    process = start(tmp_path, fault="kill in write", at=2)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names[1:] == ["latest.pt", "step-00000006-epoch-0001.pt"] and names[0].endswith(".tmp")
    train_toy(tmp_path, resume="latest")
    assert losses(tmp_path) == whole
    assert not list((tmp_path / "checkpoints").glob(".*tmp"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_a_long_step_saves_and_leaves_within_seconds(tmp_path, whole, number, code):
    process = start(tmp_path, fault="hang", at=9)
    for line in process.stdout:
        if "hanging in step 9" in line:
            break
    began = time.monotonic()
    process.send_signal(number)
    output = process.communicate(timeout=30)[0]
    assert time.monotonic() - began < 10
    assert process.returncode == code, output
    assert f"{number.name} received: saving, then leaving" in output
    assert "step 8 is in" in output and "step-00000008.pt; resume with --set path.resume_state=latest" in output
    train_toy(tmp_path, resume="latest")
    assert losses(tmp_path) == whole


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max-restarts=2")


def test_two_processes_train_as_one_with_the_doubled_batch_however_long_a_validation_takes(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    wish = {"noise": False, "patience": 6, "validation": 10, "options": {"epoch": 2, "val_freq": 1}}
    both = [start(tmp_path / "two", place={**meeting, "RANK": str(rank)}, **wish) for rank in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(outputs)
    train_toy(tmp_path / "one", task=ToyTask(noise=False), loader=ToyLoader(16), epoch=2)
    two, one = losses(tmp_path / "two"), losses(tmp_path / "one")
    # The last batch of an epoch has 12 samples, of which the first process gets 9.
    assert [step for step, _ in two] == [step for step, _ in one] == list(range(1, 7))
    torch.testing.assert_close(torch.tensor(two), torch.tensor(one), rtol=1e-5, atol=0)
    state, _ = CheckpointFolder(tmp_path / "two" / "checkpoints").load("latest")
    assert state["images"] == 2 * 2 * (8 + 8 + 9)  # of both epochs, twice those of the first process


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_makes_torchrun_restart_and_end_with_all_steps(tmp_path, rank):
    process = start(tmp_path / "whole", *TORCHRUN, batch=4)
    assert process.wait(timeout=120) == 0
    process = start(tmp_path / "parts", *TORCHRUN, batch=4, fault="kill", at=15, rank=rank)
    output = process.communicate(timeout=180)[0]
    assert process.returncode == 0, output
    assert "resumed from" in output
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert losses(tmp_path / "parts")[-1][0] == STEPS
