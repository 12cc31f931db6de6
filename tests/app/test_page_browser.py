"""The web page in headless Chromium, at the width of a desktop and of a phone: upload, fuse, slider, mask, download."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.app.page_server import Served
from tests.metrics.browser import Browser, find_chromium

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844, "touch": True}
GRADIOS_OWN = "Method not implemented."  # what Gradio 6.31 writes to the console of every page


@pytest.fixture(scope="module")
def browser(page: Served) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with Browser(program) as opened:
        yield opened


def _open(browser: Browser, page: Served, screen: dict) -> None:
    browser.open(page.url, **screen)
    browser.until("document.querySelectorAll('#examples img').length === 6 &&"
                  "document.querySelectorAll('#files input[type=file]').length")


def text(browser: Browser, selector: str) -> str:
    return browser.evaluate(f"document.querySelector({selector!r}).innerText")


def told(browser: Browser, words: str) -> str:
    """Wait for words in the status line, and return it."""
    browser.until(f"document.querySelector('#status').innerText.includes({words!r})")
    return text(browser, "#status")


def press(browser: Browser, selector: str) -> None:
    browser.evaluate(f"document.querySelector({selector!r}).click()")


def tab(browser: Browser, name: str) -> None:
    browser.evaluate("[...document.querySelectorAll('button[role=tab]')]"
                     f".find((one) => one.innerText.trim() === {name!r} && one.offsetWidth).click()")
    browser.settle()


def write_pair(folder: Path) -> list[Path]:
    """A dark and a bright exposure of 16 bits."""
    scene = cv2.resize(np.random.default_rng(0).random((9, 12, 3)).astype(np.float32), (300, 200))
    paths = [folder / "dark.png", folder / "bright.png"]
    for path, gain in zip(paths, (0.25, 0.9)):
        cv2.imwrite(str(path), np.round(scene * gain * 65535).astype(np.uint16))
    return paths


def downloaded(browser: Browser, folder: Path) -> tuple[str, np.ndarray]:
    """Name and content of what the download button gives."""
    folder.mkdir()
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    press(browser, "#download")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for path in folder.glob("*.png"):
            return path.name, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        time.sleep(0.1)
    raise TimeoutError(f"no download in {folder}")


def handle_at(browser: Browser, share: float) -> None:
    """Wait for the slider's handle to be at a share of the width, to 5 %."""
    browser.until("(() => {const [handle, all] = ['.inner', '.slider-wrap .wrap'].map((name) =>"
                  "document.querySelector('#slider ' + name).getBoundingClientRect());"
                  f"return Math.abs((handle.left - all.left) / all.width - {share}) < 0.05}})()")


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_from_the_upload_to_the_download(page: Served, browser: Browser, tmp_path: Path, screen: dict) -> None:
    dark, bright = write_pair(tmp_path)
    _open(browser, page, screen)
    browser.give_files("#files input[type=file]", [dark, bright])
    assert "2 pictures, found to be exposures (one scene, mean grey from" in told(browser, "found to be")
    assert browser.evaluate("document.querySelector('#task input:checked').value") == "MEF"
    press(browser, "#fuse")
    assert "Fused 2 pictures as exposures: 300 x 200 pixels, 16 bit" in told(browser, "Fused")
    browser.until("document.querySelectorAll('#slider img').length === 2")
    files = browser.evaluate("[...document.querySelectorAll('#slider img')].map((one) => one.src.split('/').pop())")
    assert files == ["source0.png", "fused.png"]
    name, plain = downloaded(browser, tmp_path / "plain")
    assert (name, plain.dtype, plain.shape) == ("dark_fused.png", np.uint16, (200, 300, 3))
    _slide(browser, touch="touch" in screen)
    painted = _paint(browser, tmp_path / "painted", touch="touch" in screen)
    source = cv2.imread(str(dark), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(painted[96:104, 100:200], source[96:104, 100:200])
    assert np.array_equal(painted[:60], plain[:60]) and not np.array_equal(painted[96:104], plain[96:104])
    tab(browser, "Weights")
    browser.until("document.querySelectorAll('#parts img').length === 5")
    tab(browser, "Metrics")
    browser.until("document.querySelectorAll('#scores tbody tr').length === 10")
    assert "edge strength and direction kept" in text(browser, "#scores")
    width = browser.evaluate("document.documentElement.scrollWidth")
    assert width == screen["width"], "the page can be moved sideways"
    assert [line for line in browser.complaints if GRADIOS_OWN not in line] == []
    assert [url for url in browser.requests if not url.startswith((page.url, "blob:"))] == []


def _slide(browser: Browser, *, touch: bool) -> None:
    """The other source, the handle moved, and zoom by the wheel."""
    press(browser, "#choice label:nth-of-type(2) input")
    browser.until("document.querySelector('#slider img').src.endsWith('source1.png')")
    handle_at(browser, 0.5)
    browser.drag("#slider .slider-wrap .wrap", (0.5, 0.5), (0.3, 0.5), (0.2, 0.5), touch=touch)
    handle_at(browser, 0.2)
    if not touch:
        x, y = browser.place("#slider .slider-wrap .wrap", (0.6, 0.5))
        browser.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-300)
        browser.until("new DOMMatrix(getComputedStyle(document.querySelector('#slider img')).transform).a > 1.04")


