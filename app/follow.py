"""Alignment of an infrared with a visible video: estimated once, or followed along the way."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import numpy as np

from utils.errors import UserError
from utils.pictures.alignment import Alignment, AlignRule, Calibration, align_arrays, find_alignment
from utils.pictures.alignment.estimate import CREDIBLE
from utils.pictures.alignment.geometry import resizing, unit_grey
from utils.video.pairing import nearest_pairs
from utils.video.reading import Video

Follow = Literal["none", "once", "track"]

PERIOD = 24
"""Frames between two estimates of ``track``."""
_TRIES = 5  # pairs, PERIOD apart, that are tried for the first alignment


class Follower:
    """Puts infrared frames on the grid of the visible ones; where they show nothing, the visible frame is shown.

    ``once``: the first clear alignment of five pairs, or the best of them. ``track``: also an estimate every
    ``PERIOD`` frames, ahead of the fusing by readers of its own, and between two of them their linear interpolation.
    An estimate that is not credible is replaced by the one before.

    Args:
        infrared, visible: the videos.
        how: see above; ``none`` aligns nothing.
        resize: without alignment, enlarge or shrink infrared frames to the size of the visible ones.
        kept: what :meth:`state` gave when ``begin`` frames were done.
        begin: frames that are done, a multiple of ``PERIOD``.

    Attributes:
        doubt: a line if no alignment is credible and the frames are fused as they lie; else None.

    Raises:
        UserError: sizes differ, and there is no alignment or no credible one.
    """

    def __init__(self, infrared: Video, visible: Video, how: Follow, *, resize: bool = False,
                 kept: list[list[float]] | None = None, begin: int = 0) -> None:
        self.how, self.doubt = how, None
        self._path, self._sizes = infrared.path, (visible.size, infrared.size)
        self._videos = infrared, visible
        if kept:
            self._ends = [self._alignment(np.reshape(matrix, (3, 3)), confidence) for *matrix, confidence in kept]
        elif how != "none":
            self._ends = [self._first()] * 2
        else:
            self._ends = [self._unmoved(resize)] * 2
        # Before the first estimate both ends are the first alignment; a stretch begins with the end of the one before.
        self._stretch = begin // PERIOD - 1
        self._ahead = self._estimates(begin + PERIOD) if how == "track" else iter(())

    def __call__(self, number: int, infrared: np.ndarray, visible: np.ndarray) -> list[np.ndarray]:
        """Align a pair.

        Args:
            number: of the pair, rising from call to call.
            infrared, visible: (H, W, 1 or 3) ``uint8``.

        Returns:
            Both on the visible frame's grid.
        """
        while self._stretch < number // PERIOD:
            self._stretch += 1
            self._ends = [self._ends[1], next(self._ahead, self._ends[1])]
        share = number % PERIOD / PERIOD
        start, end = self._ends
        between = start if start is end else self._alignment(
            (1 - share) * start.matrix + share * end.matrix, min(start.confidence, end.confidence))
        rule = AlignRule("none", "second", "fill", Calibration(between, self._path))
        return align_arrays([infrared, visible], rule, ["the infrared frame", "the visible frame"]).pixels

    def state(self) -> list[list[float]] | None:
        """Plain values from which a run goes on after a whole number of periods; None if nothing is aligned."""
        if not self._ends[1].credible:
            return None
        return [[*end.matrix.ravel().tolist(), end.confidence] for end in self._ends]

    def record(self) -> dict[str, Any] | None:
        """The present alignment as plain values for JSON; None without alignment."""
        return None if self.how == "none" else self._ends[1].record()

    def _alignment(self, matrix: np.ndarray, confidence: float) -> Alignment:
        return Alignment(matrix / matrix[2, 2], *self._sizes, confidence=confidence)

    def _unmoved(self, resize: bool) -> Alignment:
        size, own = self._sizes
        if size != own and not resize:
            raise UserError(f"{self._path} has {own[0]} x {own[1]} pixels, {self._videos[1].path} {size[0]} x {size[1]}"
                            "; --align; give --align once, or --resize if both show the same field of view")
        return self._alignment(resizing(size, own), 1.0)

    def _first(self) -> Alignment:
        best = None
        for found in islice(self._found(0), _TRIES):
            best = found if best is None or found.confidence > best.confidence else best
            if best.confidence > 2 * CREDIBLE:
                break
        if best is not None and best.credible:
            return best
        size, own = self._sizes
        confidence = 0.0 if best is None else best.confidence
        self.doubt = (f"{self._path}: no credible alignment with {self._videos[1].path} (confidence {confidence:.2f}); "
                      f"--align {self.how}; ")
        if size != own:
            raise UserError(self.doubt + "register the videos first, or give --resize without --align")
        self.doubt += "fused as they lie"
        return self._alignment(np.eye(3), 0.0)

    def _estimates(self, begin: int) -> Iterator[Alignment]:
        """The alignments from pair ``begin`` on, every ``PERIOD`` pairs; the one before where one is not credible."""
        last = self._ends[1]
        for found in self._found(begin):
            last = found if found.credible else last
            yield last

    def _found(self, begin: int) -> Iterator[Alignment]:
        infrared, visible = self._videos
        pairs = nearest_pairs(infrared.frames(), visible.frames())
        for one, other in islice(pairs, begin, None, PERIOD):
            yield find_alignment(unit_grey(other.pixels()), unit_grey(one.pixels()))

