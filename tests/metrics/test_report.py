"""The report needs nothing but itself, tells what the scores say, and works in a browser, wide and narrow."""

import re
from dataclasses import replace
from pathlib import Path
from xml.dom import minidom

import cv2
import numpy as np
import pytest

from metrics.evaluate import score_folders
from metrics.folders import find_sources, name_methods, with_truths
from metrics.pictures import PictureLimits, choose_stems, crop_at, load_pairs, shrink
from metrics.plots import make_plot, nice_ticks
from metrics.report import decimals, definitions, write_report
from tests.metrics.browser import Browser, find_chromium
from tests.metrics.scenes import texture, write_set
from utils.errors import UserError
from utils.pictures.reading import ReadingRule

NAMES = ("EN", "SSIM", "MSE", "Q_SF", "CC")
HOSTILE = "<b>N&\"et|"  # a folder may be called so; a page must show it and not obey it
PROVENANCE = {"version": "1.2.3", "option hash": "abc123", "weight checksum": "0" * 64, "colour": "grey"}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    sources, methods = write_set(root, pairs=6, methods={"Mean": 0.5, "AVeryLongMethodNameIndeed": 0.9, HOSTILE: 0.2,
                                                         "Part": 0.4}, colour=True, suffix="_recover")
    (root / "Part" / "scene1_recover.png").unlink()
    return score_folders(sources, methods, NAMES, workers=0)


