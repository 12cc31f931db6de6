"""An index of several reports, as HTML and as Markdown, which code hosts display directly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from metrics.ranking import Comparison
from metrics.report import describe, render
from metrics.scores import Provenance
from utils.files import atomic_write

QUALITY = 80


@dataclass(frozen=True)
class Chapter:
    """One report of an index.

    Attributes:
        folder: folder of its ``report.html``, relative to the index.
        title: heading.
        note: introduction for the reader.
        comparison: the comparison that it reports.
        sheet: a contact sheet, (H, W, 3) RGB uint8.
    """

    folder: str
    title: str
    note: str
    comparison: Comparison
    sheet: np.ndarray


def write_index(folder: Path, chapters: Sequence[Chapter], *, title: str, note: str,
                provenance: Provenance) -> list[Path]:
    """Write ``index.html`` and ``README.md``, and each chapter's sheet as ``<chapter>/pictures.jpg``.

    Args:
        folder: parent of the chapters' folders.
        chapters: reports in the order of the page.
        title: heading.
        note: introduction for the reader.
        provenance: origin of all results; shown unchanged.

    Returns:
        The files.
    """
    told = [{"folder": one.folder, "sheet": one.sheet.shape, **describe(one.comparison, one.title, {}, one.note)}
            for one in chapters]
    content = {"title": title, "note": note, "chapters": told, "provenance": provenance, "rows": _rows(chapters)}
    pictures = [_write_jpeg(folder / one.folder / "pictures.jpg", one.sheet) for one in chapters]
    return [render(folder / "index.html", "index.html.j2", content),
            render(folder / "README.md", "index.md.j2", content), *pictures]


def _rows(chapters: Sequence[Chapter]) -> dict[str, list[str]]:
    """Method -> its mean rank in each chapter as text; empty if not ranked.

    Methods ranked in all chapters come first, ordered by their mean; other ranks are not comparable with these.
    """
    ranks = [one.comparison.mean_ranks() for one in chapters]
    methods = dict.fromkeys(name for table in ranks for name in table)
    known = {name: [table[name] for table in ranks if name in table] for name in methods}
    order = sorted(methods, key=lambda name: (-len(known[name]), float(np.mean(known[name]))))
    return {name: [f"{table[name]:.2f}" if name in table else "" for table in ranks] for name in order}


def _write_jpeg(path: Path, pixels: np.ndarray) -> Path:
    with atomic_write(path) as temporary:
        temporary.write_bytes(cv2.imencode(".jpg", pixels[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1])
    return path
