"""Develops the raw files of cameras with LibRaw (rawpy)."""

import io
import struct
from contextlib import suppress
from typing import Any, Literal

import tifffile

from utils.pictures import exif
from utils.pictures.boxes import boxes_fault, is_cr3
from utils.pictures.content import Content, Metadata, Refusal
from utils.pictures.extras import check, load

RawLook = Literal["camera", "linear"]
SUFFIXES = frozenset({".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
                      ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"})
_TIFF = (b"II*\0", b"MM\0*")
# Olympus, Panasonic and Leica, Fujifilm, Minolta, Sigma; the others are TIFF, or CR3
_STARTS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"\0MRM", b"FOVb")
_SHORTEST = 1024  # bytes
# LibRaw takes the brightest value of a picture for white if it is above this share of the white level, against magenta
# highlights where that level is too high; 0 switches it off.
_WHITE = {"camera": 0.75, "linear": 0}
# Curve of sRGB (IEC 61966-2-1): power 2.4 after a line of slope 12.92. (1, 1) keeps the values linear.
_CURVES = {"camera": (2.4, 12.92), "linear": (1, 1)}


def is_raw(data: bytes, suffix: str) -> bool:
    """Whether the data are a raw file; those that are TIFF inside are known by the suffix of their name."""
    return data.startswith(_STARTS) or is_cr3(data) or (data[:4] in _TIFF and suffix.lower() in SUFFIXES)


def raw_fault(data: bytes) -> str | None:
    """The reason why a raw file is incomplete or cannot be read here; None if nothing of that kind is found."""
    missing = check("rawpy", "a raw file")
    if missing or is_cr3(data):
        return missing or boxes_fault(data)
    return f"truncated (a raw file of {len(data)} bytes)" if data[:4] in _TIFF and _ends_early(data) else None


def read_raw(data: bytes, max_pixels: int, look: RawLook) -> Content:
    """Develop a raw file to 16 bits: white balance of the camera, sRGB primaries, upright.

    The brightness is not adapted to the picture, so that the exposures of a bracket keep their differences; with the
    look ``camera`` but for highlights just below white, which become white.

    Args:
        data: the file's content.
        max_pixels: larger pictures are rejected.
        look: ``camera`` applies the curve of sRGB; ``linear`` keeps values proportional to the light.

    Raises:
        Refusal: rawpy is missing, or the file is truncated, damaged, too large or of an unknown camera.
    """
    library = load("rawpy", "a raw file")
    try:
        with library.imread(io.BytesIO(data)) as raw:
            width, height = raw.sizes.iwidth, raw.sizes.iheight
            if width * height > max_pixels:
                raise Refusal(f"{width} x {height} pixels are more than max_megapixels allows "
                              f"({max_pixels / 1e6:g}); raise max_megapixels")
            values = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16,
                                     output_color=library.ColorSpace.sRGB, gamma=_CURVES[look],
                                     adjust_maximum_thr=_WHITE[look])
            preview = _preview(library, raw)
    except library.LibRawError as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise Refusal(f"truncated, damaged or of an unknown camera ({reason}); replace it, or save it as DNG or "
                      "TIFF") from error
    record = exif.of_tiff(data) if data[:4] in _TIFF else preview
    return Content(values, Metadata(exif=record))


def _preview(library: Any, raw: Any) -> bytes | None:
    """The EXIF record of the preview in a raw file; None if there is none."""
    from utils.pictures.metadata import read_metadata

    with suppress(library.LibRawError):
        preview = raw.extract_thumb()
        if preview.format == library.ThumbFormat.JPEG:
            return read_metadata(preview.data).exif
    return None


def _ends_early(data: bytes) -> bool:
    """Whether a part of a raw file that is TIFF inside lies after the data."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            main = file.pages.first
            if main.offset + 2 + 12 * struct.unpack_from(file.byteorder + "H", data, main.offset)[0] > len(data):
                return True
            pages = [main, *(main.pages or [] if main.subifds else [])]
            ends = [start + length for page in pages for start, length in zip(page.dataoffsets, page.databytecounts)]
    except (struct.error, ValueError, TypeError, IndexError, KeyError, tifffile.TiffFileError):
        return len(data) < _SHORTEST  # the rest is left to LibRaw, which knows more kinds
    return max(ends, default=0) > len(data)
