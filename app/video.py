"""``defusionpp video``: fuses an infrared and a visible video; docs/VIDEO.md."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.fuse import make_fuser
from utils.cli import USER_MISTAKE, Parser
from utils.errors import UserError
from utils.locks import FolderLock

if TYPE_CHECKING:
    from app.film import Film, Told

EXAMPLES = """\
examples:
  defusionpp video --ir ir.mp4 --vi vi.mp4 -o fused.mp4
  defusionpp video --ir ir.mp4 --vi vi.mp4 -o fused.mp4 --align once
  defusionpp video --ir ir.mp4 --vi vi.mp4 -o fused.mp4 --resume

Size, times of the frames and sound are those of the visible video. While it
runs, fused.part.mp4 holds what is done and can be played; after Ctrl-C or a
crash the same command with --resume goes on. Exit code 0: fused, 2: a video is
damaged or does not line up, 130: interrupted."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    def layout(prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(prog, max_help_position=20, width=80)

    line = Parser("defusionpp video", description="Fuse an infrared and a visible video.", epilog=EXAMPLES,
                  formatter_class=layout, allow_abbrev=False)
    line.add_argument("--ir", type=Path, required=True, metavar="FILE", help="the infrared video")
    line.add_argument("--vi", type=Path, required=True, metavar="FILE", help="the visible video")
    line.add_argument("-o", "--out", type=Path, required=True, metavar="FILE",
                      help="the fused video (.mp4, .mov, .mkv), H.264")
    line.add_argument("--align", choices=["none", "once", "track"], default="none",
                      help="line infrared frames up with visible ones: once for all, or again every 24 frames; "
                           "default: none")
    line.add_argument("--resize", action="store_true",
                      help="without --align: frames of different sizes show the same field of view")
    line.add_argument("--steady", type=int, choices=[0, 1, 2], default=2,
                      help="earlier frames over which still areas are averaged against flicker; 0: none; default: 2")
    line.add_argument("--quality", type=int, default=18, metavar="CRF",
                      help="x264's rate factor, 0 (lossless) to 51; default: 18")
    line.add_argument("--model", metavar="NAME", help="as for defusionpp fuse; default: defusionpp_hr")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda, ...; default: auto")
    line.add_argument("--batch", type=int, metavar="N", help="frames fused at once; default: 8, on a CPU 1")
    line.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    there = line.add_mutually_exclusive_group()
    there.add_argument("--resume", action="store_true",
                       help="go on with an interrupted run; keep a result that is newer than its sources")
    there.add_argument("--overwrite", action="store_true", help="begin anew, replace a result that exists")
    return line


def main(arguments: list[str]) -> int:
    """Run the command; returns 2 if a video is damaged or does not line up."""
    given = parser().parse_args(arguments)
    import av  # noqa: F401  a missing extra is said before anything else

    _check(given)
    from app.film import Told

    told = Told(str(given.out), [str(given.ir), str(given.vi)], "kept")
    if not (given.resume and _is_newer(given)):
        with FolderLock(given.out):
            film = _film(given)
            known = len(film.told.notes)
            try:
                told = film.run()
            except KeyboardInterrupt:
                if film.unfinished.video.exists():
                    sys.stderr.write(f"note: {film.unfinished.video} can be played; the same command with --resume "
                                     "goes on\n")
                raise
            if not given.json:
                _note(told.notes[known:])
    _say(told, given.json)
    return USER_MISTAKE if told.damaged or (told.alignment and not told.alignment["credible"]) else 0


def _check(given: argparse.Namespace) -> None:
    """Check what can be checked before a video is opened.

    Raises:
        UserError: a mistake in the command line, or a result is there.
    """
    from app.unfinished import Unfinished
    from utils.video.joining import FORMATS

    if given.out.suffix.lower() not in FORMATS:
        raise UserError(f"{given.out}: videos are written as {', '.join(sorted(FORMATS))}; -o; give one of these")
    if given.ir.resolve() == given.vi.resolve():
        raise UserError(f"{given.ir} is given as both; --ir and --vi; give two videos")
    for result in (given.out, Unfinished(given.out, {}).video):
        if result.resolve() in (given.ir.resolve(), given.vi.resolve()):
            raise UserError(f"{result} is a source; -o {given.out}; give another file")
    if not 0 <= given.quality <= 51:
        raise UserError(f"--quality {given.quality}; command line; give 0 to 51")
    if given.batch is not None and given.batch < 1:
        raise UserError(f"--batch {given.batch}; command line; give 1 or more")
    if given.resize and given.align != "none":
        raise UserError("--resize and --align; command line; give one of them, aligning finds the size itself")
    if given.out.exists() and not (given.resume or given.overwrite):
        raise UserError(f"{given.out} exists; give --overwrite, or --resume to keep it if it is up to date")


def _is_newer(given: argparse.Namespace) -> bool:
    """Whether the result is there, complete and newer than both sources."""
    from app.unfinished import Unfinished

    begun = Unfinished(given.out, {}).path.exists()
    if begun or not (given.out.exists() and given.ir.exists() and given.vi.exists()):
        return False
    return given.out.stat().st_mtime > max(path.stat().st_mtime for path in (given.ir, given.vi))


def _film(given: argparse.Namespace) -> "Film":
    """Open the videos and prepare the run.

    Raises:
        UserError: a video cannot be used, or there is an unfinished result and nothing said about it.
    """
    from app.film import Film
    from app.follow import Follower
    from app.unfinished import Unfinished, recipe
    from utils.video.reading import Video

    infrared, visible = Video(given.ir), Video(given.vi)
    rules = {"align": given.align, "resize": given.resize, "steady": given.steady, "quality": given.quality,
             "model": given.model or "defusionpp_hr"}
    unfinished = Unfinished(given.out, recipe(infrared, visible, **rules))
    if given.resume:
        unfinished.read()
    elif given.overwrite:
        unfinished.remove()
    elif unfinished.video.exists():
        raise UserError(f"{unfinished.video} was left by an interrupted run; give --resume to go on, or --overwrite to "
                        "begin anew")
    if not given.json:
        sys.stderr.write(f"fusing {given.ir} and {given.vi} with {rules['model']}\n")
    follower = Follower(infrared, visible, given.align, resize=given.resize, kept=unfinished.alignment,
                        begin=unfinished.frames)
    fuser = make_fuser(given.model, given.device)
    batch = given.batch or (1 if fuser.device.type == "cpu" else 8)
    film = Film(infrared, visible, unfinished, follower, fuser, steady=given.steady, batch=batch,
                quality=given.quality)
    if follower.doubt:
        film.told.notes.append(follower.doubt)
    if not given.json:
        _note(film.told.notes)
    return film


def _note(lines: list[str]) -> None:
    sys.stderr.write("".join(f"note: {line}\n" for line in lines))


def _say(told: "Told", as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(vars(told)) + "\n")
        return
    if told.status == "kept":
        sys.stdout.write(f"{told.out}: kept, newer than its sources\n")
        return
    sys.stdout.write(f"{told.out}: {told.frames} frames of {told.size[0]} x {told.size[1]} fused, {told.rate:g} "
                     "frames/s\n")
