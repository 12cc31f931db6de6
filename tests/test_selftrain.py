"""The whole of stage 1 from an option file: it trains, resumes exactly, survives bad files, tells mistakes."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

import selftrain
from models.defusion import DeFusionPP
from models.weights import save_weights
from option.load import OptionError, load_options
from tests.utils import alike
from tests.utils.toy import losses
from utils.engine.checkpoints import CheckpointFolder
from utils.errors import UserError
from utils.locks import FolderLock

ROOT = Path(__file__).resolve().parent.parent
PHOTOS, BATCH = 26, 4


@pytest.fixture(autouse=True)
def calm_logging():
    """The script sets logging up for a whole process; here it must not outlive the test."""
    root = logging.getLogger()
    handlers, level, complain = root.handlers[:], root.level, logging.raiseExceptions
    with warnings.catch_warnings():
        yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], logging.raiseExceptions = handlers, complain
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Small photographs of different sizes, smooth enough to be told from noise."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(PHOTOS):
        size = tuple(int(side) for side in generator.integers(40, 60, 2))
        pixels = cv2.resize(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8), size, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:02d}.png"), pixels)
    return folder


@pytest.fixture
def option_file(tmp_path, photos) -> Path:
    """A network of a thousandth of the published work on 32 x 32 pictures, four epochs of six steps."""
    tree = {
        "name": "tiny", "use_tb_logger": False,
        "dataset": {"train": {"dataroot": str(photos), "batch_size": BATCH, "image_size": 32, "workers": 0}},
        "network_G": {"embed_dim": 48, "depth": 2},
        "path": {"experiments_root": str(tmp_path / "runs")},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 2},
        "train": {"epoch": 4, "lr_steps": [2], "amp": "off", "val_freq": 4},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def train(option_file: Path, *overrides: str, script=selftrain) -> Path:
    """Runs the script's main function here; gives the run's folder."""
    arguments = ["-opt", str(option_file), "--device", "cpu"]
    for override in overrides:
        arguments += ["--set", override]
    script.main(arguments)
    name = next((text.partition("=")[2] for text in overrides if text.startswith("name=")), "tiny")
    return option_file.parent / "runs" / name


def start(option_file: Path, *launcher: str) -> subprocess.Popen:
    """Starts a script in a process of its own."""
    command = ["nice", "-n", "15", sys.executable, *launcher, "-opt", str(option_file), "--device", "cpu"]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_epochs_kill_9_and_two_epochs_are_four_epochs_to_the_last_digit(option_file):
    whole = train(option_file, "name=whole")
    process = start(option_file, "selftrain.py")
    folder = option_file.parent / "runs" / "tiny"
    deadline = time.monotonic() + 60
    while not list(folder.glob("checkpoints/*-epoch-0002.pt")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, output
    before = losses(folder)[-1][0]
    assert 12 <= before < 24
    train(option_file, "path.resume_state=latest")
    assert losses(folder) == losses(whole) and len(losses(folder)) == 24
    ends = [CheckpointFolder(run / "checkpoints").load("latest")[0]["state_dict"] for run in (whole, folder)]
    assert all((value == ends[1][name]).all() for name, value in ends[0].items())


def test_the_run_folder_tells_everything(option_file):
    folder = train(option_file, "train.epoch=1", "use_tb_logger=true")
    log = (folder / "train.log").read_text()
    for words in ("DeFusion++", "commit", "device cpu", "seed 1", "embed_dim: 48", "epoch 1, step 6 of 6", "images/s",
                  "h left", "done: 6 steps, 24 images"):
        assert words in log, words
    assert {"checkpoints", "history.jsonl", "options.yaml", "tb", "train.log", "trainpairs.txt"} == \
        {path.name for path in folder.iterdir()}
    assert load_options(folder / "options.yaml").network_G.arguments() == {"embed_dim": 48, "depth": 2}


def test_a_new_start_moves_the_old_run_aside(option_file):
    train(option_file, "train.max_steps=1")
    folder = train(option_file, "train.max_steps=2")
    archived = list(folder.parent.glob("tiny_archived_*"))
    assert len(archived) == 1 and len(losses(archived[0])) == 1 and len(losses(folder)) == 2


@pytest.mark.parametrize("mistake", [
    "network_G.embed_dim=50", "train.loss=MAELoss", "dataset.train.dataroot=/nowhere", "dataset.train.image_size=40",
    "dataset.val.dataroot=/nowhere", "path.pretrain_model_G=/nowhere/w.pth"])
def test_a_mistaken_start_leaves_the_run_of_that_name_as_it_is(option_file, mistake):
    folder = train(option_file, "train.max_steps=3")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises((UserError, OptionError, AssertionError, TypeError, AttributeError, RuntimeError)):
        train(option_file, mistake)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) == ["tiny"]
    train(option_file, "path.resume_state=latest", "train.max_steps=5")
    assert [step for step, _ in losses(folder)] == [1, 2, 3, 4, 5]


def test_a_start_from_data_is_better_from_the_first_step_and_resumes(option_file):
    random = losses(train(option_file, "name=random", "train.max_steps=2"))
    whole = losses(train(option_file, "name=whole", "train.init=data", "train.ema=0.9", "train.max_steps=4"))
    assert whole[0][1] < random[0][1] / 5
    train(option_file, "train.init=data", "train.ema=0.9", "train.max_steps=2")
    folder = train(option_file, "train.init=data", "train.ema=0.9", "train.max_steps=4", "path.resume_state=latest")
    assert losses(folder) == whole


@pytest.mark.parametrize("override", ["model=MAE", "path.pretrain_model_G=WEIGHTS"])
def test_a_start_from_data_is_refused_where_it_has_no_meaning(option_file, tmp_path, override):
    weights = tmp_path / "weights.safetensors"
    save_weights(DeFusionPP(embed_dim=48, depth=2), weights)
    network = ["network_G={}"] if "MAE" in override else []
    with pytest.raises(UserError, match=r"train.init: data is a start for networks of stage 1 without given weights"):
        train(option_file, "train.init=data", override.replace("WEIGHTS", str(weights)), *network)


def test_latest_names_the_checkpoint_of_a_run_that_was_moved_aside(option_file):
    folder = train(option_file, "train.max_steps=1")
    folder.rename(folder.with_name("tiny_archived_250101-000000"))
    words = r"no checkpoint in .*tiny, but .*tiny_archived_250101-000000/checkpoints/step-00000001.pt; give"
    with pytest.raises(UserError, match=words):
        train(option_file, "path.resume_state=latest")
    assert losses(train(option_file, "path.resume_state=latest", "name=other", "train.max_steps=1"))[-1][0] == 1


def test_a_second_start_of_a_run_that_is_going_is_refused(option_file):
    folder = option_file.parent / "runs" / "tiny"
    with FolderLock(folder):
        for more in ([], ["path.resume_state=latest"]):
            with pytest.raises(UserError, match=f"tiny is in use by process {os.getpid()} on "):
                train(option_file, *more)
    assert not folder.exists()
    train(option_file, "train.max_steps=1")
    with FolderLock(folder):  # a run that has ended holds no lock
        pass


def test_unreadable_photographs_are_skipped_and_named(option_file, photos, tmp_path):
    folder = tmp_path / "some are bad"
    folder.mkdir()
    for path in photos.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.png").write_bytes((photos / "00.png").read_bytes()[:200])
    (folder / "text.jpg").write_text("no picture")
    run = train(option_file, f"dataset.train.dataroot={folder}", "train.epoch=2", "dataset.train.workers=1")
    log = (run / "train.log").read_text()
    for name in ("empty.jpg", "cut.png", "text.jpg"):
        assert log.count(name) == 1, f"{name} should be named once"
    assert len(losses(run)) == 2 * ((PHOTOS + 3) // BATCH)


@pytest.mark.parametrize(("override", "words"), [
    ("train.lrr=1", "train.lrr: unknown key (did you mean lr?)"),
    ("dataset.train.dataroot=/nowhere", "/nowhere"),
    ("model=DeFusionP", "DeFusionPP"),
    ("network_G.embed_dims=3", "embed_dim"),
    ("path.resume_state=/nowhere/x.pt", "checkpoint /nowhere/x.pt is not there"),
    ("dataset.val.dataroot=/nowhere", "dataset.val")])
def test_mistakes_are_one_line(option_file, override, words):
    with pytest.raises((UserError, OptionError)) as mistake:
        train(option_file, override)
    assert words in str(mistake.value) and "\n" not in str(mistake.value)


def test_accumulated_batches_are_the_bigger_batch(option_file):
    big = losses(train(option_file, "dataset.train.batch_size=8", "name=big", "train.epoch=2", script=alike))
    small = losses(train(option_file, "train.accumulate=2", "name=small", "train.epoch=2", script=alike))
    assert [step for step, _ in big] == [step for step, _ in small] and len(big) == 6
    for (_, value), (_, expected) in zip(small, big):
        assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_two_processes_are_one_with_the_doubled_batch(option_file):
    process = start(option_file, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
                    "-m", "tests.utils.alike")
    output = process.communicate(timeout=180)[0]
    assert process.returncode == 0, output
    two = losses(option_file.parent / "runs" / "tiny")
    one = losses(train(option_file, "dataset.train.batch_size=8", "name=one", script=alike))
    assert [step for step, _ in two] == [step for step, _ in one] and len(one) == 12
    for (_, value), (_, expected) in zip(two, one):
        assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_memory_is_flat_over_two_thousand_steps(option_file):
    process = start(option_file, "selftrain.py", "--set", "train.epoch=1000", "--set", "train.max_steps=2000",
                    "--set", "use_tb_logger=true", "--set", "logger.print_freq=10", "--set",
                    "logger.save_checkpoint_freq=100", "--set", "dataset.train.workers=1", "--set", "train.val_freq=50")
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    lines = (option_file.parent / "runs" / "tiny" / "history.jsonl").read_text().splitlines()
    steps, megabytes = np.array([(line["step"], line["memory_mb"]) for line in map(json.loads, lines)]).T
    settled = steps >= 500
    slope = np.polyfit(steps[settled], megabytes[settled], 1)[0]
    print(f"memory: {megabytes[-1]:.0f} MB, slope {1000 * slope:.3f} MB in 1,000 steps")
    assert abs(slope) * 1000 < 4
