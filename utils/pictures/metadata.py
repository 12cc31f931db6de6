"""Metadata of picture files: EXIF orientation, EXIF record and colour profile (ICC)."""

import struct
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from utils.pictures.notes import note_once
from utils.pictures.structure import PNG, is_jpeg, is_png, is_webp, jpeg_segments, png_chunks, webp_chunks

# A broken record is ignored, and PIL's messages about it do not name the file.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")

_ORIENTATION = 0x0112
_APP1, _APP2 = 0xE1, 0xE2
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"
_PROFILE_SPACE = {1: b"GRAY", 3: b"RGB "}
_IHDR_END = len(PNG) + 25


@dataclass(frozen=True)
class Metadata:
    """Metadata kept from a file.

    Attributes:
        icc: colour profile.
        exif: EXIF record, starting with its TIFF header.
        turn: EXIF orientation of the stored pixels, 1 (upright) to 8.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    turn: int = 1

    @property
    def swaps_sides(self) -> bool:
        """Whether the orientation swaps width and height."""
        return self.turn > 4

    def profile_for(self, channels: int) -> bytes | None:
        """The profile if it is for pictures with this number of channels, 1 (grey) or 3 (RGB); else None."""
        fits = self.icc is not None and self.icc[16:20] == _PROFILE_SPACE.get(channels)
        return self.icc if fits else None

    def upright_exif(self) -> bytes | None:
        """The EXIF record without its orientation, for pixels already rotated upright; None if there is none."""
        if not self.exif:
            return None
        record = Image.Exif()
        try:
            record.load(self.exif)
            record.pop(_ORIENTATION, None)
            return record.tobytes().removeprefix(_EXIF)
        except Exception:  # a broken record raises whatever its parser meets
            return None


def read_metadata(data: bytes) -> Metadata:
    """The metadata of a JPEG, PNG or WebP; empty for other formats (TIFF: ``utils/pictures/tiff.py``)."""
    if is_jpeg(data):
        return _with_turn(*_of_jpeg(data))
    if is_png(data):
        found = {kind: data[start:end] for kind, start, end in png_chunks(data) if kind in (b"iCCP", b"eXIf")}
        return _with_turn(_inflate_profile(found.get(b"iCCP")), found.get(b"eXIf"))
    if is_webp(data):
        found = {kind: data[start:end] for kind, start, end in webp_chunks(data) if kind in (b"ICCP", b"EXIF")}
        exif = found.get(b"EXIF")
        return _with_turn(found.get(b"ICCP"), exif and exif.removeprefix(_EXIF))
    return Metadata()


def turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Apply an EXIF orientation of 1 to 8 to pixels (H, W, C), as viewers do."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def result_metadata(sources: Iterable[Metadata], fused: np.ndarray) -> Metadata:
    """Metadata of a fused picture: profile and EXIF record of the last source that has them.

    The last source of an infrared pair is the visible one. A profile that does not fit the number of channels is
    dropped, with a log line.

    Args:
        sources: metadata of the sources, in order.
        fused: the fused picture, (H, W) or (H, W, C).
    """
    channels = fused.shape[2] if fused.ndim == 3 else 1
    icc = exif = None
    for source in sources:
        profile = source.profile_for(channels)
        if source.icc and not profile:
            space = source.icc[16:20].decode("latin-1").strip() or "unknown"
            note_once(f"a colour profile for {space} is not kept, as results are {'grey' if channels == 1 else 'RGB'}",
                      key=f"profile {space} {channels}")
        icc, exif = profile or icc, source.exif or exif
    return Metadata(icc, exif)


def into_png(encoded: bytes, metadata: Metadata, channels: int) -> bytes:
    """Insert the profile (if it fits the channels) and the upright EXIF record after the header of an encoded PNG."""
    icc, exif = metadata.profile_for(channels), metadata.upright_exif()
    chunks = _chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc)) if icc else b""
    chunks += _chunk(b"eXIf", exif) if exif else b""
    return encoded[:_IHDR_END] + chunks + encoded[_IHDR_END:] if chunks else encoded


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _with_turn(icc: bytes | None, exif: bytes | None) -> Metadata:
    turn = 1
    if exif:
        record = Image.Exif()
        try:
            record.load(exif)
            turn = record.get(_ORIENTATION, 1)
        except Exception:  # a broken record raises whatever its parser meets
            turn = 1
    return Metadata(icc, exif, turn if turn in range(1, 9) else 1)


def _of_jpeg(data: bytes) -> tuple[bytes | None, bytes | None]:
    exif, parts = None, {}
    for marker, start, end in jpeg_segments(data):
        content = data[start:end]
        if marker == _APP1 and exif is None and content.startswith(_EXIF):
            exif = content.removeprefix(_EXIF)
        elif marker == _APP2 and content.startswith(_ICC) and len(content) > len(_ICC) + 2:
            parts[content[len(_ICC)]] = content[len(_ICC) + 2:]
    return b"".join(parts[number] for number in sorted(parts)) or None, exif


def _inflate_profile(chunk: bytes | None) -> bytes | None:
    """The profile in an iCCP chunk (name, zero, method, deflated profile); None if damaged or over 16 MB."""
    if not chunk:
        return None
    _, _, rest = chunk.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(rest[1:], 1 << 24)
    except zlib.error:
        return None
    return profile if unpacker.eof else None
