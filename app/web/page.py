"""What happens when the web page is used."""

import html
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from app.task import Guess, guess_task
from app.web.examples import Example
from app.web.shield import owner_of
from app.web.store import Store
from app.web.strokes import read_strokes
from app.web.work import Engine, Result, Score, Wish, distinct_names, parts, scores
from utils.errors import UserError
from utils.pictures.depth import to_8_bit
from utils.pictures.writing import write_picture

log = logging.getLogger(__name__)

TASKS = [("find it", "find"), ("infrared + visible", "IVF"), ("exposures", "MEF"), ("focus series", "MFF")]
_NAMES = {value: label for label, value in TASKS}
_SHOWN = 4e6  # pixels; larger pictures are shown reduced, as JPEG, and not scored: that takes minutes, and others wait
WELCOME = "Drop two or more pictures of one scene, or take an example below."
_DELETED = "these pictures were deleted, or are not yours; give them again"


@dataclass(frozen=True)
class Page:
    """Handlers of the page.

    Attributes:
        engine: fuses.
        store: keeps the files.
        examples: pairs to try.
    """

    engine: Engine
    store: Store
    examples: Sequence[Example]

    def look(self, files: list[str] | None, request: gr.Request) -> tuple[Any, ...]:
        """Find the task of new pictures; returns task, painter, status."""
        if not files:
            return "find", None, status_line(WELCOME)
        try:
            paths = self._own(files, request)
            guess = guess_task(self.engine.read(paths), distinct_names(paths))
        except Exception as error:
            return "find", None, status_line(_sentence(error, files), amiss=True)
        return guess.task, None, status_line(f"{len(paths)} pictures, found to be {_found(guess)}.")

    def fuse(self, files: list[str] | None, task: str, align: bool, model: str, strokes: str, softness: float,
             request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        """Fuse; returns status, slider, choice of sources, shown files, parts, download, painter, scores."""
        unchanged = (gr.skip(),) * 7
        try:
            paths = self._own(files or [], request)
            wish = Wish(None if task == "find" else task, align, model, read_strokes(strokes), softness / 100)
            result = self.engine.fuse(paths, wish, lambda share, doing: progress(share, desc=doing))
            progress(0.8, desc="writing")
            folder = self.store.new_folder(owner_of(request.request.scope) or "")
            shown = _show(result, folder)
            download = _download(result, folder, paths[0])
        except Exception as error:
            return (status_line(_sentence(error, files or []), amiss=True), *unchanged)
        choice = gr.Radio(choices=[(name, place) for place, name in enumerate(result.names)], value=0, visible=True)
        painter = {"scene": "|".join(files), "url": f"gradio_api/file={shown[-1]}",
                   "pictures": [{"place": place, "name": name} for place, name in zip(result.order, result.names)]}
        told = status_line(_by_name(_told(result, wish.task is not None), paths), amiss=bool(result.doubts))
        return told, (shown[0], shown[-1]), choice, shown, _gallery(result, folder), download, painter, ""

    def compare(self, place: int, shown: list[str]) -> tuple[str, str]:
        """Show another source beside the fused picture."""
        return shown[place], shown[-1]

    def score(self, shown: list[str]) -> str:
        """The table of metrics of what is shown."""
        if not shown:
            return ""
        if len(shown) != 3:
            return "<p>The metrics are defined for pairs.</p>"
        if Path(shown[-1]).suffix != ".png":
            return f"<p>Not computed above {_SHOWN / 1e6:g} megapixels; <code>defusionpp metrics</code> does it.</p>"
        return _table(scores(*map(Path, shown)))

    def example(self, event: gr.SelectData) -> list[str]:
        """The files of an example."""
        return [str(path) for path in self.examples[event.index].files]

    def forget(self, request: gr.Request) -> tuple[Any, ...]:
        """Delete what this browser has sent and got; returns the files and all that ``fuse`` returns, cleared."""
        self.store.forget(owner_of(request.request.scope) or "")
        download = gr.DownloadButton("Download", value=None, interactive=False)
        gr.Info("Your pictures and results were deleted.")
        return None, status_line(WELCOME), None, gr.Radio(visible=False), [], None, download, None, ""

    def _own(self, files: Sequence[str], request: gr.Request) -> list[Path]:
        """The files, which must be this browser's or the examples'.

        Raises:
            UserError: they are not, or they were deleted.
        """
        owner = owner_of(request.request.scope)
        paths = [Path(file) for file in files]
        if not all(self.store.may_read(path, owner) and path.is_file() for path in paths):
            raise UserError(_DELETED)
        return paths


def _sentence(error: Exception, files: Sequence[str]) -> str:
    """What to tell the user; a bug is logged with its traceback."""
    if not isinstance(error, UserError):
        log.exception("the page failed")
        return "This failed because of an error in the program; the terminal that runs it shows the details."
    return _by_name(str(error), [Path(file) for file in files]) + "."


def _by_name(text: str, paths: Sequence[Path]) -> str:
    """Name files without their folders, of which the user knows nothing."""
    for path, name in zip(paths, distinct_names(paths)):
        text = text.replace(str(path), name)
    return text


def _found(guess: Guess) -> str:
    swap = "; drag the files into the other order if not" if guess.by_order else ""
    return f"{_NAMES[guess.task]} ({guess.reason}{swap})"


def _told(result: Result, asked: bool) -> str:
    height, width = result.fusion.fused.shape[:2]
    kind = _NAMES[result.guess.task] if asked else _found(result.guess)
    moves = [f"{name} moved by {one.shift[0]:+.1f}, {one.shift[1]:+.1f} pixels"
             for name, one in zip(result.names, result.moves) if one and one.credible]
    lines = [f"Fused {len(result.pictures)} pictures as {kind}: {width} x {height} pixels, "
             f"{8 * result.fusion.fused.itemsize} bit, {result.fusion.seconds:.2f} s", *moves, *result.doubts]
    return ". ".join(lines) + "."


def status_line(text: str, *, amiss: bool = False) -> str:
    """A sentence as HTML.

    Args:
        text: plain text.
        amiss: something failed or is doubtful.
    """
    return f'<p role="status" class="{"amiss" if amiss else "fine"}">{html.escape(text)}</p>'


def _preview(pixels: np.ndarray, folder: Path, name: str) -> str:
    """Write what the page shows of a picture, and return the file."""
    height, width = pixels.shape[:2]
    scale = (_SHOWN / (height * width)) ** 0.5
    if scale >= 1:
        return str(write_picture(folder / f"{name}.png", to_8_bit(pixels)))
    size = round(width * scale), round(height * scale)
    return str(write_picture(folder / f"{name}.jpg", cv2.resize(to_8_bit(pixels), size, interpolation=cv2.INTER_AREA)))


def _show(result: Result, folder: Path) -> list[str]:
    """Files to show: the sources, then the fused picture."""
    sources = [_preview(one.pixels, folder, f"source{place}") for place, one in enumerate(result.pictures)]
    return [*sources, _preview(result.fusion.fused, folder, "fused")]


def _gallery(result: Result, folder: Path) -> list[tuple[str, str]]:
    return [(_preview(pixels, folder, f"part{place}"), caption)
             for place, (caption, pixels) in enumerate(parts(result))]


def _download(result: Result, folder: Path, first: Path) -> gr.DownloadButton:
    fused = result.fusion.fused
    path = write_picture(folder / f"{first.stem[:60]}_fused.png", fused, result.metadata)
    return gr.DownloadButton(f"Download (PNG, {8 * fused.itemsize} bit)", value=str(path), interactive=True)


def _table(found: Sequence[Score]) -> str:
    rows = "".join(f"<tr><td>{one.name}</td><td>{one.value:.4g}</td><td>{one.better}</td>"
                   f"<td>{html.escape(one.says)}</td></tr>" for one in found)
    return ("<table><thead><tr><th>metric</th><th>value</th><th>better</th><th>what it says of the fused picture F</th>"
            f"</tr></thead><tbody>{rows}</tbody></table>")
