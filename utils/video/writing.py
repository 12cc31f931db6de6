"""Writes a video piece by piece into a file that is playable, and can be continued, at any moment.

The file is a fragmented MP4: a header, then one fragment for each piece. A piece is encoded by itself, from a key frame
on and without frames that refer to later ones, so its bytes do not depend on what was written before, and a run that is
continued writes the same file as one that was not interrupted. Appending never changes bytes that are there: after a
crash at most the last piece is incomplete, and players stop before it.
"""

import io
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from utils.errors import UserError
from utils.video.reading import EXACT, Colour

_ENCODER = "libx264"
_SETTINGS = {"preset": "medium", "bf": "0", "g": "1000"}
# FFmpeg's number of a colour matrix -> the converter's, which knows BT.601 by one number only.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
_HEADER, _FRAGMENT = (b"ftyp", b"moov"), (b"moof", b"mdat")


@dataclass(frozen=True)
class Look:
    """How a video is stored.

    Attributes:
        size: (width, height) in pixels, even.
        rate: mean frames per second.
        time_base: unit of the frames' times in seconds.
        aspect: width of a pixel over its height.
        colour: matrix, primaries and transfer curve.
        quality: x264's constant rate factor; 18 can hardly be told from the frames, 0 is lossless.
    """

    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    aspect: Fraction = Fraction(1)
    colour: Colour = field(default_factory=Colour)
    quality: int = 18


class GrowingVideo:
    """A video file to which pieces are appended.

    Args:
        path: the file; made with the first piece.
        look: how frames are stored.
        kept: bytes to keep of an existing file; the first piece replaces what follows.

    Raises:
        UserError: the file is shorter than ``kept``, or PyAV comes without the encoder.
    """

    def __init__(self, path: Path, look: Look, kept: int = 0) -> None:
        self.path, self.look, self.length = path, look, kept
        if _ENCODER not in av.codecs_available:
            raise UserError(f"PyAV was built without {_ENCODER}; -o; install the wheel: pip install av")
        self._header = None
        if kept:
            if not path.exists() or path.stat().st_size < kept:
                raise UserError(f"{path} is shorter than it was left; --resume; give --overwrite to begin anew")
            with path.open("rb") as file:
                self._header = _parts(file.read(1 << 16), _HEADER)

    def append(self, frames: Sequence[tuple[int, np.ndarray]]) -> None:
        """Encode frames as one piece and write it to the disk.

        Args:
            frames: pts and pixels, (H, W, 1 or 3) ``uint8``, of at least the look's size; what is beyond is cut off.

        Raises:
            UserError: the disk is full, or the encoder's settings differ from those of the file.
        """
        piece = self._encoded(frames)
        header = _parts(piece, _HEADER)
        if self._header is not None and header != self._header:
            raise UserError(f"{self.path} was encoded by another version; --resume; give --overwrite to begin anew")
        data = (header if self._header is None else b"") + _parts(piece, _FRAGMENT)
        try:
            with self.path.open("wb" if self._header is None else "r+b") as file:
                file.seek(self.length)
                file.write(data)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self.path} could not be written ({error.strerror}); make room, then --resume") from error
        self._header, self.length = header, self.length + len(data)

    def _encoded(self, frames: Sequence[tuple[int, np.ndarray]]) -> bytes:
        look, buffer = self.look, io.BytesIO()
        options = {"movflags": "empty_moov+default_base_moof+frag_custom+frag_discont", "use_editlist": "0",
                   "avoid_negative_ts": "disabled", "video_track_timescale": str(look.time_base.denominator),
                   "fragment_index": str(frames[0][0] % 2**31 + 1)}
        with av.open(buffer, "w", format="mp4", options=options) as container:
            stream = container.add_stream(_ENCODER, rate=look.rate,
                                          options={**_SETTINGS, "crf": str(look.quality)})
            context = stream.codec_context
            context.width, context.height = look.size
            context.pix_fmt, context.time_base = "yuv420p", look.time_base
            context.sample_aspect_ratio = look.aspect
            context.colorspace, context.color_range = look.colour.matrix, 1
            context.color_primaries, context.color_trc = look.colour.primaries, look.colour.transfer
            for pts, pixels in frames:
                container.mux(stream.encode(self._frame(pts, pixels)))
            container.mux(stream.encode())
        return buffer.getvalue()

    def _frame(self, pts: int, pixels: np.ndarray) -> av.VideoFrame:
        width, height = self.look.size
        colour = np.broadcast_to(pixels[:height, :width], (height, width, 3))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(colour), "rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_MATRICES.get(self.look.colour.matrix),
                               interpolation=EXACT)
        frame.pts, frame.time_base = pts, self.look.time_base
        return frame


def _parts(data: bytes, kinds: Sequence[bytes]) -> bytes:
    """The boxes of these kinds of an MP4, in their order."""
    return b"".join(data[start:start + size] for kind, start, size in _boxes(data) if kind in kinds)


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and size in bytes of each top-level box."""
    start = 0
    while start + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[start:start + 8])
        if size == 1:
            size, = struct.unpack(">Q", data[start + 8:start + 16])
        yield kind, start, max(size, 8)
        start += max(size, 8)
