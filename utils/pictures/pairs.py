"""The pairs of a data set: found by an option file's layout, then read.

Files pair by stem and never by position, so that one missing file costs one pair. What cannot be used is listed
in ``PairList.problems``; only a folder with nothing left is an error. ``layouts.py`` knows the folders, docs/DATA.md
draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError
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

# The published rule for a run without `datashell`: the first of these words in its name decides.
_NAME_RULE: tuple[tuple[str, Task], ...] = (
    ("MultiFocusFusion", "MFF"), ("MultiExposureFusion", "MEF"), ("MEF", "MEF"), ("VisibleInfrareFusion", "IVF"))


@dataclass(frozen=True)
class Pair:
    """Two pictures of one scene, of one size.

    IVF: first is infrared, second visible. MEF: first is *over*, second *under*. MFF: in the order of the names.
    """

    stem: str
    first: Picture
    second: Picture


@dataclass(frozen=True)
class Stack:
    """All pictures of one scene, of one size; two or more.

    Attributes:
        stem: names the results.
        pictures: the pair's two first, then the others in the order of their names.
    """

    stem: str
    pictures: tuple[Picture, ...]

    @property
    def roles(self) -> tuple[Role, ...]:
        """What each shows: ``infrared`` and ``visible`` for IVF, ``none`` otherwise."""
        return tuple(picture.role for picture in self.pictures)

    @property
    def paths(self) -> tuple[Path | None, ...]:
        """Where the pictures came from."""
        return tuple(picture.path for picture in self.pictures)


@dataclass(frozen=True)
class PairList:
    """What a data set holds.

    Attributes:
        pairs: usable pairs, sorted by stem.
        problems: one line for everything that is not used and perhaps should be.
        notes: one line on the ground truths, which are no inputs.
        task: the layout; None where none was named.
        stacks: every picture of a scene is fused, not two of them.
    """

    pairs: list[PairPaths]
    problems: list[str] = field(default_factory=list)
    task: Task | None = "IVF"
    notes: list[str] = field(default_factory=list)
    stacks: bool = False

    def sources(self, scene: PairPaths) -> tuple[Path, ...]:
        """The files of a scene that are fused."""
        return scene.first, scene.second, *(scene.others if self.stacks else ())

    def load(self, scene: PairPaths, rule: ReadingRule = AS_STORED) -> Stack:
        """Decodes the files of a scene that are fused; raises as :func:`load_pair` does."""
        return load_stack(scene if self.stacks else replace(scene, others=()), rule, self.task)


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
    root, found = Path(options.dataroot), Finding(stacks=options.whole_stacks)
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
    """A finished search.

    Raises:
        UserError: it found no pair; names the first reasons.
    """
    if not found.pairs:
        reasons = "; ".join(found.problems[:3]) or "no pictures there"
        raise UserError(f"no {task or 'source'} pair in {where}: {reasons}; see docs/DATA.md for the layouts")
    return PairList(found.pairs, found.problems, task, found.notes, found.stacks)


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


def load_pair(paths: PairPaths, rule: ReadingRule = AS_STORED, task: Task | None = "IVF") -> Pair:
    """Decodes a pair.

    Args:
        paths: from :func:`find_pairs`.
        rule: how values are mapped.
        task: the layout.

    Raises:
        UserError: a file cannot be decoded, the sizes differ, or a side has fewer than 16 pixels; names files and
            sizes.
    """
    return Pair(paths.stem, *_read((paths.first, paths.second), rule, task))


def load_stack(paths: PairPaths, rule: ReadingRule = AS_STORED, task: Task | None = "IVF") -> Stack:
    """Decodes all pictures of a scene.

    Args:
        paths, rule, task: as :func:`load_pair` takes them.

    Raises:
        UserError: as :func:`load_pair`.
    """
    return Stack(paths.stem, tuple(_read((paths.first, paths.second, *paths.others), rule, task)))


def read_pictures(files: Sequence[Path], rule: ReadingRule, task: Task | None) -> list[Picture]:
    """A scene's pictures, whatever their sizes; in IVF the first is infrared and the second visible.

    Raises:
        UserError: a file cannot be decoded.
    """
    first: tuple[Role, ...] = ("infrared", "visible") if task == "IVF" else ("none", "none")
    return read_scene(files, rule, first + ("none",) * (len(files) - 2))


def _read(files: Sequence[Path], rule: ReadingRule, task: Task | None) -> list[Picture]:
    """Pictures of one size that are large enough."""
    pictures = read_pictures(files, rule, task)
    first = pictures[0]
    for other in pictures[1:]:
        if other.size != first.size:
            raise UserError(f"the pictures of one pair differ in size: {_sized(first)}, {_sized(other)}; register and "
                            "resize the pair first")
    if min(first.size) < SMALLEST_SIDE:
        raise UserError(f"{_sized(first)} (width x height); pictures need {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels or "
                        "more")
    return pictures


def _sized(picture: Picture) -> str:
    return f"{picture.path} is {size_text(picture.size, turned=is_turned(picture))}"


def match_stems(first: Path, second: Path, problems: list[str], *, check: bool = True) -> list[PairPaths]:
    """Pairs the pictures of two folders by file stem.

    Args:
        first, second: the folders.
        problems: gets one line for each file that is unpaired, doubled or broken.
        check: look into every file (see :func:`find_pairs`).

    Raises:
        MissingFileError: a folder is not there.
    """
    found = Finding(problems=problems, check=check)
    pair_folders(first, second, found)
    return found.pairs
