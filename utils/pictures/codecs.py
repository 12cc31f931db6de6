"""Encoded pictures to arrays, with the check that OpenCV leaves out: is the file whole?

Some OpenCV versions answer a truncated JPEG or PNG with a picture whose lower part is grey. So every file is
walked through by its format's own structure (end marker, chunk check sums, declared size) before it is decoded.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from utils.errors import MissingFileError, UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

# Every failure is reported below with the file's name, which OpenCV's own lines do not have.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_PNG = b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def is_picture(path: Path) -> bool:
    """Whether a name looks like a picture's: a known suffix, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def list_pictures(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Pictures in a folder, sorted by their path relative to it.

    Raises:
        MissingFileError: the folder is not there.
        UserError: it is not a folder.
    """
    if not folder.exists():
        raise MissingFileError(f"no folder {folder}; check the path (relative ones start at {Path.cwd()})")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, a folder of pictures is needed")
    found = folder.rglob("*") if recursive else folder.iterdir()
    inside = (path for path in found if is_picture(path) and path.is_file())
    return sorted(inside, key=lambda path: path.relative_to(folder).as_posix())


def read_bytes(path: Path) -> bytes:
    """The file's content.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is empty or cannot be read; the message names the file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingFileError(f"no file {path}; check the path") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if not data:
        raise UserError(f"{path} is empty (0 bytes); replace or remove it")
    return data


def fault(data: bytes) -> str | None:
    """Why an encoded picture cannot be whole, or None when its structure is sound.

    Args:
        data: the file's content, not empty.
    """
    if data.startswith(b"\xff\xd8"):
        return _jpeg_fault(data)
    if data.startswith(_PNG):
        return _png_fault(data)
    if data.startswith(b"BM"):
        return _declared_size_fault(data, "BMP", _bmp_size(data))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _declared_size_fault(data, "WebP", struct.unpack("<I", data[4:8])[0] + 8)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None  # OpenCV refuses a TIFF with missing strips by itself
    return "not a picture (its content is no PNG, JPEG, TIFF, BMP or WebP, whatever its name says)"


def decode(data: bytes, flags: int, path: Path) -> np.ndarray:
    """Decoded pixels as OpenCV gives them (H,W), (H,W,3) or (H,W,4), BGR order.

    Args:
        data: the file's content.
        flags: ``cv2.IMREAD_*``.
        path: where ``data`` came from, for the message.

    Raises:
        UserError: the picture is truncated, damaged or no picture; names the file and the reason.
    """
    reason = fault(data)
    if reason is None:
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            reason = f"damaged ({error.err or error})"
        else:
            if pixels is not None:
                return pixels
            reason = "truncated or damaged (its header is right, its content cannot be decoded)"
    raise UserError(f"{path}: {reason}; replace or remove it")


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) as a JPEG's header states them (before any EXIF turn); None for other formats."""
    if not data.startswith(b"\xff\xd8"):
        return None
    for marker, start, _ in _jpeg_segments(data):
        if marker in _START_OF_FRAME and start + 5 <= len(data):
            height, width = struct.unpack(">HH", data[start + 1:start + 5])
            return width, height
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's content up to the first scan; stops where data end."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            position += 1  # decoders skip stray bytes between segments as well
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


def _jpeg_fault(data: bytes) -> str | None:
    scan = next((end for marker, _, end in _jpeg_segments(data) if marker == _START_OF_SCAN), None)
    # An end marker before the scan belongs to an EXIF thumbnail.
    if scan is None or data.find(b"\xff\xd9", scan) < 0:
        return f"truncated (a JPEG of {len(data)} bytes without its end marker)"
    return None


def _png_fault(data: bytes) -> str | None:
    position, view = len(_PNG), memoryview(data)
    while position + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[position:position + 8])
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[position + 4:end - 4]) != struct.unpack(">I", data[end - 4:end])[0]:
            return f"damaged (wrong check sum in its {kind.decode('latin-1')} part)"
        if kind == b"IEND":
            return None
        position = end
    return f"truncated (a PNG of {len(data)} bytes without its end part)"


def _bmp_size(data: bytes) -> int:
    """Bytes that an uncompressed BMP needs by its header; 0 when the header does not tell."""
    if len(data) < 34:
        return 1 << 62
    offset, header = struct.unpack("<II", data[10:18])
    if header < 40:
        return 0
    width, height, _, bits, compression = struct.unpack("<iiHHI", data[18:34])
    if compression not in (0, 3):
        return 0
    return offset + (width * bits + 31) // 32 * 4 * abs(height)


def _declared_size_fault(data: bytes, kind: str, size: int) -> str | None:
    return f"truncated (a {kind} of {len(data)} bytes)" if len(data) < size else None
