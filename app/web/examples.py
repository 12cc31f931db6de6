"""Examples of the web page: the simulated pairs of `data/demo.py`, in files that say what they are."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.demo import write_demo
from utils.pictures.reading import read_picture
from utils.pictures.writing import write_picture

_ROLES = {"ivf": ("infrared", "visible"), "mef": ("under", "over"), "mff": ("near", "far")}
_SAYS = {"ivf": "infrared", "mef": "exposures", "mff": "focus"}
_SHOWN = ("ivf/coffee", "ivf/camera", "mef/cat", "mef/rocket", "mff/astronaut", "mff/coffee")


@dataclass(frozen=True)
class Example:
    """A simulated pair.

    Attributes:
        caption: what it shows.
        files: two pictures.
        thumbnail: the left half of the first, the right half of the second.
    """

    caption: str
    files: tuple[Path, Path]
    thumbnail: Path


def make_examples(folder: Path) -> list[Example]:
    """Make the examples.

    Args:
        folder: receives <scene>_<role>.png in a folder for each pair.

    Raises:
        UserError: scikit-image lacks a photograph, or the folder cannot be written.
        ModuleNotFoundError: scikit-image is not installed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        demo = Path(temporary)
        write_demo(demo)
        return [_example(demo, folder, *name.split("/")) for name in _SHOWN]


def _example(demo: Path, folder: Path, task: str, scene: str) -> Example:
    pattern = f"ivf/*/{scene}.png" if task == "ivf" else f"{task}/input/{scene}/*.png"
    found = sorted(demo.glob(pattern), reverse=task == "mef")  # ir, vi; under, over; a, b
    target = folder / f"{task}_{scene}"
    target.mkdir(parents=True)
    files = tuple(Path(shutil.copy(path, target / f"{scene}_{role}.png")) for path, role in zip(found, _ROLES[task]))
    left, right = (np.broadcast_to(one, (*one.shape[:2], 3)) for one in (read_picture(path).pixels for path in files))
    middle = left.shape[1] // 2
    halves = np.hstack([left[:, :middle], right[:, middle:]])
    return Example(_SAYS[task], files, write_picture(target / "thumbnail.jpg", halves))
