"""Finds the pairs of a data set in the layout of an option file, and reads them.

Files are paired by stem, never by position, so that a missing file affects only its own pair. Unusable files are
listed in ``PairList.problems``; only a data set without any pair is an error. ``layouts.py`` implements the folder
layouts, docs/DATA.md shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError
from utils.pictures.alignment import AS_THEY_LIE, Aligned, AlignRule, align_arrays
from utils.pictures.layouts import Finding, PairPaths, Task, pair_folders, pair_scenes
from utils.pictures.picture import Picture, Role
from utils.pictures.reading import AS_STORED, ReadingRule, read_scene
from utils.pictures.seen import is_turned, size_text

if TYPE_CHECKING:
    from option.schema import TestDataOptions, ValDataOptions

__all__ = ["Pair", "PairList", "PairPaths", "Role", "Stack", "Task", "find_pairs", "load_pair", "load_stack",
           "match_stems", "task_of_run"]

SMALLEST_SIDE = 16
"""Pictures with fewer rows or columns are not fused."""

# The published rule for runs without `datashell`: the first of these words found in the name selects the layout.
_NAME_RULE: tuple[tuple[str, Task], ...] = (
    ("MultiFocusFusion", "MFF"), ("MultiExposureFusion", "MEF"), ("MEF", "MEF"), ("VisibleInfrareFusion", "IVF"))


@dataclass(frozen=True)
class Pair:
    """Two pictures of one scene with equal sizes.

    IVF: infrared, visible. MEF: over-exposed, under-exposed. MFF: ordered by name. ``doubts``: one line if the
    alignment that was asked for is not credible; the pictures are then as they are in the files.
    """

    stem: str
    first: Picture
    second: Picture
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stack:
    """Two or more pictures of one scene with equal sizes.

    Attributes:
        stem: name of the scene and of its results.
        pictures: the two of the pair, then the others ordered by name.
        doubts: one line for each picture whose alignment was asked for and is not credible.
    """

    stem: str
    pictures: tuple[Picture, ...]
    doubts: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[Role, ...]:
        """Role of each picture: ``infrared`` and ``visible`` for IVF, ``none`` otherwise."""
        return tuple(picture.role for picture in self.pictures)

    @property
    def paths(self) -> tuple[Path | None, ...]:
        """Paths of the picture files."""
        return tuple(picture.path for picture in self.pictures)


@dataclass(frozen=True)
class PairList:
    """The contents of a data set.

    Attributes:
        pairs: usable pairs, sorted by stem.
        problems: one line for each file that is not used and perhaps should be.
        notes: one line for each group of files that is left out on purpose: ground truths, the middle of a series.
        task: the layout; None if none was given.
        stacks: whether all pictures of a scene are fused instead of two.
    """

    pairs: list[PairPaths]
    problems: list[str] = field(default_factory=list)
    task: Task | None = "IVF"
    notes: list[str] = field(default_factory=list)
    stacks: bool = False

    def sources(self, scene: PairPaths) -> tuple[Path, ...]:
        """The files of a scene that are fused."""
        return scene.first, scene.second, *(scene.others if self.stacks else ())

    def load(self, scene: PairPaths, rule: ReadingRule = AS_STORED, align: AlignRule = AS_THEY_LIE) -> Stack:
        """Decodes the files of a scene that are fused; raises as :func:`load_pair` does."""
        return load_stack(scene if self.stacks else replace(scene, others=()), rule, self.task, align)


def find_pairs(options: TestDataOptions | ValDataOptions, run_name: str, *, stacks: bool = False) -> PairList:
    """List the pairs of a data set, sorted by stem.

    Checks the structure of every file (truncated, empty, not a picture) without decoding it. Exposures are decoded
    to find the brightest and the darkest picture of each scene.

    Args:
        options: ``dataset.test`` or ``dataset.val``.
        run_name: selects the layout if ``datashell`` is not given.
        stacks: list all pictures of a scene instead of two.

    Raises:
        UserError: no layout is given, a folder is missing, or no pair is left.
    """
    task = options.datashell or task_of_run(run_name)
    root, found = Path(options.dataroot), Finding(stacks=stacks)
    if task == "IVF" and (options.infrare_name or options.visible_name):
        if not (options.infrare_name and options.visible_name):
            raise UserError(f"{root}: only one of infrare_name and visible_name is set; set both, or none for "
                            "a folder with files <stem>_ir and <stem>_vi")
        folders = root / options.infrare_name, root / options.visible_name
        pair_folders(*folders, found)
        where = f"{folders[0]} and {folders[1]}"
    else:
        folder = root / (options.scene_folder or "")
        pair_scenes(folder, task, found)
        where = str(folder)
    return listed(found, task, where)


def listed(found: Finding, task: Task | None, where: str) -> PairList:
    """Turn a finished search into a list of pairs.

    Raises:
        UserError: no pair was found; names the first reasons.
    """
    if not found.pairs:
        reasons = "; ".join(found.problems[:3]) or "no pictures there"
        raise UserError(f"no {task or 'source'} pair in {where}: {reasons}; see docs/DATA.md for the layouts")
    return PairList(found.pairs, found.problems, task, found.notes, found.stacks)


def task_of_run(run_name: str) -> Task:
    """The layout implied by a run's name (the published rule).

    Raises:
        UserError: the name implies no layout.
    """
    for word, task in _NAME_RULE:
        if word in run_name:
            return task
    raise UserError(f"the kind of fusion is not known: name {run_name!r} has none of "
                    f"{', '.join(word for word, _ in _NAME_RULE)}; set datashell to IVF, MEF or MFF")


def load_pair(paths: PairPaths, rule: ReadingRule = AS_STORED, task: Task | None = "IVF",
              align: AlignRule = AS_THEY_LIE) -> Pair:
    """Decode and align a pair.

    Args:
        paths: from :func:`find_pairs`.
        rule: how values are mapped.
        task: the layout.
        align: see :func:`utils.pictures.alignment.align_arrays`.

    Raises:
        UserError: a file cannot be decoded, the sizes differ and ``align`` does not allow it, or a side is shorter
            than 16 pixels; names files and sizes.
    """
    pictures, doubts = _read((paths.first, paths.second), rule, task, align)
    return Pair(paths.stem, *pictures, doubts=doubts)


def load_stack(paths: PairPaths, rule: ReadingRule = AS_STORED, task: Task | None = "IVF",
               align: AlignRule = AS_THEY_LIE) -> Stack:
    """Decode and align all pictures of a scene.

    Args:
        paths, rule, task, align: as in :func:`load_pair`.

    Raises:
        UserError: as :func:`load_pair`.
    """
    pictures, doubts = _read((paths.first, paths.second, *paths.others), rule, task, align)
    return Stack(paths.stem, tuple(pictures), doubts)


def read_pictures(files: Sequence[Path], rule: ReadingRule, task: Task | None) -> list[Picture]:
    """Read the pictures of a scene; their sizes may differ. In IVF the first is infrared and the second visible.

    Raises:
        UserError: a file cannot be decoded.
    """
    first: tuple[Role, ...] = ("infrared", "visible") if task == "IVF" else ("none", "none")
    return read_scene(files, rule, first + ("none",) * (len(files) - 2))


def align_pictures(pictures: Sequence[Picture], rule: AlignRule) -> tuple[list[Picture], Aligned]:
    """Bring the pictures of a scene onto one grid; see :func:`utils.pictures.alignment.align_arrays`.

    Raises:
        UserError: sizes differ and ``rule.resize`` is ``error``; names both. Also what ``align_arrays`` raises.
    """
    first = pictures[0]
    for other in pictures[1:]:
        if other.size != first.size and rule.resize == "error":
            raise UserError(f"the pictures of one pair differ in size: {_sized(first)}, {_sized(other)}; register and "
                            "resize the pair first, or set resize and align (defusionpp fuse: --resize second --align "
                            "auto)")
    order = sorted(range(len(pictures)), key=lambda place: str(pictures[place].path))
    aligned = align_arrays([one.pixels for one in pictures], rule, [str(one.path) for one in pictures], order)
    return [replace(one, pixels=pixels) for one, pixels in zip(pictures, aligned.pixels)], aligned


def _read(files: Sequence[Path], rule: ReadingRule, task: Task | None,
          align: AlignRule) -> tuple[list[Picture], tuple[str, ...]]:
    """Read and align pictures, and check that they are large enough."""
    pictures, aligned = align_pictures(read_pictures(files, rule, task), align)
    first = pictures[0]
    if min(first.size) < SMALLEST_SIDE:
        raise UserError(f"{_sized(first)} (width x height); pictures need {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels or "
                        "more")
    return pictures, tuple(aligned.doubts)


def _sized(picture: Picture) -> str:
    return f"{picture.path} is {size_text(picture.size, turned=is_turned(picture))}"


def match_stems(first: Path, second: Path, problems: list[str], *, check: bool = True) -> list[PairPaths]:
    """Pair the pictures of two folders by file stem.

    Args:
        first, second: the folders.
        problems: receives one line for each file that is unpaired, duplicate or broken.
        check: check the structure of every file (see :func:`find_pairs`).

    Raises:
        MissingFileError: a folder does not exist.
    """
    found = Finding(problems=problems, check=check)
    pair_folders(first, second, found)
    return found.pairs