def _paint(browser: Browser, folder: Path, *, touch: bool) -> np.ndarray:
    """Paint a band where the first picture must win, fuse, and download; the strokes stay until they are undone."""
    tab(browser, "Mask")
    browser.until("document.querySelector('#painter canvas').width === 300")
    shown = browser.evaluate("document.querySelector('#painter img').src")
    press(browser, ".brush[data-picture='0']")
    browser.drag("#painter canvas", (0.3, 0.5), (0.5, 0.5), (0.7, 0.5), touch=touch)
    strokes = json.loads(browser.evaluate("window.defusionppStrokes()"))
    assert [stroke["picture"] for stroke in strokes] == [0]
    assert np.array(strokes[0]["points"]) == pytest.approx(np.array([[0.3, 0.5], [0.5, 0.5], [0.7, 0.5]]), abs=0.01)
    press(browser, "#again")
    browser.until(f"document.querySelector('#painter img').src !== {shown!r}")
    painted = downloaded(browser, folder)[1]
    assert json.loads(browser.evaluate("window.defusionppStrokes()")) == strokes
    press(browser, "#painter .undo")
    assert browser.evaluate("window.defusionppStrokes()") == ""
    return painted


def test_a_mistake_is_told_where_it_can_be_read(page: Served, browser: Browser, tmp_path: Path) -> None:
    """A text file named as a picture; then too large an upload; the page stays usable."""
    note, good = tmp_path / "note.png", tmp_path / "good.png"
    note.write_text("no picture")
    cv2.imwrite(str(good), np.eye(64, dtype=np.uint8) * 255)
    _open(browser, page, PHONE)
    browser.give_files("#files input[type=file]", [note, good])
    assert told(browser, "not a picture").startswith("note.png: not a picture")
    assert browser.evaluate("document.querySelector('#status p').className") == "amiss"
    huge = tmp_path / "huge.png"
    huge.write_bytes(bytes(5_000_000))
    _open(browser, page, PHONE)
    browser.give_files("#files input[type=file]", [huge])
    browser.until("document.body.innerText.includes('exceed the maximum allowed size')")


def test_an_example_is_a_click(page: Served, browser: Browser) -> None:
    _open(browser, page, DESKTOP)
    assert "simulated" in text(browser, "#said")
    browser.evaluate("document.querySelectorAll('#examples button')[4].click()")
    assert "astronaut" in browser.until("document.querySelector('#files').innerText.includes('png') && "
                                        "document.querySelector('#files').innerText")
    told(browser, "found to be focus series")
    press(browser, "#forget")
    browser.until("!document.querySelector('#files').innerText.includes('astronaut')")