@pytest.fixture(scope="module")
def folder(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(comparison, folder, title="Test <set>", provenance=PROVENANCE, count=3)
    return folder


@pytest.fixture(scope="module")
def html(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page():
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with Browser(program) as browser:
        yield browser


def test_html_asks_for_nothing(html):
    targets = re.findall(r"(?:src|href|action|poster)=\"([^\"]*)\"", html) + re.findall(r"url\(([^)]*)\)", html)
    assert targets and all(target.startswith(("data:", "#")) for target in targets)
    assert "default-src 'none'" in html and "@import" not in html


def test_html_shows_names_and_does_not_obey_them(html):
    assert HOSTILE not in html and "<b>" not in html
    assert "&lt;b&gt;N&amp;&#34;et|" in html and "<title>Test &lt;set&gt;</title>" in html


def test_provenance_is_told(html, folder):
    told = (folder / "report.md").read_text(encoding="utf-8")
    for key, value in PROVENANCE.items():
        assert f"<dt>{key}</dt><dd>{value}</dd>" in html
        assert f"- {key}: {value}" in told
    assert all(key in html and key in told for key in definitions(NAMES).values())


def test_marks_follow_the_direction(comparison, html):
    body = re.search(r"<tbody>(.*?)</tbody>", html, re.S)[1]
    rows = [re.findall(r"<td class=\"(\w*)\" data-v=\"([^\"]*)\"", row) for row in body.split("</tr>")[:4]]
    ranked = rows[:3]  # the partial method is the last row, without marks
    for column, better in enumerate(("higher", "higher", "lower", "nearest0", "higher")):
        cells = [(float(row[column][1]), row[column][0]) for row in ranked]
        cost = {"higher": lambda v: -v, "lower": lambda v: v, "nearest0": abs}[better]
        cells.sort(key=lambda cell: cost(cell[0]))
        assert [mark for _, mark in cells] == ["best", "second", ""], NAMES[column]
    assert all(mark == "" for mark, _ in rows[3])
    assert "5 of 6 pairs, not ranked" in body


def test_markdown_has_whole_tables_and_all_its_files(folder, comparison):
    text = (folder / "report.md").read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table
        assert re.fullmatch(r"(\| :?-+:? )+\|", table.splitlines()[1])
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert len(links) == len(NAMES) + sum(
        2 * len(pair.pictures) for pair in load_pairs(comparison, choose_stems(comparison, 3), 100))
    assert all((folder / link).is_file() for link in links)
    for plot in (folder / "report_files").glob("*.svg"):
        minidom.parse(str(plot))
    best = comparison.order()[0]
    assert f"**{comparison.mean_ranks()[best]:.2f}**" in text


def test_a_new_report_replaces_the_old_pictures(comparison, tmp_path):
    write_report(comparison, tmp_path, title="t", provenance={}, stems=["scene0"], html=False)
    assert not (tmp_path / "report.html").exists()
    write_report(comparison, tmp_path, title="t", provenance={}, stems=["scene2"])
    assert {path.name for path in (tmp_path / "report_files").iterdir() if path.is_dir()} == {"scene2"}


def test_a_new_report_leaves_what_it_did_not_write(comparison, tmp_path):
    write_report(comparison, tmp_path, title="t", provenance={}, stems=["scene0"])
    mine = [tmp_path / "report_files" / "notes.txt", tmp_path / "report_files" / "scene0" / "mine.png",
            tmp_path / "report_files" / "own" / "x.png"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    write_report(comparison, tmp_path, title="t", provenance={}, stems=["scene2"])
    assert all(path.read_text() == "mine" for path in mine)
    assert [path.name for path in (tmp_path / "report_files" / "scene0").iterdir()] == ["mine.png"]


def test_size_limit_is_kept(comparison, tmp_path):
    files = {}
    for megabytes in (8.0, 0.1):
        write_report(comparison, tmp_path, title="t", provenance={}, limits=PictureLimits(megabytes), markdown=False)
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        files[megabytes] = sum(map(len, re.findall(r"data:image/[^\"]*", text)))
    assert files[0.1] <= 0.1e6 < files[8.0]
    with pytest.raises(UserError, match="16 pixels"):
        PictureLimits(side=8)


def test_one_method_has_a_report_without_ranks(tmp_path):
    sources, methods = write_set(tmp_path, methods={"Mean": 0.5}, shape=(44, 300))
    write_report(score_folders(sources, methods, NAMES, workers=0), tmp_path, title="t", provenance={})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "mean rank" not in text and "second best" not in text


def test_what_is_infinite_or_defined_for_nobody_is_shown_so(tmp_path):
    sources, methods = write_set(tmp_path, methods={"Mean": 0.5, "Copy": 1.0})
    sources = with_truths(sources, tmp_path / "ir")
    found = score_folders(sources, methods, ["EN", "PSNR_truth", "MS_SSIM"], workers=0)
    assert set(found.ranks()["Copy"]) == {"EN", "PSNR_truth"} and found.ranks()["Copy"]["PSNR_truth"] == 1
    write_report(found, tmp_path, title="t", provenance={})
    line = next(line for line in (tmp_path / "report.md").read_text(encoding="utf-8").splitlines() if "| Copy" in line)
    assert "**∞** ± –" in line and line.endswith("| – ± – |")
    assert "MS_SSIM is not defined for 3 of 3 pairs" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_sources_are_shown_as_they_were_read(tmp_path):
    sources, methods = write_set(tmp_path, pairs=1)
    cv2.imwrite(str(tmp_path / "ir" / "scene0.png"), np.uint16(texture(0)) * 16)
    for rule, brightest in ((ReadingRule(), 15), (ReadingRule(infrared_range="minmax"), 255)):
        found = score_folders(replace(sources, task="IVF"), methods, ["EN"], workers=0, rule=rule)
        assert load_pairs(found, ["scene0"], 100)[0].pictures[0].pixels.max() == brightest


def test_unknown_pair_is_the_users_mistake(comparison, tmp_path):
    with pytest.raises(UserError, match=r"no pair is called nothing.*scene0"):
        write_report(comparison, tmp_path, title="t", provenance={}, stems=["nothing"])


def test_pairs_of_disagreement_are_shown_where_they_disagree(tmp_path):
    for number in range(3):
        a, b = texture(number, (120, 160)), texture(number + 10, (120, 160))
        odd = a.copy()
        if number == 1:
            odd[80:110, 20:50] = texture(99, (30, 30))
        for name, pixels in {"ir": a, "vi": b, "One": a, "Two": odd}.items():
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"p{number}.png"), pixels)
    methods = name_methods([tmp_path / "One", tmp_path / "Two"])
    found = score_folders(find_sources(tmp_path / "ir", tmp_path / "vi"), methods, ["MSE", "CC"], workers=0)
    assert choose_stems(found, 1) == ["p1"]
    pair = load_pairs(found, ["p1"], 1000)[0]
    assert [one.label for one in pair.pictures] == ["ir", "vi", *found.order()]
    assert 20 / 160 < pair.focus[0] < 50 / 160 and 80 / 120 < pair.focus[1] < 110 / 120


def test_pictures_shrink_and_crops_stay_inside():
    pixels = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60).astype(np.uint8)
    assert shrink(pixels, 30).shape == (20, 30) and shrink(pixels, 600) is pixels
    assert crop_at(pixels, (0.0, 1.0)).shape == (10, 10)
    np.testing.assert_array_equal(crop_at(pixels, (1.0, 1.0)), pixels[30:, 50:])


