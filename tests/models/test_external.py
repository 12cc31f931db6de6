"""Other people's programs: found on the PATH, given the pictures as 16-bit files, and refused in one line."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.enfuse import Enfuse
from models.fuser import Fuser
from models.registry import MODELS
from models.stackmff import StackMFFV3
from utils.errors import UserError

COPY = """\
#!/usr/bin/env python3
import os, shutil, sys
assert "PYTHONPATH" not in os.environ
open({log!r}, "w").write("\\n".join(sys.argv[1:]))
out = [a.split("=", 1)[1] for a in sys.argv if a.startswith("--output=")]
shutil.copy(sys.argv[-1], out[0] if out else sys.argv[sys.argv.index("--output") + 1])
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs that copy the last picture, with their arguments in a file."""
    for name in ("enfuse", "openfocus"):
        path = tmp_path / name
        path.write_text(COPY.format(log=str(tmp_path / "log")))
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return tmp_path / "log"


def pictures(channels: int = 3, count: int = 3) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 65536, (count, 18, 20, channels), dtype=np.uint16))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["Enfuse", "StackMFFV3"])
def test_all_pictures_go_there_and_back_unchanged(programs, name, channels):
    given = pictures(channels)
    fused = Fuser(MODELS.create(name), device="cpu")(*given, task="MFF").fused
    assert fused.dtype == np.uint16 and np.array_equal(fused, given[-1])
    assert programs.read_text().splitlines()[-3:] == ["000.png", "001.png", "002.png"]


def test_a_grey_tensor_stays_grey(programs):
    images = torch.rand(2, 3, 1, 16, 17)
    fused = Enfuse().decompose(*images).fused
    assert fused.shape == (3, 1, 16, 17) and torch.allclose(fused, images[-1], atol=1 / 65535)


@pytest.mark.parametrize(("task", "hard"), [("MFF", True), ("MEF", False), (None, False)])
def test_enfuse_weighs_contrast_for_focus_alone(programs, task, hard):
    Fuser(Enfuse(), device="cpu")(*pictures(), task=task)
    asked = programs.read_text().splitlines()
    assert ("--hard-mask" in asked) == ("--contrast-weight=1" in asked) == ("--exposure-weight=0" in asked) == hard


def test_the_network_of_openfocus_works_alone(programs):
    Fuser(StackMFFV3(), device="cpu")(*pictures(), task="MFF")
    asked = programs.read_text()
    assert "--method\nstackmffv3\n--align\nnone\n--no-exposure-match\n" in asked


@pytest.mark.parametrize(("name", "program"), [("Enfuse", "enfuse"), ("StackMFFV3", "openfocus")])
def test_a_missing_program_is_one_line_that_says_how_to_get_it(monkeypatch, name, program):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=rf"^{name}: no program {program} on the PATH; .*install") as error:
        MODELS.create(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("body", "words"), [
    ("echo noise; echo out of cheese >&2; exit 3", "exit code 3; Enfuse; it said: out of cheese"),
    ("echo out of cheese >&2; exit 3", "exit code 3; Enfuse; it said: out of cheese"),
    ("exit 0", "exit code 0; Enfuse; it said: nothing"),
])
def test_a_program_that_fails_is_quoted(programs, body, words):
    (programs.parent / "enfuse").write_text(f"#!/bin/sh\n{body}\n")
    with pytest.raises(UserError, match=words):
        Fuser(Enfuse(), device="cpu")(*pictures())


@pytest.mark.skipif(not shutil.which("enfuse"), reason="enfuse is not installed: apt-get install enfuse")
def test_enfuse_itself_takes_the_sharp_half_of_each_picture():
    sharp = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    left, right = sharp.copy(), sharp.copy()
    left[:, 64:], right[:, :64] = 128, 128
    fused = Fuser(Enfuse(), device="cpu")(left, right, task="MFF").fused.astype(int)
    error = np.abs(fused - sharp).mean(axis=(0, 2))
    assert error[:56].mean() < 8 and error[72:].mean() < 8


@pytest.mark.skipif(not shutil.which("openfocus"), reason="openfocus is not on the PATH")
@pytest.mark.slow
def test_stackmff_itself_takes_the_sharp_half_of_each_picture():
    sharp = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    left, right = sharp.copy(), sharp.copy()
    left[:, 64:], right[:, :64] = 128, 128
    fused = Fuser(StackMFFV3(), device="cpu")(left, right, task="MFF").fused.astype(int)
    assert np.abs(fused - sharp)[:, :48].mean() < 8 and np.abs(fused - sharp)[:, 80:].mean() < 8
