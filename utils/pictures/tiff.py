"""Reads TIFF with tifffile. Layouts with a unique meaning are read, all others are rejected with a reason."""

import contextlib
import io
import logging
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile
from tifffile import EXTRASAMPLE, PHOTOMETRIC

from utils.pictures import exif
from utils.pictures.content import Content, Metadata, Refusal
from utils.pictures.depth import widen

# Failures are reported with the file's name, which tifffile's own messages lack.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_PHOTOMETRIC, _ORIENTATION, _XMP, _ICC, _FIRST_PRIVATE = 262, 274, 700, 34675, 32768
_GREY = {PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE}
_ALPHA = {EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA}
_COLOURS, _MOST_BANDS = 3, 4


def read_tiff(data: bytes, max_pixels: int) -> Content:
    """Read the first page, or the largest one if the first is marked as a reduced picture.

    Args:
        data: the file's content.
        max_pixels: larger pages are rejected before decoding.

    Raises:
        Refusal: truncated, damaged, too large, or of an ambiguous or unsupported layout.
    """
    with _opened(data) as file:
        page, notes = _checked_page(file, data, max_pixels)
        values = _values(page, notes)
        turn = page.tags.get(_ORIENTATION)
        metadata = Metadata(_bytes_of(page, _ICC), exif.of_tiff(data), _turn(turn.value if turn else 1),
                            _bytes_of(page, _XMP))
        return Content(values, metadata, notes)


def tiff_fault(data: bytes) -> str | None:
    """The reason why the page cannot be read, as far as known without decoding it; None if no fault is found."""
    try:
        with _opened(data) as file:
            _checked_page(file, data, sys.maxsize)
    except Refusal as refusal:
        return str(refusal)
    return None


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[tifffile.TiffFile]:
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            yield file
    except Refusal:
        raise
    except Exception as error:  # tifffile and its codecs raise many types of errors on damaged files
        raise Refusal(f"truncated or damaged ({type(error).__name__}: {error})") from error


def _checked_page(file: tifffile.TiffFile, data: bytes, max_pixels: int) -> tuple[Any, dict[str, str]]:
    page, notes = _choose(file)
    _check_entries(file, page, data)
    _check_page(page, len(data), max_pixels)
    return page, notes


def _choose(file: tifffile.TiffFile) -> tuple[Any, dict[str, str]]:
    if not len(file.pages):
        raise Refusal("truncated or damaged (it holds no page)")
    chosen, page = 0, file.pages.first
    if page.is_reduced:
        for index, other in enumerate(one.aspage() for one in file.pages):
            if other.imagewidth * other.imagelength > page.imagewidth * page.imagelength:
                chosen, page = index, other
    # ImageJ stores a whole stack after a single page.
    count = max(len(file.pages), int((file.imagej_metadata or {}).get("images", 1)))
    if count == 1:
        return page, {}
    return page, {"pages": f"page {chosen + 1} of {count} is read, {page.imagewidth} x {page.imagelength} pixels"}


def _check_entries(file: tifffile.TiffFile, page: Any, data: bytes) -> None:
    """Reject a page with an unreadable public tag, for which tifffile would silently use a default."""
    form = file.tiff
    start = page.offset + form.tagnosize
    count = struct.unpack(form.tagnoformat, data[page.offset:start])[0]
    codes = {struct.unpack_from(f"{form.byteorder}H", data, start + index * form.tagsize)[0] for index in range(count)}
    lost = sorted(code for code in codes - set(page.tags.keys()) if code < _FIRST_PRIVATE)
    if lost:
        raise Refusal(f"truncated or damaged (its entries {', '.join(map(str, lost))} cannot be read)")


def _check_page(page: Any, available: int, max_pixels: int) -> None:
    pixels = page.imagewidth * page.imagelength
    if not pixels:
        raise Refusal("damaged (a picture without pixels)")
    if pixels > max_pixels:
        raise Refusal(f"{page.imagewidth} x {page.imagelength} pixels are more than max_megapixels allows "
                          f"({max_pixels / 1e6:g}); cut or shrink it, or raise max_megapixels")
    if page.samplesperpixel > _MOST_BANDS:
        raise Refusal(_too_many(page.samplesperpixel))
    if page.imagedepth > 1:
        raise Refusal(f"a volume of {page.imagedepth} layers; save the layer to be used as a picture")
    if any(start + length > available for start, length in zip(page.dataoffsets, page.databytecounts)):
        raise Refusal(f"truncated (a TIFF of {available} bytes)")


