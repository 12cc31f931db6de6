"""Metadata in the files of JPEG, PNG and WebP, and the metadata of results.

The metadata of TIFF, HEIC, AVIF and raw files are read where their pixels are.
"""

import struct
import zlib
from collections.abc import Iterable

import numpy as np

from utils.pictures import exif as records
from utils.pictures.content import Metadata
from utils.pictures.notes import note_once
from utils.pictures.structure import PNG, is_jpeg, is_png, is_webp, jpeg_segments, png_chunks, webp_chunks

__all__ = ["Metadata", "into_png", "read_metadata", "result_metadata", "turned"]

_APP1, _APP2 = 0xE1, 0xE2
_ICC, _XMP = b"ICC_PROFILE\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
_IHDR_END = len(PNG) + 25
_LARGEST = 1 << 24  # bytes of an inflated profile or packet


def read_metadata(data: bytes) -> Metadata:
    """The metadata of a JPEG, PNG or WebP; empty for other formats."""
    if is_jpeg(data):
        icc, exif, xmp = _of_jpeg(data)
    elif is_png(data):
        icc, exif, xmp = _of_png(data)
    elif is_webp(data):
        found = {kind: data[start:end] for kind, start, end in webp_chunks(data) if kind in (b"ICCP", b"EXIF", b"XMP ")}
        icc, exif, xmp = (found.get(kind) for kind in (b"ICCP", b"EXIF", b"XMP "))
    else:
        return Metadata()
    exif = exif and exif.removeprefix(records.PREFIX)
    return Metadata(icc, exif, records.orientation(exif) if exif else 1, xmp)


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
    """Metadata of a fused picture: profile, EXIF record and XMP packet of the first source that has them.

    A profile that does not fit the number of channels is dropped, with a log line.

    Args:
        sources: metadata of the sources, the most important first: of an infrared pair the visible one.
        fused: the fused picture, (H, W) or (H, W, C).
    """
    channels = fused.shape[2] if fused.ndim == 3 else 1
    icc = exif = xmp = None
    for source in sources:
        profile = source.profile_for(channels)
        if source.icc and not profile:
            space = source.icc[16:20].decode("latin-1").strip() or "unknown"
            note_once(f"a colour profile for {space} is not kept, as results are {'grey' if channels == 1 else 'RGB'}",
                      key=f"profile {space} {channels}")
        icc, exif, xmp = icc or profile, exif or source.exif, xmp or source.xmp
    return Metadata(icc, exif, xmp=xmp)


def into_png(encoded: bytes, metadata: Metadata) -> bytes:
    """Insert metadata after the header of an encoded PNG."""
    chunks = b""
    if metadata.icc:
        chunks += _chunk(b"iCCP", b"icc\0\0" + zlib.compress(metadata.icc))
    if metadata.exif:
        chunks += _chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        chunks += _chunk(b"iTXt", _XMP_KEYWORD + bytes(4) + metadata.xmp)  # not compressed, no language, no translation
    return encoded[:_IHDR_END] + chunks + encoded[_IHDR_END:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _of_jpeg(data: bytes) -> tuple[bytes | None, bytes | None, bytes | None]:
    exif, xmp, parts = None, None, {}
    for marker, start, end in jpeg_segments(data):
        content = data[start:end]
        if marker == _APP1 and exif is None and content.startswith(records.PREFIX):
            exif = content.removeprefix(records.PREFIX)
        elif marker == _APP1 and xmp is None and content.startswith(_XMP):
            xmp = content.removeprefix(_XMP)
        elif marker == _APP2 and content.startswith(_ICC) and len(content) > len(_ICC) + 2:
            parts[content[len(_ICC)]] = content[len(_ICC) + 2:]
    return b"".join(parts[number] for number in sorted(parts)) or None, exif, xmp


def _of_png(data: bytes) -> tuple[bytes | None, bytes | None, bytes | None]:
    found = {}
    for kind, start, end in png_chunks(data):
        if kind in (b"iCCP", b"eXIf") or (kind == b"iTXt" and data.startswith(_XMP_KEYWORD, start)):
            found[kind] = data[start:end]
    return _profile_of_png(found.get(b"iCCP")), found.get(b"eXIf"), _packet_of_png(found.get(b"iTXt"))


def _profile_of_png(chunk: bytes | None) -> bytes | None:
    """The profile in an iCCP chunk (name, zero, method, deflated profile)."""
    return _inflated(chunk.partition(b"\0")[2][1:]) if chunk else None


def _packet_of_png(chunk: bytes | None) -> bytes | None:
    """The packet in an iTXt chunk (keyword, whether deflated, method, language, zero, translation, zero, text)."""
    if not chunk:
        return None
    deflated, *_ = chunk[len(_XMP_KEYWORD):] or b"\0"
    text = chunk[len(_XMP_KEYWORD) + 2:].split(b"\0", 2)[-1]
    return _inflated(text) if deflated else text


def _inflated(packed: bytes) -> bytes | None:
    """Inflated data; None if damaged or over 16 MB."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(packed, _LARGEST)
    except zlib.error:
        return None
    return content if unpacker.eof else None
