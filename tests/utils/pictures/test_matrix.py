"""The table of formats in docs/DATA.md says what is read and written: each cell is tried, with files of others."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.utils.pictures.samples import (
    EXIF_PART,
    EXPOSURE,
    HEIGHT,
    MAKE,
    ORIENTATION,
    P3,
    PIXELS_X,
    PIXELS_Y,
    WIDTH,
    XMP,
    record,
    smooth,
    write_sample,
)
from utils.errors import UserError
from utils.pictures.content import Metadata
from utils.pictures.formats import WRITABLE
from utils.pictures.reading import read_picture
from utils.pictures.writing import write_picture

HEADINGS = ("format", "8 bit", "16 bit", "float", "profile", "EXIF", "XMP", "turned",
            "8 bit", "16 bit", "profile", "EXIF", "XMP")
FORMATS = {"PNG": ".png", "TIFF": ".tif", "JPEG": ".jpg", "WebP": ".webp", "HEIC": ".heic", "AVIF": ".avif",
           "BMP": ".bmp", "PGM, PPM": ".ppm", "EXR": ".exr", "HDR": ".hdr", "raw": ".dng"}
YES, NO = "yes", "–"


def is_read(path: Path, depth: str = "8", **about: bytes) -> str:
    """Whether a file with these contents is read as it is."""
    if not write_sample(path, depth, **about):
        return NO
    picture = read_picture(path, value_range="minmax" if depth == "float" else "full")
    kept = (picture.bit_depth == (8 if depth == "8" else 16) and picture.metadata.icc == about.get("icc")
            and ("xmp" not in about or picture.metadata.xmp == about["xmp"]))
    if "exif" in about:
        read = Image.Exif()
        read.load(picture.metadata.exif or b"")
        kept &= read.get(MAKE) == "a camera"
        # The DNG of the samples has no EXIF part.
        kept &= path.suffix == ".dng" or read.get_ifd(EXIF_PART)[EXPOSURE] == pytest.approx(0.01)
    return YES if kept else "lost"


def is_turned(path: Path, depth: str) -> str:
    """Whether the orientation of a file is applied: a quarter turn to the right."""
    if not write_sample(path, depth, exif=record(turn=6)):
        return NO
    after = read_picture(path)
    upright = read_picture(write_sample(path, depth) or path).pixels
    turned = np.rot90(upright, -1)
    if after.pixels.shape != turned.shape:
        return "ignored"
    assert np.abs(after.pixels.astype(float) - turned).mean() < 0.03 * (2**after.bit_depth - 1)
    return YES


def is_written(path: Path, dtype: type) -> str:
    """Whether pixels of this type are written: yes, no, or how many bits are left of a ramp."""
    pixels = smooth(dtype)
    try:
        back = read_picture(write_picture(path, pixels)).pixels
    except UserError:
        return NO
    assert back.dtype == dtype and np.abs(back.astype(float) - pixels).mean() < 0.02 * np.iinfo(dtype).max
    depth = 8 * back.itemsize
    ramp = np.arange(2**depth, dtype=dtype).reshape(2**(depth // 2), -1)
    bits = math.ceil(math.log2(len(np.unique(read_picture(write_picture(path, ramp)).pixels))))
    return YES if bits == depth else f"{bits} bits"


def holds(path: Path, what: str) -> str:
    """Whether a written file holds this, as another reader finds it; a record is that of the upright result."""
    metadata = {"icc": Metadata(P3), "exif": Metadata(exif=record(turn=6)[6:]), "xmp": Metadata(xmp=XMP)}[what]
    if path.suffix not in WRITABLE:
        return NO
    write_picture(path, smooth(), metadata)
    if path.suffix == ".heic":
        pytest.importorskip("pillow_heif", reason="HEIC is an extra").register_heif_opener()
    with Image.open(path) as picture:
        if what != "exif":
            found = picture.info.get({"icc": "icc_profile", "xmp": "xmp"}[what])
            return YES if found == {"icc": P3, "xmp": XMP}[what] else NO
        read = picture.getexif()
        part = read.get_ifd(EXIF_PART)
        if not part:
            return NO
        assert (part[PIXELS_X], part[PIXELS_Y]) == (WIDTH, HEIGHT) and read.get(ORIENTATION, 1) == 1
        return YES if read[MAKE] == "a camera" else NO


def row(name: str, folder: Path) -> str:
    """A line of the table, by trying."""
    path = folder / f"a{FORMATS[name]}"
    depth = {".dng": "16", ".exr": "float", ".hdr": "float"}.get(path.suffix, "8")
    cells = [*(is_read(path, one) for one in ("8", "16", "float")), is_read(path, depth, icc=P3),
             is_read(path, depth, exif=record()), is_read(path, depth, xmp=XMP), is_turned(path, depth),
             is_written(path, np.uint8), is_written(path, np.uint16),
             *(holds(path, what) for what in ("icc", "exif", "xmp"))]
    return f"| {' | '.join([name, *cells])} |"


def test_the_headings_of_the_table() -> None:
    assert f"| {' | '.join(HEADINGS)} |" in (ROOT / "docs" / "DATA.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_of_the_table_is_what_happens(tmp_path: Path, name: str) -> None:
    found = row(name, tmp_path)
    assert found in (ROOT / "docs" / "DATA.md").read_text(encoding="utf-8").splitlines(), found
