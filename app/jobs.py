"""What a call of ``defusionpp fuse`` asks for: scenes, and the file that each one makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError
from utils.pictures.codecs import list_pictures
from utils.pictures.pairs import match_stems

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


@dataclass(frozen=True)
class Job:
    """One scene.

    Attributes:
        pictures: two files or more, infrared first where that is known.
        out: the file to write.
        task: where the command line says it.
    """

    pictures: tuple[Path, ...]
    out: Path
    task: str | None = None


@dataclass(frozen=True)
class Jobs:
    """Everything a call asks for, and one line for each picture that is left out."""

    jobs: list[Job]
    problems: list[str]


def find_jobs(pictures: Sequence[Path], infrared: Path | None, visible: Path | None, out: Path,
              task: str | None) -> Jobs:
    """The scenes that a command line names.

    Args:
        pictures: files of one scene, or one folder of scenes.
        infrared, visible: instead: two files, or two folders that pair by stem.
        out: a file, or a folder.
        task: IVF, MEF, MFF or None.

    Raises:
        UserError: the pieces do not go together; or no scene is left.
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
        raise UserError(f"{folders[0]} is a folder beside files; command line; give files of one scene, or one folder")
    if not folders:
        return Jobs([_scene(pictures, out, task)], [])
    if out.suffix.lower() in PICTURE_SUFFIXES and not out.is_dir():
        raise UserError(f"-o {out} is a file; {len(folders)} folders make many pictures; give a folder")
    problems: list[str] = []
    if infrared:
        pairs = match_stems(folders[0], folders[1], problems)
        jobs = [Job((pair.first, pair.second), out / f"{pair.stem}.png", task) for pair in pairs]
    elif len(folders) == 1:
        jobs = _scenes(folders[0], out, task, problems)
    else:
        raise UserError(f"{len(folders)} folders; command line; give one folder of scenes, or --ir DIR --vi DIR")
    if not jobs:
        raise UserError(f"nothing to fuse in {', '.join(map(str, folders))}: "
                        f"{'; '.join(problems[:3]) or 'no pictures there'}; see docs/DATA.md")
    return Jobs(jobs, problems)


def _scene(pictures: Sequence[Path], out: Path, task: str | None) -> Job:
    """The job of files that were named one by one."""
    if len(pictures) < 2:
        raise UserError(f"{len(pictures)} pictures; command line; give two or more, or a folder of scenes")
    if out.is_dir() or not out.suffix:
        out = out / f"{pictures[0].stem}.png"
    return Job(tuple(pictures), out, task)


def _scenes(folder: Path, out: Path, task: str | None, problems: list[str]) -> list[Job]:
    """One job for each sub-folder; for the folder itself where it has none."""
    loose = list_pictures(folder)
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if inside:
        problems.extend(f"{path}: lies beside folders of scenes, not used" for path in loose)
    jobs = []
    for scene in inside or [folder]:
        files = list_pictures(scene)
        if len(files) < 2:
            problems.append(f"{scene}: {len(files)} pictures; a scene needs two or more")
        else:
            jobs.append(Job(tuple(files), out / f"{scene.name}.png", task))
    return jobs