def test_digits_tell_values_apart():
    assert decimals([7.046, 7.053]) == 3 and decimals([42.8, 50.4]) == 2 and decimals([305.1, 740.0]) == 1
    assert decimals([0.80612, 0.80634]) == 5 and decimals([float("nan")]) == 3 and decimals([12345.0]) == 0


@pytest.mark.parametrize(("low", "high", "log"), [(0, 1, False), (-3, 7, False), (1e-5, 3e-5, False),
                                                   (240, 1e5, True), (1, 30, True), (995, 1005, False)])
def test_ticks_are_few_and_inside(low, high, log):
    ticks = nice_ticks(low, high, log)
    assert 2 <= len(ticks) <= 7 and all(low <= tick <= high for tick in ticks) and ticks == sorted(ticks)


def test_plot_holds_every_pair(comparison):
    plot = make_plot(comparison, "MSE")
    assert [row.method for row in plot.rows] == comparison.order()
    assert [len(row.dots) for row in plot.rows] == [6, 6, 6, 5]
    assert all(plot.left <= dot.x <= plot.right for row in plot.rows for dot in row.dots)
    assert sum(row.best for row in plot.rows) == 1


WIDTHS = [(1400, 900, False), (390, 844, True)]
STATE = """({
  page: document.documentElement.scrollWidth, window: window.innerWidth,
  pictures: [...document.images].map(image => image.complete && image.naturalWidth > 0),
  outside: [...document.querySelectorAll('main *')].filter(node => !node.closest('.scroll, .sr, svg')
    && node.getBoundingClientRect().right > window.innerWidth + 0.5).map(node => node.outerHTML.slice(0, 80)),
  tables: [...document.querySelectorAll('.scroll')].every(box => box.clientWidth <= window.innerWidth),
})"""
LENSES = """[...document.querySelectorAll('.pair:not([hidden]) canvas')].map(lens =>
  lens.hidden ? null : new DOMMatrix(getComputedStyle(lens).transform).e + ',' +
                       new DOMMatrix(getComputedStyle(lens).transform).f)"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height", "touch"), WIDTHS)
def test_page_fits_and_is_quiet(page, folder, width, height, touch, dark):
    page.open(folder / "report.html", width, height, dark=dark, touch=touch)
    state = page.evaluate(STATE)
    assert state["page"] <= state["window"] == width
    assert state["outside"] == [] and state["tables"]
    assert len(state["pictures"]) >= 3 * 5 and all(state["pictures"])
    assert page.complaints == [] and page.requests == [(folder / "report.html").resolve().as_uri()]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").split(",")
    assert (int(ground[0]) < 60) == dark


def test_magnifier_follows_mouse_and_keys_in_every_picture(page, folder):
    page.open(folder / "report.html", 1400, 900)
    page.evaluate("document.querySelector('.stage').scrollIntoView({behavior: 'instant'})")
    start = page.evaluate(LENSES)
    assert len(start) >= 5 and len(set(start)) == 1
    x, y = page.evaluate("(box => [box.x + 0.8 * box.width, box.y + 0.7 * box.height])"
                         "(document.querySelectorAll('.frame')[2].getBoundingClientRect())")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.settle()
    moved = page.evaluate(LENSES)
    assert len(set(moved)) == 1 and moved != start
    page.evaluate("document.querySelector('.stage').focus()")
    for _ in range(12):
        press(page, "ArrowLeft")
    assert float(page.evaluate(LENSES)[0].split(",")[0]) < float(moved[0].split(",")[0])
    press(page, "+")
    assert page.evaluate("document.getElementById('power-out').textContent") == "4×"
    press(page, "Escape")
    assert set(page.evaluate(LENSES)) == {None}
    assert page.complaints == []


def test_magnifier_shows_the_place_it_stands_on(page, folder):
    page.open(folder / "report.html", 1400, 900)
    gap = page.evaluate("""(() => {
      const frame = document.querySelector('.pair:not([hidden]) .frame'), [image, lens] = frame.children;
      const whole = document.createElement('canvas'), mean = data => data.reduce((a, b) => a + b, 0) / data.length;
      whole.width = image.naturalWidth; whole.height = image.naturalHeight;
      const context = whole.getContext('2d');
      context.drawImage(image, 0, 0);
      const [x, y] = frame.closest('.pair').dataset.focus.split(',').map(Number), times = 3;
      const side = lens.clientWidth / times * image.naturalWidth / frame.clientWidth;
      const clamp = (value, most) => Math.min(Math.max(value, 0), most);
      const part = context.getImageData(clamp(x * whole.width - side / 2, whole.width - side),
                                        clamp(y * whole.height - side / 2, whole.height - side), side, side).data;
      return mean(part) - mean(lens.getContext('2d').getImageData(0, 0, lens.width, lens.height).data);
    })()""")
    assert abs(gap) < 6  # of 255: the region's edge falls inside pixels


def test_a_finger_places_and_drags_the_magnifier(page, folder):
    page.open(folder / "report.html", 390, 844, touch=True)
    page.evaluate("document.querySelector('.stage').scrollIntoView({behavior: 'instant'})")
    box = page.evaluate("(box => [box.x, box.y, box.width, box.height])"
                        "(document.querySelectorAll('.frame')[1].getBoundingClientRect())")
    places = []
    for kind, share in (("touchStart", 0.35), ("touchMove", 0.5), ("touchMove", 0.65)):
        point = {"x": box[0] + share * box[2], "y": box[1] + share * box[3]}
        page.call("Input.dispatchTouchEvent", type=kind, touchPoints=[point])
        page.settle()
        places.append(page.evaluate(LENSES))
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert all(len(set(place)) == 1 for place in places)
    assert float(places[0][0].split(",")[0]) < float(places[2][0].split(",")[0])


def test_table_sorts_and_plots_link(page, folder):
    page.open(folder / "report.html", 1400, 900)
    order = "[...document.querySelectorAll('#table tbody tr')].map(row => row.dataset.method)"
    values = "[...document.querySelectorAll('#table tbody tr')].map(row => Number(row.cells[4].dataset.v))"
    first = page.evaluate(order)
    page.evaluate("document.querySelectorAll('#table thead button')[4].click()")  # MSE, lower is better
    assert page.evaluate(values) == sorted(page.evaluate(values))
    page.evaluate("document.querySelectorAll('#table thead button')[4].click()")
    assert page.evaluate(values) == sorted(page.evaluate(values), reverse=True)
    page.evaluate("document.querySelectorAll('#table thead button')[1].click()")
    assert page.evaluate(order) == first
    page.evaluate("document.getElementById('pick-pair').value = '2';"
                  "document.getElementById('pick-pair').dispatchEvent(new Event('change'))")
    assert page.evaluate("document.querySelectorAll('circle.marked').length") == 4 * len(NAMES)


def test_every_pair_can_be_shown(page, folder):
    page.open(folder / "report.html", 1400, 900)
    shown = "[...document.querySelectorAll('.pair')].map(pair => pair.hidden)"
    assert page.evaluate(shown) == [False, True, True]
    page.evaluate("document.querySelectorAll('.tabs input')[2].click()")
    page.settle()
    assert page.evaluate(shown) == [True, True, False]
    assert len(set(page.evaluate(LENSES))) == 1


def press(page: Browser, key: str) -> None:
    """One key down and up, then a frame to draw."""
    page.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key if len(key) == 1 else "")
    page.call("Input.dispatchKeyEvent", type="keyUp", key=key)
    page.settle()


def test_browser_is_found_or_the_reason_is_told():
    program = find_chromium()
    assert program is None or Path(program).is_file()
