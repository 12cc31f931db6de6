"""Groups the files below a folder by scene: two folders of sides, one folder per scene, or files ``<scene>_<word>``.

Every picture is either used or listed with a reason: in ``problems`` if it was perhaps meant to be used, in ``notes``
if it is a ground truth or lies between the two pictures of a series. Nothing is paired by position. docs/DATA.md shows
the layouts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from utils.errors import UserError
from utils.pictures.codecs import is_picture, list_pictures, read_bytes
from utils.pictures.names import is_truth, natural_order, plain, split_stem, word_of
from utils.pictures.seen import Seen, look_at, of_one_size
from utils.pictures.structure import fault

Task = Literal["IVF", "MEF", "MFF"]

_INFRARED = frozenset({"ir", "infrared", "inf", "thermal", "lwir", "previewdata", "ct"})
VISIBLE = frozenset({"vi", "vis", "visible", "rgb", "mr", "mri"})
_OVER = frozenset({"over", "overexposed", "overexposure", "oe"})
_UNDER = frozenset({"under", "underexposed", "underexposure", "ue"})
_NEAR, _FAR = frozenset({"near", "front", "foreground"}), frozenset({"far", "back", "background"})
_A = frozenset({"a", "testa", "sourcea", "source1"})
_B = frozenset({"b", "testb", "sourceb", "source2"})
_SIDES: dict[Task | None, tuple[tuple[frozenset[str], frozenset[str]], ...]] = {
    "IVF": ((_INFRARED, VISIBLE),), "MEF": ((_OVER, _UNDER), (_A, _B)), "MFF": ((_NEAR, _FAR), (_A, _B))}
_SIDES[None] = ((_INFRARED, VISIBLE), (_OVER, _UNDER), (_NEAR, _FAR), (_A, _B))

# Suffixes of unsupported picture formats: such a file may be a missing partner and should be reported.
_OTHER_KINDS = frozenset({
    ".jxl", ".jp2", ".j2k", ".gif", ".pfm", ".pnm", ".raw", ".npy", ".mat", ".fits", ".dcm", ".nii", ".seq"})
_SHOWN = 6


@dataclass(frozen=True)
class PairPaths:
    """Two files of one scene.

    Attributes:
        stem: name of the scene and of its results.
        first, second: the two files to fuse.
        others: further pictures of the scene, of the same size and not ground truths, ordered by name.
        truth: the ground truth of the scene.
    """

    stem: str
    first: Path
    second: Path
    others: tuple[Path, ...] = ()
    truth: Path | None = None


@dataclass
class Finding:
    """The results of a search so far.

    Attributes:
        pairs: usable pairs.
        problems: one line for each file that is not used and perhaps should be.
        between: one line for each series of which two pictures are used, as documented.
        truths: pictures whose names mark them as ground truths.
        check: whether to check that every file is a complete picture.
        stacks: whether whole scenes are wanted, so that ``others`` count as used.
    """

    pairs: list[PairPaths] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    between: list[str] = field(default_factory=list)
    truths: list[Path] = field(default_factory=list)
    check: bool = True
    stacks: bool = False

    @property
    def notes(self) -> list[str]:
        """One line for each group of files that is left out on purpose."""
        truths = [f"ground truths by their names, not fused: {names(self.truths)}"] if self.truths else []
        return truths + self.between


def pair_folders(first: Path, second: Path, found: Finding, truths: dict[str, Path] | None = None) -> None:
    """Add the pairs of two folders, matched by file stem.

    Args:
        first, second: the folders.
        found: receives the pairs, and one line for each file that is unpaired, duplicate or broken.
        truths: ground truths by stem.

    Raises:
        MissingFileError: a folder does not exist.
    """
    sides = [_by_stem(_pictures(folder, found.problems), found.problems) for folder in (first, second)]
    for stem in sorted(sides[0].keys() | sides[1].keys()):
        one, two = (side.get(stem, []) for side in sides)
        if not one or not two:
            present, other = (one, second) if one else (two, first)
            found.problems.extend(f"{path}: no partner of that stem in {other}" for path in present)
        elif len(one) == len(two) == 1 and not (found.check and _broken((one[0], two[0]), found.problems)):
            found.pairs.append(PairPaths(stem, one[0], two[0], truth=(truths or {}).get(stem)))


def pair_scenes(folder: Path, task: Task | None, found: Finding) -> None:
    """Add the pairs below a folder of any supported layout.

    Sub-folders named like two sides (``over`` and ``under``, ``A`` and ``B``, ...) are paired by stem. Otherwise
    each sub-folder is a scene, and so is each group of files next to them that differ only in their last word.

    Args:
        folder: contains the scenes.
        task: decides which two pictures of a scene are used; with None, a scene must have two pictures, or names that
            identify the pair.
        found: receives the pairs and what is not used.

    Raises:
        MissingFileError: the folder does not exist.
    """
    loose = _by_scene(_pictures(folder, found.problems, deeper=False))
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    sides = _sides(inside, task)
    if sides:
        _pair_sides(sides, [path for path in inside if path not in sides], task, found)
        inside = []
    scenes = {path.name: (path, _pictures(path, found.problems)) for path in inside if not (loose and not _any(path))}
    for scene, files in loose.items():
        if scene in scenes:
            found.problems.append(f"{folder}: {names(files)} not used, as {scene} is a folder, too")
        else:
            scenes[scene] = (folder / scene, files)
    for scene, (where, files) in sorted(scenes.items()):
        try:
            _pair_scene(scene, where, files, task, found)
        except UserError as error:
            found.problems.append(f"{where}: {error}")


def _pair_scene(scene: str, where: Path, files: list[Path], task: Task | None, found: Finding) -> None:
    """Add the pair of one scene.

    Raises:
        UserError: the scene has no pair; says why.
    """
    truths = [file for file in files if is_truth(file.stem)]
    if len(truths) == len(files):  # a word shared by all files belongs to the scene
        truths = []
    rest = [file for file in files if file not in truths]
    found.truths.extend(truths)
    if found.check and _broken(rest, found.problems):
        raise UserError("left out, as one of its pictures is broken")
    seen, left = [Seen(file) for file in rest], []
    if len(rest) > 1 and (task == "MEF" or (task != "IVF" and len(rest) > 2)):
        seen, left = of_one_size([look_at(file) for file in rest])
    whole = found.stacks and task != "IVF" and len(seen) > 2
    chosen, rule = _choose(seen, task or ("MFF" if whole else None), rest, truths)
    others = tuple(one.path for one in seen if one.path not in chosen)
    if left:
        found.problems.append(f"{where}: {', '.join(map(str, left[:_SHOWN]))} not used, as "
                              f"{names([one.path for one in seen])} have another size, {seen[0].size_text}")
    if others and not whole:
        told = found.between if task in ("MEF", "MFF") else found.problems
        told.append(f"{where}: {len(others)} of {len(seen)} pictures not used ({names(others)}): {rule}")
    found.pairs.append(PairPaths(scene, *chosen, others, truths[0] if len(truths) == 1 else None))


def _choose(seen: Sequence[Seen], task: Task | None, files: Sequence[Path],
            truths: Sequence[Path]) -> tuple[tuple[Path, Path], str]:
    """The two pictures (first, second) of a scene, and a description of the rule that chose them."""
    there = f"there are {names(files)}" + (f" beside the ground truth {names(truths)}" if truths else "")
    paths = [one.path for one in seen]
    for words in _SIDES[task][:1] if task == "IVF" else _SIDES[None][:2] if task is None else ():
        sides = [[path for path in paths if word_of(path) in side] for side in words]
        if len(sides[0]) == len(sides[1]) == 1:
            return (sides[0][0], sides[1][0]), f"{sides[0][0].name} and {sides[1][0].name} are the pair by their names"
    if task == "IVF":
        raise UserError(f"one file ending in _ir and one in _vi are needed, {there}")
    if len(paths) < 2:
        raise UserError(f"two or more {'exposures' if task == 'MEF' else 'pictures'} are needed, {there}")
    if task == "MEF":
        ordered = sorted(seen, key=lambda one: (one.brightness, one.path.name))
        return (ordered[-1].path, ordered[0].path), "the brightest and the darkest are the pair"
    if task is None and len(paths) > 2:
        raise UserError(f"two pictures are needed, {there}; name the layout: MEF takes the brightest and the darkest, "
                        "MFF the first and the last by name")
    return (paths[0], paths[-1]), "the first and the last by name are the pair"


def _pair_sides(sides: tuple[Path, Path], rest: Sequence[Path], task: Task | None, found: Finding) -> None:
    """Pair two folders of sides, with ground truths from a third."""
    truths: dict[str, Path] = {}
    for folder in rest:
        files = list_pictures(folder)
        if is_truth(folder.name):
            truths.update({file.stem: file for file in files})
            found.truths.extend(files)
        elif files:
            found.problems.append(f"{folder}: {names(files)} not used, as {sides[0].name} and {sides[1].name} are the "
                                  "two sides")
    before = len(found.pairs)
    pair_folders(*sides, found, truths)
    if task == "MEF" and plain(sides[0].name) not in _OVER:
        found.pairs[before:] = [_brightest_first(pair) for pair in found.pairs[before:]]


def _brightest_first(pair: PairPaths) -> PairPaths:
    first, second = (look_at(path).brightness for path in (pair.first, pair.second))
    return pair if first >= second else PairPaths(pair.stem, pair.second, pair.first, truth=pair.truth)


def _sides(folders: Sequence[Path], task: Task | None) -> tuple[Path, Path] | None:
    """The two folders named like sides; None if their names could also be those of scenes."""
    for words in _SIDES[task]:
        hits = [[path for path in folders if plain(path.name) in side] for side in words]
        if len(hits[0]) != 1 or len(hits[1]) != 1:
            continue
        one, two = hits[0][0], hits[1][0]
        others = [path for path in folders if path not in (one, two) and not is_truth(path.name)]
        if words == (_A, _B) and any(map(_any, others)):
            return None  # A, B, C: scenes by letters
        stems = [{file.stem for file in list_pictures(folder)} for folder in (one, two)]
        named = any({plain(stem) for stem in stems[0] | stems[1]} <= left | right for left, right in _SIDES[None])
        return (one, two) if stems[0] & stems[1] and not named else None
    return None


def _pictures(folder: Path, problems: list[str], *, deeper: bool = True) -> list[Path]:
    """Pictures of a folder in natural order (2 before 10); unsupported files are added to ``problems``."""
    files = list_pictures(folder)
    others = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not is_picture(path))
    unread = [path for path in others if path.suffix.lower() in _OTHER_KINDS and path.is_file()]
    if unread:
        problems.append(f"{folder}: not read, as of another kind: {names(unread)}; convert to PNG, TIFF or JPEG")
    if deeper:
        problems.extend(f"{path}: a folder with pictures, not read; only files next to it are"
                        for path in sorted(folder.iterdir()) if path.is_dir() and _any(path))
    return sorted(files, key=lambda path: natural_order(path.name))


def _any(folder: Path) -> bool:
    """Whether the folder is not hidden and contains a picture at any depth."""
    return not folder.name.startswith(".") and any(is_picture(path) and path.is_file() for path in folder.rglob("*"))


def _by_scene(files: Sequence[Path]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        groups[split_stem(file.stem)[0]].append(file)
    return groups


def _by_stem(files: Sequence[Path], problems: list[str]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        groups[file.stem].append(file)
    for stem, group in groups.items():
        if len(group) > 1:
            problems.append(f"{group[0].parent}: stem {stem} is there more than once ({names(group)}); left out")
    return groups


def _broken(files: Sequence[Path], problems: list[str]) -> bool:
    """Whether one of the files is not a complete picture; adds those files to ``problems``."""
    before = len(problems)
    for file in files:
        try:
            reason = fault(read_bytes(file), file.suffix)
        except UserError as error:
            problems.append(str(error))
        else:
            if reason:
                problems.append(f"{file}: {reason}")
    return len(problems) > before


def names(files: Sequence[Path]) -> str:
    """The names of the first six files, and the number of the others."""
    told = ", ".join(file.name for file in files[:_SHOWN]) or "none"
    return told + (f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else "")
