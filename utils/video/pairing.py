"""Pairs the frames of two videos in time."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from utils.video.reading import Frame


def nearest_pairs(infrared: Iterable[Frame], visible: Iterable[Frame]) -> Iterator[tuple[Frame, Frame]]:
    """Each visible frame with the infrared frame nearest in time; of two equally near ones the earlier.

    Times count from the first frame of each video. The pairs end with the shorter video: a visible frame that is later
    than the last infrared frame by more than one infrared frame lasts has no partner. Holds two infrared frames.
    """
    frames = iter(infrared)
    current = next(frames, None)
    coming = next(frames, None)
    lasts = Fraction(0)
    for frame in visible:
        while coming is not None and abs(coming.seconds - frame.seconds) < abs(current.seconds - frame.seconds):
            lasts = coming.seconds - current.seconds
            current, coming = coming, next(frames, None)
        if current is None or (coming is None and frame.seconds - current.seconds > lasts):
            return
        yield current, frame
