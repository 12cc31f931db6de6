"""``defusionpp fuse``: fuses pictures without an option file.

Finds scenes (`app.jobs`), determines their task (`app.task`) and fuses them with ``models.fuser.Fuser``.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import USER_MISTAKE, Parser, finishing
from utils.errors import UserError

if TYPE_CHECKING:
    from app.align import Aligner
    from app.files import Files
    from app.jobs import Job, Jobs
    from app.thermal import Thermal
    from models.fuser import Fuser

EXAMPLES = """\
examples:
  defusionpp fuse ir.png vi.png -o fused.png        infrared and visible
  defusionpp fuse over.jpg under.jpg -o fused.png   two exposures
  defusionpp fuse bracket/*.jpg -o out.tif          a bracket or focus series
  defusionpp fuse --ir IR/ --vi VI/ -o FUSED/       folders, by file name
  defusionpp fuse SCENES/ -o FUSED/                 a folder for each scene
  defusionpp fuse series/*.jpg -o out.tif --depth depth.png    focus: and depth
  defusionpp fuse FLIR0001.jpg -o fused.jpg         a thermal camera's own file

The kind of fusion is found from the pictures and said with the reason: grey
beside colour is infrared and visible (IVF), brighter and darker is exposures
(MEF), else focus (MFF). Pictures should line up; --align auto sees to it, and
what it cannot line up credibly is fused as it lies, with a note. Exit code 0:
all fused, 2: something was left out or does not line up, 130: interrupted."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    def layout(prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(prog, max_help_position=20, width=80)

    line = Parser("defusionpp fuse", description="Fuse registered pictures of one scene, or many scenes.",
                  epilog=EXAMPLES, formatter_class=layout, allow_abbrev=False)
    line.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE",
                      help="two or more pictures of a scene, a thermal camera's file, or a folder of scenes")
    line.add_argument("--ir", type=Path, metavar="PATH", help="the infrared picture, or a folder of them")
    line.add_argument("--vi", type=Path, metavar="PATH", help="the visible picture, or a folder of them")
    line.add_argument("-o", "--out", type=Path, required=True, metavar="PATH",
                      help="the fused picture (.png, .tif, .jpg, .webp, .heic, .avif, .bmp), or a folder")
    line.add_argument("--task", type=str.upper, choices=["IVF", "MEF", "MFF"], help="say what the pictures are")
    line.add_argument("--align", choices=["none", "auto", "translation", "affine", "homography"], default="none",
                      help="line the pictures up first: auto finds shift, turn and scale; default: none")
    line.add_argument("--align-map", type=Path, metavar="FILE",
                      help="an alignment for all pairs of a fixed rig; made from the first pair if it is not there")
    line.add_argument("--resize", choices=["error", "first", "second"], default="error",
                      help="whose grid pictures of different sizes take; default: error, refuse them")
    line.add_argument("--fill", action="store_true",
                      help="keep the size of aligned pictures, instead of cutting them to what all show")
    line.add_argument("--model", metavar="NAME",
                      help="shipped weights, a weight file, or a model without weights such as SaliencePyramid; "
                           "default: defusionpp_hr")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda, ...; default: auto")
    line.add_argument("--depth", type=Path, metavar="FILE",
                      help="focus series only: also write which picture is sharp at each place, 16-bit grey; "
                           "black is the first picture given, white the last (.png, .tif)")
    line.add_argument("--prefer", choices=["near", "far"],
                      help="focus series only, given from near to far: which side wins in a narrow band around the "
                           "outlines of near objects, whose blur covers what is behind; default: the sharper one")
    _add_files(line)
    _add_thermal(line)
    line.add_argument("--json", action="store_true", help="one line of JSON for each scene instead of text")
    line.add_argument("--dry-run", action="store_true", help="say what would be fused, and stop")
    there = line.add_mutually_exclusive_group()
    there.add_argument("--resume", action="store_true", help="keep results that are newer than their sources")
    there.add_argument("--overwrite", action="store_true", help="replace results that exist")
    there.add_argument("--watch", action="store_true",
                       help="fuse scenes of folders as their files arrive, until Ctrl-C; keeps as --resume does")
    return line


def _add_files(line: argparse.ArgumentParser) -> None:
    kept = line.add_argument_group("files", "pictures are read and written as docs/DATA.md lists")
    kept.add_argument("--format", choices=["png", "tif", "jpg", "webp", "heic", "avif", "bmp"],
                      help="of results in a folder; default: png")
    kept.add_argument("--quality", type=percent, metavar="1..100", help="of .jpg, .webp, .heic, .avif; default: 95")
    kept.add_argument("--bits", type=int, choices=[8, 16], help="a channel; default: those of the deepest picture")
    kept.add_argument("--raw", choices=["camera", "linear"], default="camera",
                      help="how raw files are developed: with the curve of a picture, or proportional to the light; "
                           "default: camera")
    kept.add_argument("--range", type=limits, metavar="RANGE",
                      help="which values become black and white: full (all of the type), minmax (those of the scene) "
                           "or percentile (without its extreme 0.5 %%); of infrared beside visible, the infrared's; "
                           "thermal cameras: LOW:HIGH in degrees Celsius such as 20:40")


def _add_thermal(line: argparse.ArgumentParser) -> None:
    heat = line.add_argument_group("thermal cameras", "FLIR and DJI JPEGs with temperatures inside; see docs/DATA.md")
    heat.add_argument("--palette", metavar="NAME", help="show temperature as colour over the fused detail: iron, "
                      "white-hot, black-hot, rainbow, turbo")
    heat.add_argument("--colour-bar", action="store_true", help="add the palette's degrees on the right")
    heat.add_argument("--temperatures", type=Path, metavar="FILE",
                      help="also write the temperatures, degrees Celsius in 32-bit floats, pixel for pixel with the "
                           "fused picture (.tif; of many scenes a folder)")


def percent(text: str) -> int:
    """The number of ``--quality``.

    Raises:
        argparse.ArgumentTypeError: not a whole number from 1 to 100.
    """
    if not (text.isdecimal() and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1 to 100")
    return int(text)


def limits(text: str) -> str | tuple[float, float]:
    """The word of ``--range``, or its two temperatures LOW:HIGH.

    Raises:
        argparse.ArgumentTypeError: neither a word nor two increasing numbers.
    """
    if text in ("full", "minmax", "percentile"):
        return text
    low, _, high = text.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = 0.0, 0.0
    if not -inf < ends[0] < ends[1] < inf:
        raise argparse.ArgumentTypeError(f"{text}: give full, minmax, percentile, or two rising temperatures in "
                                         "degrees Celsius, such as 20:40")
    return ends


def _joined(arguments: Sequence[str]) -> list[str]:
    """Join ``--range -10:40`` to one word; argparse takes the second for an option."""
    words = list(arguments)
    for place in reversed(range(len(words) - 1)):
        if words[place] == "--range":
            words[place:place + 2] = [f"--range={words[place + 1]}"]
    return words


def main(arguments: list[str]) -> int:
    """Run the command; returns 2 if something was left out."""
    given = parser().parse_args(_joined(arguments))
    from app.align import Aligner  # here, so that --help does not load OpenCV
    from app.files import Files
    from app.jobs import find_jobs
    from app.thermal import Thermal

    if given.watch and given.dry_run:
        raise UserError("--watch and --dry-run; command line; give one of them")
    if given.prefer and any(path and path.is_dir() for path in (given.ir, given.vi, *given.pictures)):
        raise UserError("a folder has no order; --prefer; give the files of one focus series from near to far")
    find = partial(find_jobs, given.pictures, given.ir, given.vi, given.out, given.task, given.depth,
                   given.temperatures, watching=given.watch, suffix=given.format and f".{given.format}")
    align = Aligner(given.align, given.resize, "fill" if given.fill else "crop", given.align_map,
                    write=not given.dry_run)
    degrees = given.range if isinstance(given.range, tuple) else None
    thermal, files = Thermal(degrees, given.palette, given.colour_bar, given.temperatures is not None), Files.of(given)
    found = find()
    thermal.check(found.jobs)
    files.check([job.out for job in found.jobs])
    kept = _kept(found, resume=given.resume or given.watch, overwrite=given.overwrite or given.dry_run)
    if given.watch:
        return _watch(given, find, [job for job in found.jobs if job.out in kept], align, thermal, files)
    for line in [*found.problems, *found.notes]:
        sys.stderr.write(f"note: {line}\n")
    fuser, count = None, len(found.jobs) - len(kept)
    if count and not given.dry_run:
        _announce(given, f"fusing {count} scene{'s' * (count > 1)}")
        fuser = make_fuser(given.model, given.device)
    from app.scene import fuse_scene

    failures = 0
    for job in _progress(found.jobs):
        outcome = fuse_scene(job, fuser, align, thermal, files, given.prefer, kept=job.out in kept)
        failures += outcome.amiss
        outcome.say(as_json=given.json)
    return USER_MISTAKE if failures or found.problems else 0


def _watch(given: argparse.Namespace, find: "Callable[[], Jobs]", done: "Sequence[Job]", align: "Aligner",
           thermal: "Thermal", files: "Files") -> int:
    """Fuse scenes as they arrive until Ctrl-C, then report what is left."""
    folders = [path for path in (given.ir, given.vi, *given.pictures) if path]
    _announce(given, f"watching {' and '.join(map(str, folders))}, Ctrl-C ends it; fusing")
    from app.scene import fuse_scene
    from app.watch import arriving

    fuser = make_fuser(given.model, given.device)
    try:
        for job in arriving(folders, lambda: find().jobs, done):
            with finishing():
                fuse_scene(job, fuser, align, thermal, files).say(as_json=given.json)
    finally:
        with suppress(UserError):  # no scene, or a folder was removed
            found = find(watching=False)
            sys.stderr.write("".join(f"note: {line}\n" for line in [*found.problems, *found.notes]))
    return 0


def _announce(given: argparse.Namespace, doing: str) -> None:
    """Report the task immediately, before libraries load."""
    if not given.json:
        sys.stderr.write(f"{doing} with {given.model or 'defusionpp_hr'}\n")
        sys.stderr.flush()


def make_fuser(model: str | None, device: str) -> "Fuser":
    """Build the fuser for a model.

    Args:
        model: a weight file, the name of shipped weights, or a registered model; None for the default weights.
        device: device for ``Fuser``.

    Raises:
        UserError: unknown name, or a model that needs weights.
    """
    from models.fuser import Fuser
    from models.weight_files import pretrained_names

    if model is None or Path(model).is_file() or model in pretrained_names():
        return Fuser.from_pretrained(model, device=device)
    from models.registry import MODELS  # here: an ONNX file needs no PyTorch
    from models.zoo import list_models
    from option.errors import did_you_mean

    if model not in list_models():
        raise UserError(f"--model {model}: no such file or model {did_you_mean(model, list_models())}")
    if MODELS.get(model).traits.needs_weights:
        raise UserError(f"--model {model} needs weights; give their file, or one of "
                        f"{', '.join(pretrained_names())}")
    return Fuser(MODELS.create(model), device=device)


def _kept(found: "Jobs", *, resume: bool, overwrite: bool) -> set[Path]:
    """Existing results to keep.

    Raises:
        UserError: a result exists, and neither resuming nor overwriting was requested.
    """
    there = [path for job in found.jobs for path in job.results if path.exists()]
    if resume:
        return {job.out for job in found.jobs if set(job.results) <= set(there)
                and min(map(_time, job.results)) > max(map(_time, job.pictures))}
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"{there[0]}{more} exists; give --overwrite, or --resume to keep what is up to date")
    return set()


def _time(path: Path) -> float:
    return path.stat().st_mtime


def _progress(jobs: "Sequence[Job]") -> Any:
    """Iterate over the jobs, with a progress bar on a terminal if there are several."""
    from tqdm import tqdm

    return tqdm(jobs, unit="scene", leave=False, disable=None if len(jobs) > 1 else True)
