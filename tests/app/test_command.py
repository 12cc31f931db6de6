"""`python -m app`, the command from the checkout: each word reaches its script, a wrong one is one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.command import COMMANDS, dispatch, usage
from tests.conftest import ROOT
from utils.errors import UserError
from utils.version import VERSION


def test_it_runs_from_the_checkout() -> None:
    done = subprocess.run([sys.executable, "-m", "app", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"defusionpp {VERSION}\n")


def test_the_first_line_of_fuse_comes_before_the_slow_imports(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.pgm").write_bytes(b"P5 16 16 255\n" + bytes(256))
    slow = "sorted({'torch', 'scipy', 'pydantic', 'numba', 'skimage', 'matplotlib'} & set(sys.modules))"
    code = f"import sys, app.fuse as fuse; fuse.make_fuser = lambda *_: sys.exit(str({slow})); fuse.main(sys.argv[1:])"
    words = [str(tmp_path / name) for name in ("a.pgm", "b.pgm")]
    done = subprocess.run([sys.executable, "-c", code, *words, "-o", str(tmp_path / "c.png")], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.stderr == "fusing 1 scene with defusionpp_hr\n[]\n"


def test_help_names_every_command_in_80_columns() -> None:
    assert all(f"  {name} " in usage() for name in COMMANDS)
    assert max(map(len, usage().splitlines())) <= 80


def test_an_unknown_command_is_one_line() -> None:
    with pytest.raises(UserError, match=r"unknown command fues \(did you mean fuse\?\); see defusionpp --help"):
        dispatch(["fues"])


@pytest.mark.parametrize(("words", "script"), [
    (["train", "-opt", "x"], "selftrain"), (["train", "--stage2", "-opt", "x"], "selftrain_multimodal"),
    (["check", "-opt", "x"], "data.check"), (["export", "-opt", "x"], "models.export")])
def test_a_command_hands_its_words_on(words: list[str], script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("importlib.import_module", lambda name: type("Script", (), {
        "main": staticmethod(lambda rest: seen.append((name, rest)))}))
    monkeypatch.setattr(sys, "argv", ["app"])
    dispatch(words)
    assert seen == [(script, ["-opt", "x"])]
