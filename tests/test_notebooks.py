"""The notebooks run from the first cell to the last, and are committed without outputs."""

import ast
import json
import os
import sys

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def code_cells(name: str) -> list[dict]:
    return [cell for cell in json.loads((FOLDER / name).read_text())["cells"] if cell["cell_type"] == "code"]


def test_there_are_the_notebooks_that_the_readme_names():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert NAMES == ["fuse_your_own.ipynb", "train_a_head.ipynb"]
    assert all(f"docs/notebooks/{name}" in readme for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_python_without_outputs(name):
    for cell in code_cells(name):
        ast.parse("".join(cell["source"]), name)
        assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_runs(name, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra notebooks)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra notebooks)")
    import nbformat

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")
    book = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(book)
    place = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(book, timeout=3600, kernel_name="python3", resources=place).execute()
    printed = "".join(output.get("text", "") for cell in book.cells for output in cell.get("outputs", []))
    assert "Qabf" in printed and "nan" not in printed
    if name == "train_a_head.ipynb":
        lines = [line for line in printed.splitlines() if "PSNR_truth" in line]
        start, trained, _shipped = (float(line.rpartition(" ")[2]) for line in lines)
        assert trained > start > 40  # dB
