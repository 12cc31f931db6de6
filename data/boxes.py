"""Object labels: reads boxes from YOLO text files and PASCAL VOC XML, and checks them before training."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import MissingFileError, UserError

SUFFIXES = (".txt", ".xml")
NO_LABELS = "classes.txt"  # class names written by labelling tools
_MARGIN = 1.0  # pixels by which rounding may move a box outside; it is clipped
_SMALLEST = 1e-3  # pixels; a narrower box is empty


@dataclass(frozen=True)
class Boxes:
    """The objects of one picture.

    Attributes:
        corners: (n, 4) float32, left, top, right and bottom edge in pixels, inside the picture.
        classes: (n,) int64.
    """

    corners: np.ndarray
    classes: np.ndarray


def list_boxes(folder: Path) -> list[Path]:
    """The label files in a folder, sorted.

    Raises:
        MissingFileError: the folder does not exist.
    """
    if not folder.is_dir():
        raise MissingFileError(f"no folder {folder}; check the path (relative ones start at {Path.cwd()})")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name != NO_LABELS
                  and not path.name.startswith("."))


def read_boxes(path: Path, size: tuple[int, int], classes: Sequence[str]) -> Boxes:
    """Read the boxes of one file; an empty file means a picture without objects.

    YOLO (``.txt``): a line per box, ``class x y w h``: the class by its number; centre, width and height as shares of
    the picture's sides. VOC (``.xml``): ``object``s with the class by ``name``, and ``xmin``, ``ymin``, ``xmax``,
    ``ymax`` in pixels.

    Args:
        path: the file.
        size: (width, height) of the picture.
        classes: class names; the number of a class is its index.

    Raises:
        UserError: the file cannot be read, a class is unknown, or a box is empty or extends more than a pixel outside
            the picture; names file and line or object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as boxes ({getattr(error, 'strerror', None) or 'no text'})") from error
    rows = _voc(text, path, classes) if path.suffix.lower() == ".xml" else _yolo(text, path, size, len(classes))
    corners = np.array([_inside(box, size, where) for where, _, box in rows], np.float32).reshape(-1, 4)
    return Boxes(corners, np.array([number for _, number, _ in rows], np.int64))


Row = tuple[str, int, tuple[float, float, float, float]]  # place for messages, class, corners


def _yolo(text: str, path: Path, size: tuple[int, int], count: int) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where, words = f"{path}, line {number}", line.split()
        try:
            kind, (x, y, w, h) = int(words[0]), map(float, words[1:])
        except ValueError:
            raise UserError(f"{where}: should be `class x y w h`, is {line.strip()[:60]!r}") from None
        if not 0 <= kind < count:
            raise UserError(f"{where}: class {kind} is none of the {count} classes, 0 to {count - 1}")
        rows.append((where, kind, ((x - w / 2) * size[0], (y - h / 2) * size[1],
                                   (x + w / 2) * size[0], (y + h / 2) * size[1])))
    return rows


def _voc(text: str, path: Path, classes: Sequence[str]) -> list[Row]:
    try:
        objects = ElementTree.fromstring(text).findall("object")
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: no XML ({error})") from None
    known, rows = {name.lower(): number for number, name in enumerate(classes)}, []
    for number, item in enumerate(objects, 1):
        where, name = f"{path}, object {number}", (item.findtext("name") or "").strip()
        if name.lower() not in known:
            raise UserError(f"{where}: class {name!r} is none of {', '.join(classes)}")
        try:
            box = tuple(float(item.findtext(f"bndbox/{edge}", "")) for edge in ("xmin", "ymin", "xmax", "ymax"))
        except ValueError:
            raise UserError(f"{where}: bndbox needs numbers for xmin, ymin, xmax and ymax") from None
        rows.append((where, known[name.lower()], box))
    return rows


def _inside(box: tuple[float, float, float, float], size: tuple[int, int], where: str) -> list[float]:
    """Clip a box to the picture.

    Raises:
        UserError: it is empty, or extends further outside than rounding explains.
    """
    left, top, right, bottom = box
    shown = f"from ({left:.6g}, {top:.6g}) to ({right:.6g}, {bottom:.6g})"
    if not all(map(math.isfinite, box)) or right - left < _SMALLEST or bottom - top < _SMALLEST:
        raise UserError(f"{where}: the box {shown} is empty")
    if min(left, top) < -_MARGIN or right > size[0] + _MARGIN or bottom > size[1] + _MARGIN:
        raise UserError(f"{where}: the box {shown} is outside of its picture, {size[0]} x {size[1]} (width x height)")
    cut = [max(left, 0.0), max(top, 0.0), min(right, size[0]), min(bottom, size[1])]
    if cut[2] - cut[0] < _SMALLEST or cut[3] - cut[1] < _SMALLEST:
        raise UserError(f"{where}: the box {shown} is outside of its picture, {size[0]} x {size[1]} (width x height)")
    return cut
