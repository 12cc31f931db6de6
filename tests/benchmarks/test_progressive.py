"""Runs of small pictures first get equal time and equal learning rates, and a stopped start changes nothing."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import progressive
from data.photos import PhotoFolder
from models.registry import MODELS
from utils.engine.loop import Trainer
from utils.engine.optimisation import Schedule
from utils.errors import UserError

CPU = torch.device("cpu")
NETWORK = {"embed_dim": 48, "depth": 2, "num_heads": 2, "last_heads": 4, "decoder_heads": 4}


def photographs(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for number in range(count):
        coarse = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number:02d}.png"), cv2.resize(coarse, (50, 40), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    root = tmp_path_factory.mktemp("photographs")
    return ["--photos", str(photographs(root / "train", 10, 0)), "--held-back", str(photographs(root / "held", 5, 1))]


def tiny(folders: list[str], out: Path, *more: str) -> list[str]:
    """Time for twelve steps of two at 64 pixels, of which the first phase makes 16 steps at 32 pixels."""
    return [*folders, "--out", str(out), "--images", "24", "--batch", "2", "--size", "64", "--amp", "off",
            "--device", "cpu", "--workers", "1", "--cost", "64=1", "32=0.5", "--network", json.dumps(NETWORK),
            "--runs", "32-64", *more]


def arguments(*more: str):
    return progressive.parse(["--photos", "p", "--held-back", "h", "--out", "o", *more])


def steps(sizes: tuple[int, int], args) -> list[int]:
    return [phase.end - phase.start for phase in progressive.plan(sizes, args)]


def test_equal_time_in_whole_steps():
    args = arguments("--images", "2400", "--cost", "112=0.25")
    assert steps((224, 224), args) == [100, 50]
    assert steps((112, 224), args) == [400, 50]
    assert steps((112, 112), args) == [400, 200]
    args = arguments("--images", "3000")
    assert args.cost[160] == pytest.approx(0.4848, abs=1e-4)
    for sizes in ((224, 224), (160, 224), (112, 224), (112, 112)):
        phases = progressive.plan(sizes, args)
        time = sum(count * phase.cost for count, phase in zip(steps(sizes, args), phases))
        assert abs(time - 3000 / 16) <= phases[1].cost / 2
    with pytest.raises(UserError, match="whose cost is known"):
        progressive.plan((96, 224), args)
    with pytest.raises(UserError, match="no time for a step"):
        progressive.plan((112, 224), arguments("--images", "10"))


def test_the_rate_is_the_same_function_of_time():
    args, batches = arguments("--images", "4800", "--cost", "112=0.25"), 7

    def rates(sizes: tuple[int, int]) -> dict[float, float]:
        """By time in steps of the full size."""
        found, phases = {}, progressive.plan(sizes, args)
        for number, phase in enumerate(phases):
            options = progressive.options_of("x", phases, number, batches, args).train
            schedule = Schedule(torch.optim.Adam([torch.zeros(1)]), options, 1.0, options.max_steps / batches)
            before = phases[0].end * phases[0].cost * number
            found |= {before + (step - phase.start) * phase.cost: schedule.factor(step / batches)
                      for step in range(phase.start, phase.end + 1)}
        return found

    full, small = rates((224, 224)), rates((112, 224))
    assert len(full) == 301
    for time, rate in full.items():
        assert small[time] == pytest.approx(rate, abs=1e-9)
    assert [full[time] for time in (0, 15, 200, 250, 300)] == pytest.approx([0, 1, 1, 0.5, 0], abs=1e-9)


def test_validation_is_a_function_of_the_weights_and_sees_every_photograph(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(progressive, "VALIDATION_BATCH", 2)
    args = progressive.parse(tiny(folders, tmp_path))
    torch.manual_seed(0)
    model = MODELS.create("DeFusionPP", **NETWORK).train()
    first = progressive.validate(model, args, CPU)
    torch.manual_seed(5)
    assert progressive.validate(model.train(), args, CPU) == first
    terms = [value for name, value in first.items() if name != "total_loss"]
    assert len(terms) == 5 and sum(terms) == pytest.approx(first["total_loss"], rel=1e-5)
    seen = []
    read = PhotoFolder.read
    monkeypatch.setattr(PhotoFolder, "read", lambda self, index: (seen.append(index), read(self, index))[1])
    with torch.no_grad():
        model.fuse_head.bias += 0.1
    assert progressive.validate(model, args, CPU)["total_loss"] != first["total_loss"]
    assert seen == [0, 1, 2, 3, 4]


def test_a_stopped_run_becomes_the_same_and_a_finished_one_stays(folders, tmp_path, monkeypatch, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    progressive.main(tiny(folders, whole))
    rows = json.loads((whole / "scores.json").read_text())["runs"]["32-64"]
    assert [(row["steps"], row["images"], row["time"]) for row in rows] == [(16, 32, 16), (20, 40, 24)]
    assert rows[0]["losses"]["total_loss"] != rows[1]["losses"]["total_loss"]
    assert (whole / "table.md").read_text() in capsys.readouterr().out

    do_step, done = Trainer._after_step, []

    def stop(trainer: Trainer) -> None:
        do_step(trainer)
        done.append(trainer.step)
        if trainer.step in (7, 18) and len(done) in (7, 18):
            trainer._saver.save()
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_after_step", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            progressive.main(tiny(folders, parts))
    progressive.main(tiny(folders, parts))
    assert done == list(range(1, 21))
    stopped = json.loads((parts / "scores.json").read_text())["runs"]["32-64"]
    assert [row["losses"] for row in stopped] == [row["losses"] for row in rows]

    progressive.main(tiny(folders, parts))
    assert len(done) == 20
    with pytest.raises(UserError, match="other settings"):
        progressive.main(tiny(folders, parts, "--lr", "1e-3"))
