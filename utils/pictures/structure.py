"""Checks the structure of encoded pictures without decoding them: completeness, size and segments.

Some OpenCV versions decode a truncated JPEG or PNG without an error and fill the missing part with grey. Therefore
the structure of each file (end marker, chunk checksums, declared size) is checked before decoding. For TIFF see
``utils/pictures/tiff.py``, for HEIC, AVIF and CR3 ``boxes.py``, for EXR and Radiance ``floats.py``.
"""

import re
import struct
import zlib
from collections.abc import Iterator

from utils.pictures.boxes import boxes_fault, boxes_size, is_avif, is_heic
from utils.pictures.extras import check
from utils.pictures.floats import exr_fault, exr_size, hdr_fault, hdr_size, is_exr, is_hdr
from utils.pictures.raw import is_raw, raw_fault
from utils.pictures.tiff import tiff_fault

PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_PNM = re.compile(rb"P([2356])" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d+)" + rb"\s")


def is_jpeg(data: bytes) -> bool:
    """Whether the data start with a JPEG signature."""
    return data.startswith(b"\xff\xd8")


def is_png(data: bytes) -> bool:
    """Whether the data start with a PNG signature."""
    return data.startswith(PNG)


def is_webp(data: bytes) -> bool:
    """Whether the data start with a WebP signature."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def is_tiff(data: bytes) -> bool:
    """Whether the data start with a TIFF or BigTIFF signature."""
    return data[:4] in _TIFF


def pnm_header(data: bytes) -> tuple[int, int, int, int, int] | None:
    """(kind 2, 3, 5 or 6, width, height, maximum value, header length) of a PGM or PPM; None for other files."""
    match = _PNM.match(data)
    if not match:
        return None
    kind, width, height, highest = (int(group) for group in match.groups())
    return kind, width, height, highest, match.end()


def fault(data: bytes, suffix: str = "") -> str | None:
    """The reason why an encoded picture is incomplete, damaged or cannot be read here; None if its structure is valid.

    Args:
        data: the file's content, not empty.
        suffix: of the file's name; tells raw files from the TIFF that they are inside.
    """
    if is_raw(data, suffix):
        return raw_fault(data)
    if is_jpeg(data):
        return _jpeg_fault(data)
    if is_png(data):
        return _png_fault(data)
    if data.startswith(b"BM"):
        return _declared_size_fault(data, "BMP", _bmp_size(data))
    if is_webp(data):
        return _declared_size_fault(data, "WebP", struct.unpack("<I", data[4:8])[0] + 8)
    if is_tiff(data):
        return tiff_fault(data)
    if is_heic(data):
        return check("pillow_heif", "HEIC") or boxes_fault(data)
    if is_avif(data):
        return boxes_fault(data)
    if is_exr(data):
        return check("OpenEXR", "EXR") or exr_fault(data)
    if is_hdr(data):
        return hdr_fault(data)
    if data[:2] in (b"P2", b"P3", b"P5", b"P6"):
        return _pnm_fault(data)
    return ("not a picture (its content is not PNG, JPEG, TIFF, WebP, HEIC, AVIF, BMP, PGM, PPM, EXR, HDR or raw, "
            "whatever its name says)")


def stored_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) from the header, before any EXIF orientation; None for TIFF, raw files and broken headers."""
    if is_png(data) and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if is_jpeg(data):
        for marker, start, _ in jpeg_segments(data):
            if marker in _START_OF_FRAME and start + 5 <= len(data):
                height, width = struct.unpack(">HH", data[start + 1:start + 5])
                return width, height
    if data.startswith(b"BM") and len(data) >= 26:
        header = struct.unpack("<I", data[14:18])[0]
        width, height = struct.unpack("<HH", data[18:22]) if header == 12 else struct.unpack("<ii", data[18:26])
        return width, abs(height)
    if is_webp(data):
        return _webp_size(data)
    if is_heic(data) or is_avif(data):
        return boxes_size(data)
    if is_exr(data) or is_hdr(data):
        return exr_size(data) if is_exr(data) else hdr_size(data)
    header = pnm_header(data)
    return header[1:3] if header else None


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's content up to the first scan; stops at the end of the data."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            position += 1  # decoders also skip stray bytes between segments
            continue
        marker = data[position + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _END_OF_IMAGE:
            return
        length = struct.unpack(">H", data[position + 2:position + 4])[0]
        yield marker, position + 4, position + 2 + length
        if marker == _START_OF_SCAN:
            return
        position += 2 + length


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk's content; stops at the end of the data."""
    position = len(PNG)
    while position + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[position:position + 8])
        if position + 12 + length > len(data):
            return
        yield kind, position + 8, position + 8 + length
        position += 12 + length


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk's content; stops at the end of the data."""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack("<4sI", data[position:position + 8])
        yield kind, position + 8, min(position + 8 + length, len(data))
        position += 8 + length + length % 2


def _jpeg_fault(data: bytes) -> str | None:
    scan = next((end for marker, _, end in jpeg_segments(data) if marker == _START_OF_SCAN), None)
    # An end marker before the scan belongs to an EXIF thumbnail.
    if scan is None or data.find(b"\xff\xd9", scan) < 0:
        return f"truncated (a JPEG of {len(data)} bytes without its end marker)"
    return None


def _png_fault(data: bytes) -> str | None:
    view = memoryview(data)
    for kind, start, end in png_chunks(data):
        if zlib.crc32(view[start - 4:end]) != struct.unpack(">I", data[end:end + 4])[0]:
            return f"damaged (wrong check sum in its {kind.decode('latin-1')} part)"
        if kind == b"IEND":
            return None
    return f"truncated (a PNG of {len(data)} bytes without its end part)"


def _bmp_size(data: bytes) -> int:
    """Size in bytes of an uncompressed BMP according to its header; 0 if it cannot be derived."""
    if len(data) < 34:
        return 1 << 62
    offset, header = struct.unpack("<II", data[10:18])
    if header < 40:
        return 0
    width, height, _, bits, compression = struct.unpack("<iiHHI", data[18:34])
    if compression not in (0, 3):
        return 0
    return offset + (width * bits + 31) // 32 * 4 * abs(height)


def _pnm_fault(data: bytes) -> str | None:
    header = pnm_header(data)
    if header is None:
        return "truncated or damaged (a PGM or PPM without a whole header)"
    kind, width, height, highest, start = header
    if not (width and height and 0 < highest < 65536):
        return f"damaged (a PGM or PPM of {width} x {height} pixels and values up to {highest})"
    values = width * height * (3 if kind in (3, 6) else 1)
    # In the text formats each value takes at least a digit and a separator.
    needed = start + (values * (2 if highest > 255 else 1) if kind > 3 else 2 * values - 1)
    return _declared_size_fault(data, "PGM or PPM", needed)


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind, start, end = next(webp_chunks(data), (b"", 0, 0))
    head = data[start:min(end, start + 10)]
    if len(head) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", head[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _declared_size_fault(data: bytes, kind: str, size: int) -> str | None:
    return f"truncated (a {kind} of {len(data)} bytes)" if len(data) < size else None
