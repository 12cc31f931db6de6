"""Exit codes, error messages and signals of the scripts.

Kept free of heavy imports: scripts load this module before the libraries that take seconds to import.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from option.errors import OptionError
from utils.errors import UserError

USER_MISTAKE = 2

# Libraries that fusing and metrics do not need -> the package extra that installs them.
EXTRAS = {"matplotlib": "report", "jinja2": "report", "markupsafe": "report",
          "watchfiles": "watch", "gradio": "app", "tensorboard": "train", "webdataset": "train", "skimage": "train",
          "torchmetrics": "downstream", "flyr": "thermal", "dji_thermal_cli": "thermal-dji",
          "av": "video", "huggingface_hub": "hub", "onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"}
# Libraries that the package without PyTorch lacks -> what installs them.
LEFT_OUT = {**dict.fromkeys(("cv2", "PIL", "tifffile", "imagecodecs", "filelock", "tqdm"), "defusionpp-onnx[files]"),
            "scipy": "defusionpp-onnx[align]",
            **dict.fromkeys(("torch", "safetensors", "pydantic", "yaml", "numba", "pywt"), "defusionpp")}

_STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_Handler = Callable[[int, "FrameType | None"], object]


class Parser(argparse.ArgumentParser):
    """A parser that reports mistakes as `UserError`: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; command line; see {self.prog} --help")


class Stopped(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP. Derives from `KeyboardInterrupt`, so that all three are handled alike.

    Args:
        number: signal number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run a script's main function with the command line and exit with its code.

    A user's mistake or a missing optional library prints ``error: ...`` and exits with 2. Ctrl-C, SIGTERM and
    SIGHUP raise `Stopped` inside ``main`` and exit with 130, 143 and 129. Any other exception shows its traceback.

    Args:
        main: takes the arguments without the program's name; returns the exit code (None is 0).
    """
    try:
        with _handled_by(_raise):
            code = main(sys.argv[1:])
    except (UserError, OptionError) as error:
        text = "".join(f"error: {line}\n" for line in str(error).splitlines())
        sys.stderr.write(text)
        _tell_launcher(text)
        sys.exit(USER_MISTAKE)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        wanted = f"defusionpp[{EXTRAS[library]}]" if library in EXTRAS else LEFT_OUT.get(library)
        if wanted is None:
            raise
        sys.stderr.write(f"error: {library} is not installed; this command needs it; pip install '{wanted}'\n")
        sys.exit(USER_MISTAKE)
    except KeyboardInterrupt as stop:
        number = getattr(stop, "number", signal.SIGINT)
        sys.stderr.write(_farewell(number))
        sys.exit(128 + number)
    sys.exit(code or 0)


def leave_at_once_when_stopped() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP end the process with one line, without a traceback.

    Used before `run`, while libraries load and there is nothing to save.
    """
    _install(_leave)


@contextlib.contextmanager
def finishing() -> Iterator[None]:
    """Let a block that writes results finish before a signal stops the program.

    The first Ctrl-C, SIGTERM or SIGHUP raises `Stopped` at the end of the block, a second one immediately.
    """
    waiting: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if waiting:
            raise Stopped(number)
        waiting.append(number)

    with _handled_by(note):
        yield
    if waiting:
        raise Stopped(waiting[0])


@contextlib.contextmanager
def _handled_by(handler: _Handler) -> Iterator[None]:
    """Set the handlers of the three signals for a block. Does nothing outside the main thread."""
    before = _install(handler) if threading.current_thread() is threading.main_thread() else {}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _install(handler: _Handler) -> dict[int, object]:
    """Set the handlers and return the old ones. Signals ignored because of nohup or a shell's ``&`` stay ignored."""
    return {number: signal.signal(number, handler) for number in _STOPS
            if signal.getsignal(number) not in (signal.SIG_IGN, None)}


def _raise(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, _farewell(number).encode())
    os._exit(128 + number)


def _tell_launcher(text: str) -> None:
    """Pass the message to torchrun, which repeats it at the end of its own traceback."""
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if place:
        with contextlib.suppress(OSError):
            Path(place).write_text(json.dumps({"message": text.rstrip(), "timestamp": int(time.time())}))


def _farewell(number: int) -> str:
    return "interrupted\n" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}\n"
