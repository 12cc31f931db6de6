"""Scores fused videos against their sources by the temporal metrics (`metrics/temporal.py`).

    python -m metrics.videos --a ir.mp4 --b vi.mp4 --fused ours.mp4 theirs.mp4

Sources are taken at the times of the fused frames, nearest in time.
"""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metrics.temporal import NAMES, TemporalScores
from utils import cli
from utils.errors import UserError
from utils.video.pairing import nearest_pairs
from utils.video.reading import Video


def score_video(a: Video, b: Video, fused: Video) -> dict[str, float]:
    """The temporal metrics of a fused video.

    Args:
        a, b: its sources. Sides that are longer than those of the fused video by one pixel, which an odd side was cut
            by, are cut too.
        fused: the fused video.

    Raises:
        UserError: other sizes, or a video that cannot be read.
    """
    for source in (a, b):
        if any(not 0 <= side - own <= 1 for side, own in zip(source.size, fused.size)):
            raise UserError(f"{source.path} has {source.size[0]} x {source.size[1]} pixels, {fused.path} "
                            f"{fused.size[0]} x {fused.size[1]}; give sources aligned with the fused video")
    width, height = fused.size
    scores = TemporalScores()
    pairs = zip(nearest_pairs(a.frames(), fused.frames()), nearest_pairs(b.frames(), fused.frames()))
    with tqdm(pairs, total=fused.count, unit="frame", desc=fused.path.name, leave=False, disable=None) as bar:
        for (first, frame), (second, _) in bar:
            scores.add(*(np.ascontiguousarray(one.pixels()[:height, :width]) for one in (first, second, frame)))
    return scores.result()


def main(arguments: list[str]) -> int:
    """Run the command: a line for each fused video."""
    line = cli.Parser("python -m metrics.videos", description="Score fused videos by flicker, BiSWE and MS2R.",
                   epilog="Lower is steadier. docs/METRICS.md, section Videos, has the definitions.")
    for side in ("a", "b"):
        line.add_argument(f"--{side}", type=Path, required=True, metavar="FILE",
                          help=f"{'first' if side == 'a' else 'second'} source")
    line.add_argument("--fused", type=Path, nargs="+", required=True, metavar="FILE", help="fused videos")
    given = line.parse_args(arguments)
    a, b, *fused = map(Video, (given.a, given.b, *given.fused))
    width = max(len(str(video.path)) for video in fused)
    sys.stdout.write("".join([f"{'video':<{width}}", *(f"{name:>10}" for name in NAMES), "\n"]))
    for video in fused:
        values = score_video(a, b, video)
        sys.stdout.write("".join([f"{video.path!s:<{width}}", *(f"{values[name]:>10.4f}" for name in NAMES), "\n"]))
    return 0


if __name__ == "__main__":
    cli.run(main)
