"""``defusionpp fuse``: pictures in, the fused one out; no option file.

Thin: finds scenes (`app.jobs`), says what they are (`app.task`), and leaves the rest to ``models.fuser.Fuser``.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import USER_MISTAKE
from utils.errors import UserError

if TYPE_CHECKING:
    from app.jobs import Job, Jobs
    from models.fuser import Fuser

EXAMPLES = """\
examples:
  defusionpp fuse ir.png vi.png -o fused.png        infrared and visible
  defusionpp fuse over.jpg under.jpg -o fused.png   two exposures
  defusionpp fuse bracket/*.jpg -o out.tif          a bracket or focus series
  defusionpp fuse --ir IR/ --vi VI/ -o FUSED/       folders, by file name
  defusionpp fuse SCENES/ -o FUSED/                 a folder for each scene

The kind of fusion is found from the pictures and said with the reason: grey
beside colour is infrared and visible (IVF), brighter and darker is exposures
(MEF), else focus (MFF). Exit code 0: all fused, 2: something was left out,
130: interrupted."""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are the user's errors: one line, exit code 2."""

    def error(self, message: str) -> None:
        raise UserError(f"{message}; command line; see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    def layout(prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(prog, max_help_position=20, width=80)

    line = _Parser("defusionpp fuse", description="Fuse registered pictures of one scene, or many scenes.",
                   epilog=EXAMPLES, formatter_class=layout, allow_abbrev=False)
    line.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE",
                      help="two or more pictures of a scene, or a folder of scenes")
    line.add_argument("--ir", type=Path, metavar="PATH", help="the infrared picture, or a folder of them")
    line.add_argument("--vi", type=Path, metavar="PATH", help="the visible picture, or a folder of them")
    line.add_argument("-o", "--out", type=Path, required=True, metavar="PATH",
                      help="the fused picture (.png, .tif, .jpg, .bmp), or a folder")
    line.add_argument("--task", type=str.upper, choices=["IVF", "MEF", "MFF"], help="say what the pictures are")
    line.add_argument("--model", metavar="NAME",
                      help="shipped weights, a weight file, or a model without weights such as SaliencePyramid; "
                           "default: defusionpp_hr")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda, ...; default: auto")
    line.add_argument("--json", action="store_true", help="one line of JSON for each scene instead of text")
    line.add_argument("--dry-run", action="store_true", help="say what would be fused, and stop")
    there = line.add_mutually_exclusive_group()
    there.add_argument("--resume", action="store_true", help="keep results that are newer than their sources")
    there.add_argument("--overwrite", action="store_true", help="replace results that exist")
    return line


@dataclass
class Outcome:
    """What became of one scene; the fields of a ``--json`` line."""

    out: str
    pictures: list[str]
    status: str
    task: str | None = None
    reason: str | None = None
    seconds: float | None = None

    def text(self) -> str:
        """One line for people."""
        if self.status == "kept":
            return f"{self.out}: kept, newer than its sources"
        if self.status == "failed":
            return f"{self.out}: left out: {self.reason}"
        seconds = "" if self.seconds is None else f", {self.seconds:.2f} s"
        return f"{self.out}: {self.status} as {self.task} ({self.reason}){seconds}"


def main(arguments: list[str]) -> int:
    """Run the command; 2 if something was left out."""
    given = parser().parse_args(arguments)
    from app.jobs import find_jobs  # here, so that help costs no OpenCV

    found = find_jobs(given.pictures, given.ir, given.vi, given.out, given.task)
    kept = _kept(found, resume=given.resume, overwrite=given.overwrite or given.dry_run)
    for line in [*found.problems, *found.notes]:
        sys.stderr.write(f"note: {line}\n")
    fuser = None
    if len(kept) < len(found.jobs) and not given.dry_run:
        if not given.json:
            count = len(found.jobs) - len(kept)
            sys.stderr.write(f"fusing {count} scene{'s' * (count > 1)} with {given.model or 'defusionpp_hr'}\n")
        fuser = make_fuser(given.model, given.device)
    failures = 0
    for job in _progress(found.jobs):
        outcome = Outcome(str(job.out), [str(path) for path in job.pictures], "kept")
        if job.out not in kept:
            _fuse(job, outcome, fuser)
        failures += outcome.status == "failed"
        _say(outcome, as_json=given.json)
    return USER_MISTAKE if failures or found.problems else 0


def make_fuser(model: str | None, device: str) -> "Fuser":
    """The fuser of a name.

    Args:
        model: a weight file, the name of shipped weights, or a registered model; None for the default weights.
        device: as ``Fuser`` takes it.

    Raises:
        UserError: unknown name, or a model that needs weights.
    """
    from models.fuser import Fuser
    from models.registry import MODELS
    from models.weight_files import pretrained_names
    from models.zoo import list_models
    from option.errors import did_you_mean

    if model is None or Path(model).is_file() or model in pretrained_names():
        return Fuser.from_pretrained(model, device=device)
    if model not in list_models():
        raise UserError(f"--model {model}: no such file or model {did_you_mean(model, list_models())}")
    if MODELS.get(model).traits.needs_weights:
        raise UserError(f"--model {model} needs weights; give their file, or one of "
                        f"{', '.join(pretrained_names())}")
    return Fuser(MODELS.create(model), device=device)


def _fuse(job: "Job", outcome: Outcome, fuser: "Fuser | None") -> None:
    """Fuse and write one scene, or only look at it without a fuser; notes what happened."""
    from app.task import guess_task, order_for
    from utils.pictures.metadata import result_metadata
    from utils.pictures.reading import read_picture
    from utils.pictures.writing import write_picture

    start = time.perf_counter()
    try:
        pictures = [read_picture(path) for path in job.pictures]
        if job.task:
            outcome.task, outcome.reason, order = job.task, "as said", order_for(job.task, pictures)
        else:
            guess = guess_task(pictures, _short_names(job.pictures))
            outcome.task, outcome.reason, order = guess.task, guess.reason, guess.order
        outcome.status, pictures = "would be fused", [pictures[place] for place in order]
        if fuser is not None:
            fused = fuser(*pictures, task=outcome.task, components=False).fused
            write_picture(job.out, fused, result_metadata([one.metadata for one in pictures], fused))
            outcome.status, outcome.seconds = "fused", round(time.perf_counter() - start, 3)
    except UserError as error:
        outcome.status, outcome.reason = "failed", str(error)


def _short_names(paths: "Sequence[Path]") -> list[str]:
    """File names; with their folders where two are equal."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [f"{path.parent.name}/{path.name}" for path in paths]


def _kept(found: "Jobs", *, resume: bool, overwrite: bool) -> set[Path]:
    """Results that stay as they are.

    Raises:
        UserError: a result exists and nothing was said about it.
    """
    there = [job for job in found.jobs if job.out.exists()]
    if resume:
        return {job.out for job in there
                if job.out.stat().st_mtime > max(path.stat().st_mtime for path in job.pictures)}
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"{there[0].out}{more} exists; give --overwrite, or --resume to keep what is up to date")
    return set()


def _progress(jobs: "Sequence[Job]") -> Any:
    """The jobs, with a bar on a terminal where there are several."""
    from tqdm import tqdm

    return tqdm(jobs, unit="scene", leave=False, disable=None if len(jobs) > 1 else True)


def _say(outcome: Outcome, *, as_json: bool) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode():
        stream = sys.stderr if outcome.status == "failed" and not as_json else sys.stdout
        stream.write((json.dumps(vars(outcome)) if as_json else outcome.text()) + "\n")
        stream.flush()
