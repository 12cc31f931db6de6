"""Fuses an infrared and a visible video, frame by frame, into a growing video, and joins that with the sound."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from app.follow import PERIOD, Follower
from app.unfinished import Unfinished
from utils.cli import finishing
from utils.errors import UserError
from utils.video.joining import join
from utils.video.pairing import nearest_pairs
from utils.video.reading import DamagedVideo, Frame, Video
from utils.video.steady import Steady
from utils.video.writing import GrowingVideo, Look

if TYPE_CHECKING:
    from models.fuser import Fuser

PIECE = PERIOD
"""Frames written at a time, each piece from a key frame on. What an interrupted run loses at most."""


@dataclass
class Told:
    """The outcome; the fields of the ``--json`` line.

    Attributes:
        out: the fused video.
        sources: infrared and visible video.
        status: fused, kept, or unfinished.
        frames: frames of the result.
        size: (width, height).
        seconds: time spent fusing, without the frames of an earlier run.
        rate: frames fused in a second.
        alignment: of the last frames.
        notes: remarks.
        damaged: a source ended early because it is damaged.
    """

    out: str
    sources: list[str]
    status: str = "unfinished"
    frames: int = 0
    size: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    rate: float = 0.0
    alignment: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    damaged: bool = False


class Film:
    """One run.

    Args:
        infrared, visible: the videos.
        unfinished: the state to begin with and to keep up.
        follower: aligns the frames.
        fuser: fuses them.
        steady: earlier frames that the filter along time looks at.
        batch: frames fused at once.
        quality: see ``Look``.
    """

    def __init__(self, infrared: Video, visible: Video, unfinished: Unfinished, follower: Follower, fuser: "Fuser", *,
                 steady: int, batch: int, quality: int) -> None:
        self.infrared, self.visible, self.unfinished = infrared, visible, unfinished
        self.follower, self.fuser, self.batch = follower, fuser, batch
        self.told = Told(str(unfinished.out), [str(infrared.path), str(visible.path)], frames=unfinished.frames)
        self.told.notes = _notes(infrared, visible)
        self.told.size = visible.size[0] // 2 * 2, visible.size[1] // 2 * 2
        look = Look(self.told.size, visible.rate, visible.time_base, visible.aspect, visible.colour, quality)
        self._growing = GrowingVideo(unfinished.video, look, unfinished.length)
        self._look_back, self._steady = steady, Steady(steady)
        self._last: Frame | None = None  # the visible frame that was read last, and whether it found a partner
        self._used = False

    def run(self) -> Told:
        """Fuse what is left, and write the result.

        Raises:
            UserError: the videos share no time, or the result cannot be written.
        """
        piece: list[tuple[int, np.ndarray]] = []
        start, before = time.perf_counter(), self.unfinished.frames
        try:
            for pts, pixels in self._fused():
                piece.append((pts, pixels))
                if len(piece) == PIECE:
                    self._write(piece)
                    piece.clear()
                self.told.seconds = time.perf_counter() - start
        except DamagedVideo as error:
            if not self.unfinished.frames + len(piece):
                raise
            self.told.notes.append(f"{error}; fused up to there")
            self.told.damaged = True
        except KeyboardInterrupt:
            if piece:  # to be seen; a run that goes on fuses them again, so that its pieces are those of any run
                with finishing():
                    self._growing.append(piece)
            raise
        if piece:
            self._write(piece)
        self.told.frames = self.unfinished.frames
        self.told.rate = round((self.told.frames - before) / max(self.told.seconds, 1e-6), 2)
        self.told.alignment = self.follower.record()
        self._finish()
        return self.told

    def _write(self, piece: Sequence[tuple[int, np.ndarray]]) -> None:
        with finishing():
            self._growing.append(piece)
            self.unfinished.frames += len(piece)
            self.unfinished.length = self._growing.length
            self.unfinished.alignment = self.follower.state()
            self.unfinished.write()

    def _finish(self) -> None:
        if not self.told.frames:
            raise UserError(f"{self.infrared.path} and {self.visible.path} have no frame in common")
        sound = self.visible if self.visible.sound or not self.infrared.sound else self.infrared
        rest = self._last.pts * self.visible.time_base if self._last and not self._used else None
        self.told.notes += join(self.unfinished.video, sound.path, self.unfinished.out, self.visible.rate, rest)
        self.unfinished.remove()
        self.told.status = "fused"

    def _fused(self) -> Iterator[tuple[int, np.ndarray]]:
        """Time and pixels of each fused frame from the first one that is not done."""
        done = self.unfinished.frames
        with tqdm(total=self._expected(), initial=done, unit="frame", leave=False, disable=None) as bar:
            for number, pts, pixels in self._steadied(max(0, done - self._look_back)):
                if number >= done:
                    bar.update()
                    yield pts, pixels

    def _expected(self) -> int | None:
        """Frames of the result as far as the files say, for the time that is left."""
        lasts = self.infrared.duration, self.visible.duration
        if self.visible.count is None or None in lasts or lasts[0] >= lasts[1]:
            return self.visible.count
        return round(self.visible.count * lasts[0] / lasts[1])

    def _steadied(self, begin: int) -> Iterator[tuple[int, int, np.ndarray]]:
        for group in self._groups(begin):
            scenes = [scene for _, _, scene in group]
            for (number, pts, scene), fused in zip(group, self.fuser.batch(scenes, task="IVF")):
                yield number, pts, self._steady(fused, scene)

    def _groups(self, begin: int) -> Iterator[list[tuple[int, int, list[np.ndarray]]]]:
        """Number, time and aligned pixels of the pairs, some at once; no group reaches over the end of a piece."""
        group: list[tuple[int, int, list[np.ndarray]]] = []
        damage = None
        try:
            for number, (infrared, visible) in enumerate(nearest_pairs(self.infrared.frames(), self._read())):
                self._used = True
                if number < begin:
                    continue
                group.append((number, visible.pts, self.follower(number, infrared.pixels(), visible.pixels())))
                if len(group) == self.batch or (number + 1) % PIECE == 0:
                    yield group
                    group = []
        except DamagedVideo as error:
            damage = error
        if group:
            yield group
        if damage:
            raise damage

    def _read(self) -> Iterator[Frame]:
        """The visible frames; notes whether the last one found a partner."""
        for frame in self.visible.frames():
            self._last, self._used = frame, False
            yield frame


def _notes(infrared: Video, visible: Video) -> list[str]:
    """What a user should know about the videos before they are fused."""
    notes = []
    if abs(infrared.rate / visible.rate - 1) > 0.01:
        notes.append(f"{infrared.path} has {_plain(infrared.rate)} frames/s, {visible.path} {_plain(visible.rate)}; "
                     "each visible frame is fused with the infrared frame nearest in time")
    if infrared.duration and visible.duration:
        both = sorted((infrared, visible), key=lambda one: one.duration)
        if both[1].duration - both[0].duration > float(1 / min(infrared.rate, visible.rate)):
            notes.append(f"{both[0].path} lasts {both[0].duration:.2f} s, {both[1].path} {both[1].duration:.2f} s; "
                         "fused is the time that both show")
    odd = " and ".join(name for name, side in zip(("column", "row"), visible.size) if side % 2)
    if odd:
        notes.append(f"{visible.path} has {visible.size[0]} x {visible.size[1]} pixels; a video needs even sides; the "
                     f"last {odd} is cut off")
    notes += [f"{one.path} has {one.depth} bits; read with 8" for one in (infrared, visible) if one.depth > 8]
    return notes


def _plain(rate: Fraction) -> str:
    return f"{float(rate):.2f}".rstrip("0").rstrip(".")
