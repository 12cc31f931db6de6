"""Pixel labels: reads class ids from pictures with one channel, and checks them before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from utils.errors import UserError
from utils.pictures.codecs import read_bytes
from utils.pictures.metadata import read_metadata
from utils.pictures.reading import read_picture
from utils.pictures.structure import stored_size

IGNORED = 255  # unlabelled pixel
_THREADS = 4
_SHOWN = 50


@dataclass(frozen=True)
class LabelledPaths:
    """The files of one labelled scene.

    Attributes:
        stem: the scene's name.
        pictures: one, or infrared and visible.
        label: labels of their pixels, or boxes.
    """

    stem: str
    pictures: tuple[Path, ...]
    label: Path


def read_label(path: Path) -> np.ndarray:
    """Class ids (H, W) ``uint8`` as stored; for a picture with a palette, its indices.

    Raises:
        UserError: not a complete picture, more than one channel, or ids that are not integers up to 255.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("1", "L", "P", "I", "I;16"):
                raise UserError(f"{path}: a label has one channel of class ids, this picture is {image.mode}; convert "
                                "its colours to ids")
            ids = np.asarray(image)
    except UserError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # PIL's on broken files
        raise UserError(f"{path}: no whole picture ({error}); fetch the label again") from error
    if (ids.dtype.kind == "i" and (ids < 0).any()) or ids.max(initial=0) > IGNORED:
        raise UserError(f"{path}: holds ids from {ids.min()} to {ids.max()}; ids are 0 to 254, and 255 is left out")
    return ids.astype(np.uint8)


def check_labels(scenes: Sequence[LabelledPaths], classes: int) -> list[str]:
    """Check labels; returns one line for each unusable one: another size than its pictures, unknown ids, unreadable.

    Args:
        scenes: the scenes to check.
        classes: number of classes; valid ids are 0 to ``classes`` - 1, and 255.
    """
    return faults(scenes, lambda scene: _fault(scene, classes))


def faults(scenes: Sequence[LabelledPaths], look: Callable[[LabelledPaths], str | None]) -> list[str]:
    """Apply ``look`` to the scenes in threads; returns the lines and the messages of user errors that it gives."""
    def fault(scene: LabelledPaths) -> str | None:
        try:
            return look(scene)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(_THREADS) as pool:
        return [line for line in pool.map(fault, scenes) if line]


def refuse(problems: Sequence[str], where: str) -> None:
    """Refuse to start a run with bad labels.

    Args:
        problems: one line per bad label.
        where: the data set.

    Raises:
        UserError: there are problems; lists them.
    """
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise UserError("\n".join([f"{where}: {len(problems)} files cannot be used; mend them or take them out:",
                                   *problems[:_SHOWN], *more]))


def _fault(scene: LabelledPaths, classes: int) -> str | None:
    ids = read_label(scene.label)
    for path in scene.pictures:
        width, height = picture_size(path)
        if ids.shape != (height, width):
            return (f"{scene.label}: is {ids.shape[1]} x {ids.shape[0]}, its picture {path} is {width} x {height} "
                    "(width x height)")
    unknown = [int(i) for i in np.unique(ids) if i >= classes and i != IGNORED]
    if unknown:
        return (f"{scene.label}: ids {', '.join(map(str, unknown))} are none of the {classes} classes, 0 to "
                f"{classes - 1} ({IGNORED}: not labelled)")
    return None


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of a picture as displayed, read from its header if possible."""
    data = read_bytes(path)
    size = stored_size(data)
    if size is None:
        return read_picture(path).size
    return size[::-1] if read_metadata(data).swaps_sides else size
