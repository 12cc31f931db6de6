"""Finds picture files, and decodes their bytes with OpenCV."""

import struct
from pathlib import Path

import cv2
import numpy as np

from utils.errors import MissingFileError, UserError
from utils.pictures.depth import widen
from utils.pictures.notes import note_once
from utils.pictures.raw import SUFFIXES as RAW
from utils.pictures.structure import fault, pnm_header, stored_size

SUFFIXES = RAW | {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".heif", ".hif", ".avif", ".pgm",
                  ".ppm", ".exr", ".hdr"}
MAX_PIXELS = 250_000_000
"""Pixels of the largest picture that is decoded unless an option (``max_megapixels``) says otherwise."""


def _silence_opencv() -> None:
    """Turn off OpenCV's log: failures are reported here with the file's name, which its messages lack."""
    if hasattr(cv2, "setLogLevel"):  # up to 4.12
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


_silence_opencv()


def is_picture(path: Path) -> bool:
    """Whether a file name has a picture suffix and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def list_pictures(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Pictures in a folder, sorted by their path relative to it.

    A raw file beside a picture of the same stem is the same shot and left out, which is noted once.

    Raises:
        MissingFileError: the folder does not exist.
        UserError: it is not a folder.
    """
    if not folder.exists():
        raise MissingFileError(f"no folder {folder}; check the path (relative ones start at {Path.cwd()})")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, a folder of pictures is needed")
    found = folder.rglob("*") if recursive else folder.iterdir()
    inside = [path for path in found if is_picture(path) and path.is_file()]
    return sorted(_without_raw_twins(inside), key=lambda path: path.relative_to(folder).as_posix())


def _without_raw_twins(paths: list[Path]) -> list[Path]:
    developed = {path.with_suffix("") for path in paths if path.suffix.lower() not in RAW}
    kept = [path for path in paths if path.suffix.lower() not in RAW or path.with_suffix("") not in developed]
    if len(kept) < len(paths):
        left = min(set(paths) - set(kept))
        note_once(f"raw files beside pictures of the same name are left out (first seen: {left})", "raw twins")
    return kept


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file is empty or unreadable; the message names it.
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


def check_file(data: bytes, path: Path, max_pixels: int = MAX_PIXELS) -> None:
    """Check the structure of a picture and, where the header states it, its size.

    Raises:
        UserError: truncated, damaged, too large or not a picture; names the file and the reason.
    """
    reason = fault(data, path.suffix)
    if reason:
        raise UserError(f"{path}: {reason}{'' if 'pip install' in reason else '; replace or remove it'}")
    try:
        width, height = stored_size(data) or (0, 0)
    except struct.error:
        width, height = 0, 0
    if width * height > max_pixels:
        raise UserError(f"{path}: {width} x {height} pixels are more than max_megapixels allows "
                        f"({max_pixels / 1e6:g}); cut or shrink it, or raise max_megapixels")


def decode(data: bytes, path: Path, *, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """Decode a JPEG, PNG, BMP, WebP, PGM or PPM as stored: EXIF orientation not applied, alpha kept.

    Args:
        data: the file's content; see `check_file`.
        path: source of ``data``, for messages.
        flags: ``cv2.IMREAD_*``.

    Returns:
        (H, W, C) ``uint8`` or ``uint16``; C is 1 (grey), 3 (BGR, OpenCV's order) or 4 (BGRA).

    Raises:
        UserError: the content cannot be decoded; names the file and the reason.
    """
    header = pnm_header(data)
    if data.startswith(b"BM"):
        flags = cv2.IMREAD_COLOR  # with IMREAD_UNCHANGED, OpenCV reads a coloured OS/2 bitmap as grey
    try:
        pixels = _decode_pnm(data, header) if header else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, ValueError) as error:
        raise UserError(f"{path}: damaged ({getattr(error, 'err', '') or error}); replace or remove it") from error
    if pixels is None:
        raise UserError(f"{path}: truncated or damaged (its header is right, its content cannot be decoded); "
                        "replace or remove it")
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _decode_pnm(data: bytes, header: tuple[int, int, int, int, int]) -> np.ndarray:
    """Decode a PGM or PPM in BGR order. OpenCV does not scale values by the maximum given in the header."""
    kind, width, height, highest, start = header
    channels = 3 if kind in (3, 6) else 1
    count = width * height * channels
    if kind > 3:
        values = np.frombuffer(data, ">u2" if highest > 255 else np.uint8, count, start)
    else:
        values = np.array(data[start:].split(maxsplit=count)[:count], dtype=np.uint16)
    pixels = widen(values.reshape(height, width, channels), highest)
    return np.ascontiguousarray(pixels[..., ::-1]) if channels == 3 else pixels
