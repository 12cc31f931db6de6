"""Reads the frames of a video one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation

from utils.errors import MissingFileError, UserError

EXACT = int(Interpolation.BILINEAR) | 0x2000 | 0x40000
"""How colours are converted: with all chroma and exact rounding (FFmpeg's SWS_FULL_CHR_H_INT and SWS_ACCURATE_RND); by
default they would be half a level too dark."""
_WHOLE = 0.95  # share of the stored frames; decoders skip a few, and end silently where all that follows is damaged
# Demuxers of pictures and texts, which FFmpeg also opens as videos of one frame.
_NO_VIDEOS = ("_pipe", "image2", "tty")


class DamagedVideo(UserError):
    """A video that cannot be read from some place on."""


@dataclass(frozen=True)
class Colour:
    """How a video stores colour: FFmpeg's numbers of the matrix, the primaries and the transfer curve; 2: not said."""

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        pts: presentation time in the video's time base.
        seconds: presentation time since the first frame.
        image: the decoded frame.
    """

    pts: int
    seconds: Fraction
    image: av.VideoFrame

    def pixels(self) -> np.ndarray:
        """(H, W, 1) or (H, W, 3) RGB, ``uint8``, turned upright."""
        grey = self.image.format.name.startswith("gray")
        pixels = self.image.reformat(format="gray" if grey else "rgb24", interpolation=EXACT).to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels[..., None] if grey else pixels, self.image.rotation // 90))


class Video:
    """A video file; its first picture track that is not a cover.

    Args:
        path: the file.

    Attributes:
        size: (width, height) of the upright frames.
        rate: mean frames per second.
        time_base: unit of ``pts`` in seconds.
        count: number of frames according to the file, or from its duration; None if the file does not say.
        duration: seconds, None if the file does not say.
        aspect: width of an upright pixel over its height.
        colour: how the frames store colour.
        depth: bits per channel.
        sound: number of sound tracks.

    Raises:
        UserError: the file is missing, is no video, or has no frame that can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as container:
            stream = _pictures(container, path)
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise UserError(f"{path}: no frame can be decoded; record or convert it again")
            turned = first.rotation % 180 != 0
            self.size = (first.height, first.width) if turned else (first.width, first.height)
            self.time_base = stream.time_base
            self.rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            self.duration = _duration(container, stream)
            self._stored = stream.frames
            self.count = self._stored or (round(self.duration * self.rate) if self.duration else None)
            aspect = stream.sample_aspect_ratio or Fraction(1)
            self.aspect = 1 / aspect if turned else aspect
            codec = stream.codec_context
            self.colour = Colour(int(first.colorspace), int(codec.color_primaries), int(codec.color_trc))
            self.depth = max(part.bits for part in first.format.components)
            self.sound = len(container.streams.audio)

    def frames(self) -> Iterator[Frame]:
        """The frames in order of time, from the beginning; memory does not grow with the length.

        A frame without a time follows the one before at the mean rate. One that is not later than the one before is
        left out.

        Raises:
            DamagedVideo: the file is damaged at some place, or changes the size of its frames.
        """
        step = max(1, round(1 / self.rate / self.time_base))
        start = last = None
        number = 0
        with _opened(self.path) as container:
            for image in self._decoded(container, _pictures(container, self.path)):
                number += 1
                pts = image.pts if image.pts is not None else 0 if last is None else last + step
                if last is not None and pts <= last:
                    continue
                start, last = pts if start is None else start, pts
                seconds = (pts - start) * self.time_base
                if sorted((image.width, image.height)) != sorted(self.size):
                    raise DamagedVideo(f"{self.path}: frames of {image.width} x {image.height} instead of "
                                       f"{self.size[0]} x {self.size[1]} after {float(seconds):.2f} s; convert it to "
                                       "one size")
                yield Frame(pts, seconds, image)
        if number < _WHOLE * self._stored - 2:
            raise DamagedVideo(f"{self.path}: damaged after {float(seconds):.2f} s ({number} of {self._stored} frames "
                               "can be decoded); convert it again")

    def _decoded(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        stream.thread_type = "AUTO"
        last = None
        try:
            for image in container.decode(stream):
                yield image
                last = image
        except av.FFmpegError as error:
            where = "at its first frame" if last is None else f"after {float(last.time or 0):.2f} s"
            raise DamagedVideo(f"{self.path}: damaged {where} ({error.strerror}); convert it again") from error


def _opened(path: Path) -> av.container.InputContainer:
    """Open a file that may be a video.

    Raises:
        UserError: it is missing or cannot be one.
    """
    if not path.exists():
        raise MissingFileError(f"no file {path}; check the path")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path}: not a video, or cut short ({error.strerror}); give a file such as .mp4, .mkv, .mov "
                        "or .avi") from error
    if any(word in container.format.name for word in _NO_VIDEOS):
        container.close()
        raise UserError(f"{path}: not a video; pictures are fused by defusionpp fuse")
    return container


def _pictures(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The picture track.

    Raises:
        UserError: there is none.
    """
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            return stream
    raise UserError(f"{path}: no picture track; give a video")


def _duration(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None
