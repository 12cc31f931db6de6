"""Pictures in all formats, written by others than this project."""

import io
import struct
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

HEIGHT, WIDTH = 48, 64
MAKE, ORIENTATION, EXIF_PART, GPS_PART, MAKER_NOTE = 0x010F, 0x0112, 0x8769, 0x8825, 0x927C
EXPOSURE, PIXELS_X, PIXELS_Y = 0x829A, 0xA002, 0xA003
NEUTRAL = 0.6, 1.0, 0.7
P3 = imagecodecs.cms_profile("rgb", whitepoint=[0.3127, 0.3290, 1],  # with the primaries of Display P3
                             primaries=[0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1], gamma=2.2)
XMP = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
       b'<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>')


def smooth(dtype: type = np.uint8, channels: int = 3) -> np.ndarray:
    """A soft colour picture, (48, 64, C) over the full range of its type."""
    rng = np.random.default_rng(0)
    values = cv2.resize(rng.random((6, 8, channels)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    values = (values - values.min()) / np.ptp(values)
    return np.round(values.reshape(HEIGHT, WIDTH, channels) * np.iinfo(dtype).max).astype(dtype)


def record(turn: int = 1) -> bytes:
    """An EXIF record with camera, exposure, size and place."""
    exif = Image.Exif()
    exif[MAKE], exif[ORIENTATION] = "a camera", turn
    exif.get_ifd(EXIF_PART).update({EXPOSURE: 0.01, PIXELS_X: 4000, PIXELS_Y: 3000})
    exif.get_ifd(GPS_PART).update({1: "N", 2: (1.0, 2.0, 3.5)})
    return exif.tobytes()


def write_sample(path: Path, depth: str = "8", *, icc: bytes | None = None, exif: bytes | None = None,
                 xmp: bytes | None = None) -> Path | None:
    """Write `smooth` in the format of the suffix; None if the format cannot hold what is asked for.

    Args:
        path: the file.
        depth: "8", "16" or "float".
        icc, exif, xmp: metadata.
    """
    suffix, plain = path.suffix, not (icc or exif or xmp)
    about = {key: value for key, value in (("icc_profile", icc), ("exif", exif), ("xmp", xmp)) if value}
    if suffix in (".jpg", ".webp", ".avif") and depth == "8":
        Image.fromarray(smooth()).save(path, quality=95, **about)
    elif suffix == ".avif" and depth == "16":
        path.write_bytes(imagecodecs.avif_encode(smooth(np.uint16) >> 6, level=95, bitspersample=10))
    elif suffix == ".heic" and depth != "float":
        _write_heic(path, depth, about)
    elif suffix == ".png" and depth == "8":
        text = PngInfo()
        if xmp:
            text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        Image.fromarray(smooth()).save(path, pnginfo=text, icc_profile=icc, exif=exif or b"")
    elif suffix == ".tif" and depth == "8":
        _write_tiff(path, about)
    elif suffix in (".png", ".tif") and depth == "16":
        cv2.imwrite(str(path), smooth(np.uint16)[..., ::-1])
    elif suffix == ".tif":
        tifffile.imwrite(path, smooth().astype(np.float32) / 8, photometric="rgb")
    elif suffix == ".bmp" and plain and depth == "8":
        Image.fromarray(smooth()).save(path)
    elif suffix == ".ppm" and plain and depth != "float":
        values = smooth() if depth == "8" else smooth(np.uint16).astype(">u2")
        path.write_bytes(b"P6 %d %d %d\n" % (WIDTH, HEIGHT, 255 if depth == "8" else 65535) + values.tobytes())
    elif suffix in (".exr", ".hdr") and plain and depth == "float":
        _write_floats(path)
    elif suffix == ".dng" and depth == "16" and not (icc or xmp):
        write_dng(path, exif)
    else:
        return None
    return path


def _write_heic(path: Path, depth: str, about: dict) -> None:
    heif = pytest.importorskip("pillow_heif", reason="HEIC is an extra")
    mode, dtype = ("RGB", np.uint8) if depth == "8" else ("RGB;16", np.uint16)
    heif.from_bytes(mode, (WIDTH, HEIGHT), smooth(dtype).tobytes()).save(path, quality=95, chroma=444, **about)


def _write_tiff(path: Path, about: dict) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if "xmp" in about:
        tags[700] = about["xmp"]
    if "exif" in about:
        exif = Image.Exif()
        exif.load(about["exif"])
        tags[MAKE], tags[ORIENTATION] = exif[MAKE], exif[ORIENTATION]
        tags[EXIF_PART], tags[GPS_PART] = exif.get_ifd(EXIF_PART), exif.get_ifd(GPS_PART)
    Image.fromarray(smooth()).save(path, tiffinfo=tags, icc_profile=about.get("icc_profile"))


def _write_floats(path: Path) -> None:
    values = smooth().astype(np.float32) / 8
    if path.suffix == ".hdr":
        path.write_bytes(cv2.imencode(".hdr", values[..., ::-1])[1].tobytes())
        return
    exr = pytest.importorskip("OpenEXR", reason="EXR is an extra")
    exr.File({"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}, {"RGB": values}).write(str(path))


def write_dng(path: Path, exif: bytes | None = None, *, exposure: float = 1.0) -> Path:
    """Write a raw file of 12 bits behind a Bayer filter: an sRGB sensor to which grey is `NEUTRAL`.

    Args:
        path: the file.
        exif: a record whose camera and orientation are written.
        exposure: factor of the values.
    """
    pytest.importorskip("rawpy", reason="raw files are an extra")
    linear = (smooth() / 255.0) ** 2.2 * exposure * NEUTRAL
    mosaic = np.empty((HEIGHT, WIDTH))
    for row, column, colour in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[row::2, column::2] = linear[row::2, column::2, colour]
    turn, make = 1, "Test"
    if exif:
        read = Image.Exif()
        read.load(exif)
        turn, make = read[ORIENTATION], read[MAKE]
    from_xyz = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)  # IEC 61966-2-1
    matrix = [part for value in from_xyz for part in (round(value * 10000), 10000)]
    neutral = [part for value in NEUTRAL for part in (round(value * 100), 100)]
    tags = [(50706, "B", 4, (1, 4, 0, 0), True), (50708, "s", 0, "Test Camera", True),
            (33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True), (50714, "H", 1, (0,), True),
            (50717, "I", 1, 4095, True), (50721, "2i", 9, matrix, True), (50728, "2I", 3, neutral, True),
            (50778, "H", 1, 21, True), (271, "s", 0, make, True), (274, "H", 1, turn, True)]
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.round(mosaic * 4095).clip(0, 4095).astype(np.uint16), photometric=32803,
                     extratags=tags, metadata=None)
    path.write_bytes(stream.getvalue())
    return path


def with_thumbnail(exif: bytes, thumbnail: bytes) -> bytes:
    """A record (with ``Exif\\0\\0``) with a second directory that describes a thumbnail at its end."""
    body = bytearray(exif[6:])
    order = ">" if body.startswith(b"MM") else "<"
    first = struct.unpack_from(order + "I", body, 4)[0]
    pointer = first + 2 + 12 * struct.unpack_from(order + "H", body, first)[0]
    body += bytes(len(body) % 2)
    struct.pack_into(order + "I", body, pointer, len(body))
    start = len(body) + 2 + 2 * 12 + 4
    entries = struct.pack(order + "HHIIHHII", 0x0201, 4, 1, start, 0x0202, 4, 1, len(thumbnail))
    return exif[:6] + bytes(body) + struct.pack(order + "H", 2) + entries + bytes(4) + thumbnail