def _values(page: Any, notes: dict[str, str]) -> np.ndarray:
    """Decoded values (H, W, C) without alpha; negatives are inverted and ranges are full."""
    try:
        values = page.asarray(maxworkers=1)
    except (ValueError, NotImplementedError, ImportError) as error:
        if page.compression in tifffile.TIFF.DECOMPRESSORS and "codec" not in str(error):
            raise
        raise Refusal(f"compressed by {_name(page.compression)}, which cannot be decoded here; save it "
                          "uncompressed, or with LZW or Deflate") from error
    if values.dtype.kind not in "buif":
        raise Refusal(f"values of type {values.dtype}; convert it to 8 or 16 bit")
    if "S" not in page.axes:
        values = values.reshape(page.imagelength, page.imagewidth, 1)
    elif page.axes.index("S") < page.axes.index("Y"):  # planar storage
        values = np.moveaxis(values, 0, -1)
    return _by_photometric(page, values, notes)


def _by_photometric(page: Any, values: np.ndarray, notes: dict[str, str]) -> np.ndarray:
    bands = values.shape[2]
    kind = page.photometric
    if _PHOTOMETRIC not in page.tags:  # tifffile's default would invert it
        kind = PHOTOMETRIC.RGB if bands >= _COLOURS else PHOTOMETRIC.MINISBLACK
    if kind == PHOTOMETRIC.PALETTE and bands == 1:
        return _from_palette(page, values[..., 0])
    if kind == PHOTOMETRIC.SEPARATED and bands == 4 and values.dtype.kind == "u":
        return _from_cmyk(_whole_range(page, values))
    if kind in _GREY:
        values = _whole_range(page, _bands(page, values, 1, notes))
        return _turned_over(values) if kind == PHOTOMETRIC.MINISWHITE else values
    # The decoder has already converted JPEG's YCbCr to RGB.
    if kind == PHOTOMETRIC.RGB or (kind == PHOTOMETRIC.YCBCR and "JPEG" in _name(page.compression)):
        return _whole_range(page, _bands(page, values, _COLOURS, notes))
    raise Refusal(f"colours stored as {_name(kind)} with {bands} bands; convert it to grey or RGB")


def _bands(page: Any, values: np.ndarray, wanted: int, notes: dict[str, str]) -> np.ndarray:
    """The wanted bands, if all others are alpha; three grey bands without a declared meaning are taken as RGB."""
    bands = values.shape[2]
    if bands == wanted:
        return values
    if bands == wanted + 1 and set(page.extrasamples or [None]) <= _ALPHA:
        notes["alpha"] = "alpha channel dropped"
        return values[..., :wanted]
    if bands == _COLOURS + 1 and wanted == _COLOURS:
        notes["fourth"] = "a fourth band beside red, green and blue is dropped"
        return values[..., :wanted]
    if bands == _COLOURS:
        notes["bands"] = "three bands without a meaning are read as red, green and blue"
        return values
    raise Refusal(_too_many(bands))


def _too_many(bands: int) -> str:
    return f"{bands} bands; give a grey, RGB or RGBA picture (choose the bands to be used)"


def _turned_over(values: np.ndarray) -> np.ndarray:
    """Invert the values of a negative."""
    return -values if values.dtype.kind == "f" else ~values  # ~v is 255 - v, 65535 - v, or -1 - v


def _whole_range(page: Any, values: np.ndarray) -> np.ndarray:
    """Scale unsigned values of 1 to 16 bits to the full range of 8 or 16 bits; return others unchanged."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * 255
    if values.dtype not in (np.uint8, np.uint16):
        return values
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    return widen(values, 2**bits - 1)


def _from_palette(page: Any, indices: np.ndarray) -> np.ndarray:
    table = np.asarray(page.colormap).T
    # The standard defines palettes with 16 bits; some writers store 8.
    table = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
    return table[indices]


def _from_cmyk(values: np.ndarray) -> np.ndarray:
    """Convert CMYK to RGB of the same depth without a colour profile, as other readers do."""
    top = float(np.iinfo(values.dtype).max)
    light = top - values.astype(np.float64)
    return np.floor(light[..., :3] * light[..., 3:] / top + 0.5).astype(values.dtype)


def _bytes_of(page: Any, tag: int) -> bytes | None:
    return bytes(page.tags[tag].value) if tag in page.tags else None


def _turn(value: Any) -> int:
    return int(value) if value in range(1, 9) else 1


def _name(value: Any) -> str:
    return getattr(value, "name", f"number {value}")
