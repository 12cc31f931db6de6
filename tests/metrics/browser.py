"""A headless Chromium driven over its DevTools pipe: enough to open a page, look at it and touch it."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
         "--remote-debugging-pipe")
TIMEOUT = 60.0


def find_chromium() -> str | None:
    """The browser's program, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One browser with one page.

        with Browser(find_chromium()) as page:
            page.open(path, width=390, height=844, touch=True)
            page.evaluate("document.title")

    Attributes:
        complaints: console errors, uncaught exceptions and log entries of level error since ``open``.
        requests: addresses the page has asked for since ``open``, data URIs left out.
    """

    def __init__(self, program: str) -> None:
        self._profile = tempfile.mkdtemp(prefix="report-browser-")
        (ours_in, theirs_out), (theirs_in, ours_out) = os.pipe(), os.pipe()
        # away from 3 and 4, which the browser reads and writes
        theirs_in, theirs_out = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs_in, theirs_out))
        self._in, self._out = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (ours_in, ours_out))
        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self._profile}"], close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=lambda: (os.dup2(theirs_in, 3), os.dup2(theirs_out, 4)))
        for fd in (theirs_in, theirs_out, ours_in, ours_out):
            os.close(fd)
        self._buffer, self._number, self._session = b"", 0, None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, page: Path | str, width: int, height: int, *, dark: bool = False, touch: bool = False) -> None:
        """Load a file or an address in a window of this size and wait until it and its pictures are there."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, mobile=touch,
                  deviceScaleFactor=2 if touch else 1)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.complaints, self.requests, self._loaded = [], [], False
        self.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        end = time.monotonic() + TIMEOUT
        while not self._loaded:
            self._handle(self._receive(end))
        self.settle()

    def settle(self) -> None:
        """Wait for two frames, so that what a script has asked for is drawn."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def evaluate(self, script: str) -> Any:
        """The value of a script, promises awaited.

        Raises:
            RuntimeError: the script throws.
        """
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait for the value of a script to be true, and return it.

        Raises:
            TimeoutError: it stays false.
        """
        end = time.monotonic() + TIMEOUT
        while not (value := self.evaluate(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"within {TIMEOUT:g} s not true: {script}")
            time.sleep(0.1)
        return value

    def give_files(self, selector: str, files: list[Path]) -> None:
        """Choose files in a file dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(file) for file in files], nodeId=node)

    def place(self, selector: str, point: tuple[float, float]) -> tuple[float, float]:
        """Scroll an element into view, and return the place in the window of a point of it.

        Args:
            selector: the element.
            point: (x, y) as shares of its width and height.
        """
        self.evaluate(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        self.settle()
        left, top, width, height = self.evaluate(
            f"(() => {{const b = document.querySelector({selector!r}).getBoundingClientRect();"
            "return [b.left, b.top, b.width, b.height]})()")
        return left + point[0] * width, top + point[1] * height

    def drag(self, selector: str, *points: tuple[float, float], touch: bool = False) -> None:
        """Press at the first point of an element, move through the others and let go.

        Args:
            selector: the element; it is scrolled into view.
            *points: (x, y) as shares of its width and height.
            touch: by finger instead of the mouse.
        """
        places = [dict(zip("xy", self.place(selector, point))) for point in points]
        for number, place in enumerate([*places, places[-1]]):
            step = "start" if not number else "end" if number == len(places) else "move"
            if touch:
                self.call("Input.dispatchTouchEvent", type=f"touch{step.title()}",
                          touchPoints=[] if step == "end" else [place])
            else:
                kind = {"start": "mousePressed", "move": "mouseMoved", "end": "mouseReleased"}[step]
                self.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **place)
        self.settle()

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Save what the window shows, or the whole page, as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + TIMEOUT
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._handle(answer)

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"the browser gave no answer within {TIMEOUT:g} s")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise RuntimeError("the browser has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _handle(self, event: dict[str, Any]) -> None:
        kind, told = event.get("method"), event.get("params", {})
        if kind == "Page.loadEventFired":
            self._loaded = True
        elif kind == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"])[:500])
        elif kind == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert", "warning"):
            self.complaints.append(json.dumps(told["args"])[:500])
        elif kind == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])
        elif kind == "Network.requestWillBeSent" and not told["request"]["url"].startswith("data:"):
            self.requests.append(told["request"]["url"])
