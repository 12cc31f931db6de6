"""Which two files are one scene: the folder layouts of the infrared, exposure and focus data sets.

Files pair by stem and never by position, so that one missing file costs one pair. What cannot be used is listed
in ``PairList.problems``; only a folder with nothing left is an error. docs/DATA.md draws the layouts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from utils.errors import UserError
from utils.pictures.codecs import fault, list_pictures, read_bytes
from utils.pictures.images import Picture, ValueRange, read_picture

if TYPE_CHECKING:
    from option.schema import TestDataOptions, ValDataOptions


Task = Literal["IVF", "MEF", "MFF"]

# The published rule for a run without `datashell`: the first of these words in its name decides.
_NAME_RULE: tuple[tuple[str, Task], ...] = (
    ("MultiFocusFusion", "MFF"), ("MultiExposureFusion", "MEF"), ("MEF", "MEF"), ("VisibleInfrareFusion", "IVF"))
_INFRARED_ENDINGS = {"ir", "infrared", "thermal", "previewdata", "ct"}
_VISIBLE_ENDINGS = {"vi", "vis", "visible", "rgb", "mr", "mri"}


@dataclass(frozen=True)
class PairPaths:
    """Two files of one scene; ``stem`` names the results."""

    stem: str
    first: Path
    second: Path


@dataclass(frozen=True)
class Pair:
    """Two pictures of one scene, of one size.

    IVF: first is infrared, second visible. MEF: first is *over*, second *under*. MFF: in the order of the names.
    """

    stem: str
    first: Picture
    second: Picture


@dataclass(frozen=True)
class PairList:
    """What a data set holds: usable pairs, and one line for everything that is not."""

    pairs: list[PairPaths]
    problems: list[str] = field(default_factory=list)
    task: Task = "IVF"


def find_pairs(options: TestDataOptions | ValDataOptions, run_name: str) -> PairList:
    """Lists the pairs of a data set, sorted by stem.

    Every file's structure is checked (truncated, empty, no picture) without decoding it; the exposure layout is
    decoded, as its brightest and darkest pictures are looked for.

    Args:
        options: ``dataset.test`` or ``dataset.val``.
        run_name: decides the layout where ``datashell`` is not given.

    Raises:
        UserError: no layout is named, a folder is missing, or no pair is left.
    """
    task = options.datashell or task_of_run(run_name)
    root = Path(options.dataroot)
    problems: list[str] = []
    if task == "IVF" and (options.infrare_name or options.visible_name):
        if not (options.infrare_name and options.visible_name):
            raise UserError(f"{root}: only one of infrare_name and visible_name is set; set both, or none for "
                            "a folder with files <stem>_ir and <stem>_vi")
        folders = root / options.infrare_name, root / options.visible_name
        pairs, where = match_stems(*folders, problems), f"{folders[0]} and {folders[1]}"
    else:
        folder = root / (options.scene_folder or "")
        choose = {"IVF": _choose_by_ending, "MEF": _choose_by_brightness, "MFF": _choose_by_name}[task]
        pairs, where = _from_scenes(folder, task, choose, problems), str(folder)
    if not pairs:
        reasons = "; ".join(problems[:3]) or "no pictures there"
        raise UserError(f"no {task} pair in {where}: {reasons}; see docs/DATA.md for the layouts")
    return PairList(pairs, problems, task)


def task_of_run(run_name: str) -> Task:
    """The layout that a run's name stands for (the published rule).

    Raises:
        UserError: the name says nothing.
    """
    for word, task in _NAME_RULE:
        if word in run_name:
            return task
    raise UserError(f"the kind of fusion is not known: name {run_name!r} has none of "
                    f"{', '.join(word for word, _ in _NAME_RULE)}; set datashell to IVF, MEF or MFF")


def load_pair(paths: PairPaths, ir_range: ValueRange = "full", task: Task = "IVF") -> Pair:
    """Decodes a pair.

    Args:
        paths: from :func:`find_pairs`.
        ir_range: how the infrared picture's values are mapped (IVF only), see :func:`utils.pictures.images.stretch`.
        task: the layout.

    Raises:
        UserError: a file cannot be decoded, or the sizes differ; names files and sizes.
    """
    first = read_picture(paths.first, value_range=ir_range if task == "IVF" else "full")
    second = read_picture(paths.second)
    if first.size != second.size:
        raise UserError(f"the pictures of one pair differ in size: {paths.first} is {_by(first)}, {paths.second} "
                        f"is {_by(second)}; register and resize the pair first")
    return Pair(paths.stem, first, second)


def match_stems(first: Path, second: Path, problems: list[str], *, check: bool = True) -> list[PairPaths]:
    """Pairs the pictures of two folders by file stem.

    Args:
        first, second: the folders.
        problems: gets one line for each file that is unpaired, doubled or broken.
        check: look into every file (see :func:`find_pairs`).

    Raises:
        MissingFileError: a folder is not there.
    """
    sides = [_by_stem(list_pictures(folder), problems) for folder in (first, second)]
    pairs = []
    for stem in sorted(sides[0].keys() | sides[1].keys()):
        one, two = (side.get(stem, []) for side in sides)
        if not one or not two:
            present, other = (one, second) if one else (two, first)
            problems.extend(f"{path}: no partner of that stem in {other}" for path in present)
        elif len(one) == len(two) == 1 and not (check and _broken((one[0], two[0]), problems)):
            pairs.append(PairPaths(stem, one[0], two[0]))
    return pairs


def _by_stem(files: Iterable[Path], problems: list[str]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        groups[file.stem].append(file)
    for stem, group in groups.items():
        if len(group) > 1:
            names = ", ".join(file.name for file in group)
            problems.append(f"{group[0].parent}: stem {stem} is there more than once ({names}); left out")
    return groups


def _broken(files: Iterable[Path], problems: list[str]) -> bool:
    """Whether one of the files is not a whole picture; says which."""
    before = len(problems)
    for file in files:
        try:
            reason = fault(read_bytes(file))
        except UserError as error:
            problems.append(str(error))
        else:
            if reason:
                problems.append(f"{file}: {reason}")
    return len(problems) > before


def _from_scenes(folder: Path, task: Task, choose: Callable[[list[Path]], tuple[Path, Path]],
                 problems: list[str]) -> list[PairPaths]:
    """Pairs of a folder with one sub-folder a scene, or (flat) with files ``<scene>_<word>``.

    ``choose`` answers (first, second) of a scene's files, or raises UserError with the reason why not.
    """
    pairs = []
    for scene, files in sorted(_scenes(folder, flat_only=task == "IVF").items()):
        if _broken(files, problems):
            problems.append(f"{folder / scene}: left out, as one of its pictures is broken")
            continue
        try:
            pairs.append(PairPaths(scene, *choose(files)))
        except UserError as error:
            problems.append(f"{folder / scene}: {error}")
    return pairs


def _scenes(folder: Path, *, flat_only: bool) -> dict[str, list[Path]]:
    """Scene name to its pictures in the order of their names."""
    loose = list_pictures(folder)
    if not flat_only:
        inside = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        scenes = {path.name: list_pictures(path) for path in inside}
        if any(scenes.values()):
            return scenes
    flat: dict[str, list[Path]] = defaultdict(list)
    for file in loose:
        flat[_split(file.stem)[0]].append(file)
    return flat


def _split(stem: str) -> tuple[str, str]:
    """``street_ir`` or ``street-ir`` to (``street``, ``ir``)."""
    cut = max(stem.rfind("_"), stem.rfind("-"))
    return (stem[:cut], stem[cut + 1:].lower()) if cut > 0 else (stem, "")


def _choose_by_ending(files: list[Path]) -> tuple[Path, Path]:
    infrared = [file for file in files if _split(file.stem)[1] in _INFRARED_ENDINGS]
    visible = [file for file in files if _split(file.stem)[1] in _VISIBLE_ENDINGS]
    if len(infrared) != 1 or len(visible) != 1:
        raise UserError(f"one file ending in _ir and one in _vi are needed, there are {_names(files)}")
    return infrared[0], visible[0]


def _choose_by_brightness(files: list[Path]) -> tuple[Path, Path]:
    if len(files) < 2:
        raise UserError(f"two or more exposures are needed, there are {_names(files)}")

    def brightness(file: Path) -> float:
        picture = read_picture(file)
        return float(picture.pixels.mean()) / (2 ** picture.bit_depth - 1)

    ordered = sorted(files, key=lambda file: (brightness(file), file.name))
    return ordered[-1], ordered[0]


def _choose_by_name(files: list[Path]) -> tuple[Path, Path]:
    if len(files) not in (2, 3):
        raise UserError("two pictures are needed, or three of which the first by name is the ground truth, there "
                        f"are {_names(files)}")
    return files[-2], files[-1]


def _names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files) or "none"


def _by(picture: Picture) -> str:
    return "{} x {}".format(*picture.size)
