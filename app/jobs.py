"""Turns the arguments of ``defusionpp fuse`` into jobs: scenes with their output files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import MissingFileError, UserError
from utils.pictures.codecs import is_picture
from utils.pictures.layouts import Finding, PairPaths, Task, pair_folders, pair_scenes
from utils.pictures.writing import WRITABLE

_DEEP = {".png", ".tif", ".tiff"}


@dataclass(frozen=True)
class Job:
    """One scene.

    Attributes:
        pictures: two or more files, infrared first if known.
        out: the file to write.
        task: the task given on the command line, or None.
        depth: the depth map to write.
    """

    pictures: tuple[Path, ...]
    out: Path
    task: Task | None = None
    depth: Path | None = None

    @property
    def results(self) -> tuple[Path, ...]:
        """The files to write."""
        return (self.out, self.depth) if self.depth else (self.out,)


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
              task: Task | None, depth: Path | None = None, *, watching: bool = False) -> Jobs:
    """Find the scenes named on the command line.

    Args:
        pictures: files of one scene, or one folder of scenes.
        infrared, visible: alternatively two files, or two folders paired by stem.
        out: a file or a folder.
        task: IVF, MEF, MFF or None.
        depth: a depth map to write in addition; only for files.
        watching: folders may be empty and files incomplete.

    Raises:
        UserError: inconsistent arguments, no scene, or a result that would replace a source.
    """
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
        return _apart(Jobs([_named(pictures, out, task, depth)], [], []))
    if depth:
        raise UserError(f"{folders[0]} is a folder; --depth; give the files of one focus series in their order")
    if watching and any(folder.resolve() in (out.resolve(), *out.resolve().parents) for folder in folders):
        raise UserError(f"{out} is in a watched folder; -o; give another folder")
    return _apart(_in_folders(folders, out, task, watching))


def _apart(jobs: Jobs) -> Jobs:
    """Check that results differ from the sources and from each other, and return the jobs.

    Raises:
        UserError: a result is a source or another result.
    """
    sources = {path.resolve() for job in jobs.jobs for path in job.pictures}
    for job in jobs.jobs:
        for result in job.results:
            if result.resolve() in sources:
                raise UserError(f"{result} is a source; {'-o' if result == job.out else '--depth'}; "
                                "give another file or folder")
        if job.depth and job.depth.resolve() == job.out.resolve():
            raise UserError(f"{job.depth} is the fused picture; --depth; give another file")
    return jobs


def _named(pictures: Sequence[Path], out: Path, task: Task | None, depth: Path | None) -> Job:
    """The job for files listed individually."""
    if len(pictures) < 2:
        raise UserError(f"{len(pictures) or 'no'} picture{'s' * (not pictures)}; command line; give two or more of a "
                        "scene, or a folder of scenes")
    if task == "IVF" and len(pictures) > 2:
        raise UserError(f"{len(pictures)} pictures; --task IVF; give one infrared and one visible picture")
    for path in pictures:
        if not path.exists():
            raise MissingFileError(f"no file {path}; check the path")
    if out.is_dir() or not out.suffix:
        out = out / f"{pictures[0].stem}_fused.png"
    if out.suffix.lower() not in WRITABLE:
        raise UserError(f"{out}: pictures are written as {', '.join(sorted(WRITABLE))}; -o; give one of these")
    if depth and depth.suffix.lower() not in _DEEP:
        raise UserError(f"{depth}: depth maps have 16 bits, {', '.join(sorted(_DEEP))}; --depth; give one of these")
    if depth and task in ("IVF", "MEF"):
        raise UserError(f"{task} has no depth; --depth; it is for a focus series, --task MFF")
    return Job(tuple(pictures), out, task, depth)


def _in_folders(folders: Sequence[Path], out: Path, task: Task | None, watching: bool) -> Jobs:
    """The jobs for two folders paired by stem, or for one folder of scenes."""
    if is_picture(out) and not out.is_dir():
        raise UserError(f"{out} is a picture's name; -o; give a folder, as a folder holds many scenes")
    found = Finding(stacks=True, check=not watching)
    if len(folders) == 2:
        pair_folders(folders[0], folders[1], found)
    else:
        pair_scenes(folders[0], task, found)
    if not found.pairs and not watching:
        raise UserError(f"nothing to fuse in {' and '.join(map(str, folders))}: "
                        f"{'; '.join(found.problems[:3]) or 'no pictures there'}; "
                        "give the files of one scene by name (DIR/*), or see docs/DATA.md")
    return Jobs([_of_scene(pair, out, task) for pair in found.pairs], found.problems, found.notes)


def _of_scene(scene: PairPaths, out: Path, task: Task | None) -> Job:
    others = () if task == "IVF" else scene.others
    return Job((scene.first, scene.second, *others), out / f"{scene.stem}.png", task)
