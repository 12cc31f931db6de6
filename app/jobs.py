"""Turns the arguments of ``defusionpp fuse`` into jobs: scenes with their output files."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from utils.errors import MissingFileError, UserError
from utils.files import check_folder
from utils.pictures.codecs import is_picture, list_pictures
from utils.pictures.formats import WRITABLE
from utils.pictures.layouts import VISIBLE, Finding, PairPaths, Task, names, pair_folders, pair_scenes
from utils.pictures.names import split_stem, word_of
from utils.pictures.thermal import TEMPERATURE_FILES, is_radiometric

_DEEP = {".png", ".tif", ".tiff"}
_DJI_VISIBLE = {"v", "w"}


@dataclass(frozen=True)
class Job:
    """One scene.

    Attributes:
        pictures: two or more files, infrared first if known; or one with temperatures and a photograph.
        out: the file to write.
        task: the task given on the command line, or None.
        depth: the depth map to write.
        temperatures: the file of temperatures to write.
    """

    pictures: tuple[Path, ...]
    out: Path
    task: Task | None = None
    depth: Path | None = None
    temperatures: Path | None = None

    @property
    def options(self) -> dict[str, Path]:
        """The files to write, by the option that names them."""
        files = {"-o": self.out, "--depth": self.depth, "--temperatures": self.temperatures}
        return {option: file for option, file in files.items() if file}

    @property
    def results(self) -> tuple[Path, ...]:
        """The files to write."""
        return tuple(self.options.values())


@dataclass(frozen=True)
class Jobs:
    """The jobs of a call.

    Attributes:
        jobs: one per scene.
        problems: one line for each picture that is left out and perhaps should not be.
        notes: one line for each picture that is left out on purpose.
    """

    jobs: list[Job]
    problems: list[str]
    notes: list[str]


def find_jobs(pictures: Sequence[Path], infrared: Path | None, visible: Path | None, out: Path,
              task: Task | None, depth: Path | None = None, temperatures: Path | None = None, *,
              watching: bool = False, suffix: str | None = None) -> Jobs:
    """Find the scenes named on the command line.

    Args:
        pictures: files of one scene, or one folder of scenes; files with temperatures are scenes of their own.
        infrared, visible: alternatively two files, or two folders paired by stem.
        out: a file or a folder.
        task: IVF, MEF, MFF or None.
        depth: a depth map to write in addition; only for files.
        temperatures: where to write temperatures in addition: a file for one scene, a folder for many.
        watching: folders may be empty and files incomplete.
        suffix: of results in a folder; None for ``.png``.

    Raises:
        UserError: inconsistent arguments, no scene, a result that would replace a source, or a protected folder.
    """
    found = _find(_expanded(pictures), infrared, visible, out, task, depth, temperatures, watching)
    if suffix and any(job.out == out for job in found.jobs):
        raise UserError(f"{out} is a file, whose suffix decides; --format; leave it out, or give a folder")
    named = [job if job.out == out else replace(job, out=job.out.with_suffix(suffix or ".png")) for job in found.jobs]
    for folder in {result.parent for job in named for result in job.results}:
        check_folder(folder)
    return _apart(replace(found, jobs=named))


def _expanded(pictures: Sequence[Path]) -> list[Path]:
    """The pictures, with patterns such as ``*.jpg`` replaced by their files: not every shell does so.

    Raises:
        UserError: nothing matches a pattern.
    """
    found: list[Path] = []
    for path in pictures:
        files = [path] if path.exists() or not glob.has_magic(str(path)) else sorted(map(Path, glob.glob(str(path))))
        if not files:
            raise UserError(f"no file matches {path}; check the folder, and capital letters")
        found += files
    return found


def _find(pictures: Sequence[Path], infrared: Path | None, visible: Path | None, out: Path, task: Task | None,
          depth: Path | None, temperatures: Path | None, watching: bool) -> Jobs:
    """The jobs, with results in a folder as PNG; see `find_jobs`."""
    if infrared or visible:
        if pictures or not (infrared and visible):
            raise UserError("--ir and --vi go together and without other pictures; command line; "
                            "give --ir DIR --vi DIR, or two files")
        if task not in (None, "IVF"):
            raise UserError(f"--ir and --vi are IVF, not {task}; command line; leave --task out")
        pictures, task = [infrared, visible], "IVF"
    folders = [path for path in pictures if path.is_dir()]
    if folders and len(folders) < len(pictures):
        raise UserError(f"{folders[0]} is a folder among files; command line; give files of one scene, or one folder")
    if len(folders) > 1 and not infrared:
        raise UserError(f"{len(folders)} folders; command line; give one folder of scenes, or --ir DIR --vi DIR")
    if not folders:
        if watching and pictures:
            raise UserError(f"{pictures[0]} is not a folder; --watch; give --ir DIR --vi DIR, or a folder of scenes")
        for path in pictures:
            if not path.exists():
                raise MissingFileError(f"no file {path}; check the path")
        warm = [path for path in pictures if is_radiometric(path)] if task in (None, "IVF") and not infrared else []
        if warm:
            return Jobs(_warm(pictures, warm, out, depth, temperatures), [], [])
        if len(pictures) < 2:
            raise UserError(f"{len(pictures) or 'no'} picture{'s' * (not pictures)}; command line; give two or more of "
                            "a scene, a thermal camera's file with temperatures inside, or a folder of scenes")
        return Jobs([_named(pictures, out, task, depth, temperatures)], [], [])
    if depth:
        raise UserError(f"{folders[0]} is a folder; --depth; give the files of one focus series in their order")
    if watching and any(folder.resolve() in (out.resolve(), *out.resolve().parents) for folder in folders):
        raise UserError(f"{out} is in a watched folder; -o; give another folder")
    return _in_folders(folders, out, task, temperatures, watching)


def _apart(jobs: Jobs) -> Jobs:
    """Check that results differ from the sources and from each other, and return the jobs.

    Raises:
        UserError: a result is a source or another result.
    """
    sources = {path.resolve() for job in jobs.jobs for path in job.pictures}
    for job in jobs.jobs:
        for option, result in job.options.items():
            if result.resolve() in sources:
                raise UserError(f"{result} is a source; {option}; give another file or folder")
            if option != "-o" and result.resolve() == job.out.resolve():
                raise UserError(f"{result} is the fused picture; {option}; give another file")
    return jobs


def _warm(pictures: Sequence[Path], warm: Sequence[Path], out: Path, depth: Path | None,
          temperatures: Path | None) -> list[Job]:
    """The jobs for files with temperatures: one with a photograph of its scene, or each by itself."""
    if len(pictures) == 1 or (len(pictures) == 2 and len(warm) == 1):
        return [_named([*warm, *(path for path in pictures if path not in warm)], out, "IVF", depth, temperatures)]
    if len(warm) < len(pictures):
        cold = next(path for path in pictures if path not in warm)
        raise UserError(f"{warm[0]} has temperatures and {cold} has none; command line; give one of the first kind "
                        "with its photograph, or only such files")
    _check_folders(out, depth, temperatures)
    return [_by_itself([path], out, temperatures) for path in warm]


def _by_itself(pictures: Sequence[Path], out: Path, temperatures: Path | None) -> Job:
    """The job of a file with temperatures, and perhaps its photograph, among many."""
    stem = pictures[0].stem
    return Job(tuple(pictures), out / f"{stem}.png", "IVF", temperatures=temperatures and temperatures / f"{stem}.tif")


def _check_folders(out: Path, depth: Path | None, temperatures: Path | None) -> None:
    """Check that the results of many scenes go to folders.

    Raises:
        UserError: a result is named like a file.
    """
    for option, place in (("-o", out), ("--temperatures", temperatures)):
        if place and is_picture(place) and not place.is_dir():
            raise UserError(f"{place} is a picture's name; {option}; give a folder, as there are many scenes")
    if depth:
        raise UserError("IVF has no depth; --depth; it is for a focus series, --task MFF")


def _named(pictures: Sequence[Path], out: Path, task: Task | None, depth: Path | None,
           temperatures: Path | None) -> Job:
    """The job for files listed individually."""
    if task == "IVF" and len(pictures) > 2:
        raise UserError(f"{len(pictures)} pictures; --task IVF; give one infrared and one visible picture")
    if out.is_dir() or not out.suffix:
        out = out / f"{pictures[0].stem}_fused.png"
    if out.suffix.lower() not in WRITABLE:
        raise UserError(f"{out}: pictures are written as {', '.join(WRITABLE)}; -o; give one of these")
    if depth and depth.suffix.lower() not in _DEEP:
        raise UserError(f"{depth}: depth maps have 16 bits, {', '.join(sorted(_DEEP))}; --depth; give one of these")
    if depth and task in ("IVF", "MEF"):
        raise UserError(f"{task} has no depth; --depth; it is for a focus series, --task MFF")
    if temperatures and (temperatures.is_dir() or not temperatures.suffix):
        temperatures = temperatures / f"{pictures[0].stem}.tif"
    if temperatures and temperatures.suffix.lower() not in TEMPERATURE_FILES:
        raise UserError(f"{temperatures}: temperatures are 32-bit floats, {', '.join(TEMPERATURE_FILES)}; "
                        "--temperatures; give one of these")
    return Job(tuple(pictures), out, task, depth, temperatures)


def _in_folders(folders: Sequence[Path], out: Path, task: Task | None, temperatures: Path | None,
                watching: bool) -> Jobs:
    """The jobs for two folders paired by stem, for one folder of scenes, or for one of files with temperatures."""
    _check_folders(out, None, temperatures)
    if len(folders) == 1 and task in (None, "IVF"):
        files = list_pictures(folders[0])
        warm = [path for path in files if is_radiometric(path)]
        if warm:
            return _warm_folder(folders[0], files, warm, out, temperatures)
    found = Finding(stacks=True, check=not watching)
    if len(folders) == 2:
        pair_folders(folders[0], folders[1], found)
    else:
        pair_scenes(folders[0], task, found)
    if not found.pairs and not watching:
        raise UserError(f"nothing to fuse in {' and '.join(map(str, folders))}: "
                        f"{'; '.join(found.problems[:3]) or 'no pictures there'}; "
                        "give the files of one scene by name (DIR/*), or see docs/DATA.md")
    return Jobs([_of_scene(pair, out, task, temperatures) for pair in found.pairs], found.problems, found.notes)


def _warm_folder(folder: Path, files: Sequence[Path], warm: Sequence[Path], out: Path,
                 temperatures: Path | None) -> Jobs:
    """The jobs for a folder with files of thermal cameras; other pictures are their photographs, by name, or noted."""
    rest, jobs, problems = [path for path in files if path not in warm], [], []
    used: set[str] = set()
    for path in warm:
        if path.stem in used:
            problems.append(f"{path}: another file has this stem; left out")
            continue
        used.add(path.stem)
        job = _by_itself([path, *_photographs(path, rest)], out, temperatures)
        rest = [other for other in rest if other not in job.pictures]
        jobs.append(job)
    deeper = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    notes = [f"{folder}: {names(left)} left out: {why}" for left, why in
             ((rest, "no temperatures"), (deeper, "folders in a folder of files with temperatures")) if left]
    return Jobs(jobs, problems, notes)


def _photographs(path: Path, others: Sequence[Path]) -> list[Path]:
    """The photograph of a file with temperatures by its name: `x_ir` and `x_vi`, or DJI's `x_T` and `x_V` or `x_W`."""
    scene, word = split_stem(path.stem)
    wanted = _DJI_VISIBLE if word == "t" else VISIBLE
    found = [other for other in others if split_stem(other.stem)[0] == scene and word_of(other) in wanted]
    return found if len(found) == 1 else []


def _of_scene(scene: PairPaths, out: Path, task: Task | None, temperatures: Path | None) -> Job:
    others = () if task == "IVF" else scene.others
    return Job((scene.first, scene.second, *others), out / f"{scene.stem}.png", task,
               temperatures=temperatures and temperatures / f"{scene.stem}.tif")
