"""The report's command shows every method on every task's page, from simulated pairs, in files that ask for nothing."""

import re
import shutil

import cv2
import numpy as np
import pytest

from benchmarks import comparison
from data import demo
from metrics import COMMON, leaderboard
from metrics.leaderboard import make_leaderboards
from metrics.results import read_result, results_in
from tests.conftest import ROOT
from tests.metrics.browser import Browser, find_chromium
from utils.errors import UserError

PROGRAMS = {"Enfuse": "enfuse", "StackMFFV3": "openfocus"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "LONG_SIDE", 96)
        comparison.main([str(out), "--weights"])
    return out


def here(task):
    """The task's methods that do not need a program that is missing."""
    return [name for name, (model, _) in task.methods.items() if shutil.which(PROGRAMS.get(model, "python3"))]


@pytest.mark.parametrize("name", comparison.TASKS)
def test_a_page_shows_every_method_of_its_task(folder, name):
    task = comparison.TASKS[name]
    html = (folder / name.lower() / "report.html").read_text(encoding="utf-8")
    methods = {*comparison.EVERYWHERE, *here(task)}
    assert set(re.findall(r'<tr data-method="([^"]*)"', html)) == methods
    pictures = re.findall(r'<img src="data:image/[^"]+" [^>]*alt="([^"]*), \w+"', html)
    assert len(pictures) == comparison.SHOWN * (2 + len(methods)) and methods < set(pictures)
    names = {*COMMON, *task.names, *(comparison.TRUTH if task.truth else ())}
    assert set(re.findall(r"<figcaption><strong>(\w+)</strong>", html)) == names
    assert "simulated" in html and "no benchmark" in html and "make report" in html
    assert all(one.startswith(("data:", "#", "../index.html")) for one in re.findall(r'(?:src|href)="([^"]*)"', html))


def test_index_and_readme_lead_to_files_that_are_there(folder):
    html, markdown = ((folder / name).read_text(encoding="utf-8") for name in ("index.html", "README.md"))
    links = {one for one in re.findall(r'(?:src|href)="([^"]*)"', html) if not one.startswith("data:")}
    links |= set(re.findall(r"\]\(([^)]*)\)", markdown))
    assert {f"{name.lower()}/{file}" for name in comparison.TASKS for file in ("report.html", "pictures.jpg")} < links
    assert all((folder / link).is_file() for link in links)
    methods = {*comparison.EVERYWHERE, *(name for task in comparison.TASKS.values() for name in here(task))}
    assert all(name in html and name in markdown for name in methods)
    assert all("simulated" in text and "no benchmark" in text for text in (html, markdown))
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.M):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_results_files_make_the_leaderboard_of_each_task(folder, capsys):
    assert leaderboard.main([str(folder / name.lower()) for name in comparison.TASKS]) == 0
    tables = capsys.readouterr().out.split("\n\n")
    for table, task in zip(tables, comparison.TASKS.values()):
        methods = {*comparison.EVERYWHERE, *here(task)}
        assert table.startswith(f"{len(methods)} methods on ") and all(f" {name} " in table for name in methods)
    assert len(tables) == len(comparison.TASKS)


def test_sheets_hold_a_row_for_each_picture(folder):
    sheet = cv2.imread(str(folder / "mff" / "pictures.jpg"))
    rows = 2 + len(comparison.EVERYWHERE) + len(here(comparison.TASKS["MFF"]))
    assert sheet.shape[0] > rows * comparison.CELL > 0 and sheet.std() > 20


def test_the_truth_is_nearer_to_a_selection_of_the_sharp_side_than_to_the_mean(folder):
    html = (folder / "mff" / "report.html").read_text(encoding="utf-8")
    summary = re.search(r'aria-label="PSNR_truth [^"]*"', html)[0]
    means = {name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+\d)", summary.partition("Means:")[2])}
    assert means["FocusSelection"] > means["Average"] + 3 and np.isfinite(list(means.values())).all()


def test_programs_that_are_missing_are_left_out_with_a_line(monkeypatch, caplog):
    monkeypatch.setenv("PATH", "/nowhere")
    caplog.set_level("INFO")
    assert list(comparison.load_weightless(comparison.TASKS["MFF"].methods)) == ["FocusSelection"]
    assert [line.partition(" on the PATH")[0] for line in caplog.messages] == [
        "left out: Enfuse: no program enfuse", "left out: StackMFFV3: no program openfocus"]
    with pytest.raises(UserError, match="unknown key"):
        comparison.load_weightless({"typo": ("SaliencePyramid", {"bas": 1})})


def test_weights_that_are_missing_are_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"none\.safetensors"):
        comparison.main([str(tmp_path), "--weights", str(tmp_path / "none.safetensors")])


@pytest.mark.parametrize("width", [1400, 390])
def test_index_fits_and_asks_for_its_own_files_only(folder, width):
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with Browser(program) as page:
        page.open(folder / "index.html", width, 800, touch=width < 500)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("[...document.images].map(image => image.naturalWidth > 0)") == [True] * 3
        assert page.complaints == [] and all(one.startswith(folder.as_uri()) for one in page.requests)


@pytest.mark.parametrize("name", comparison.TASKS)
def test_the_baselines_of_the_repository_can_be_compared(name):
    results = [read_result(path) for _, path in results_in([str(ROOT / "docs" / "report" / name.lower())])]
    (board,), refused = make_leaderboards(results)
    assert {*comparison.EVERYWHERE} < set(board.scores) and set(COMMON) <= set(board.names) and not refused
    assert len(board.stems) >= 3 and len(board.ranked) > 3
