"""Radiometric JPEGs with known temperatures, made from the published description of FLIR's segments.

Layout: https://exiftool.org/TagNames/FLIR.html. APP1 segments hold a file "FFF": a header of 64 bytes, a directory of
records, and the records (1: raw values, 14: photograph, 32: camera, 42: position of the picture in the photograph).
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

WIDTH, HEIGHT = 48, 36  # of the infrared pictures
R1, R2, B, F, OFFSET = 15848.854, 0.014533112, 1414.9, 1.0, -4405  # Planck constants of a T640
_HEADER, _ENTRY, _ENTRIES, _START = 64, 32, 14, 512
_CHUNK = 65525


@dataclass(frozen=True)
class Camera:
    """How a camera writes its file.

    Attributes:
        raw_png: raw values as PNG (of swapped bytes), or as they are.
        photo_png: the photograph as PNG of Y, Cb and Cr, or as JPEG.
        little_endian: byte order of the directory; drone cameras have the little-endian one.
        orientation: EXIF orientation.
        zoom: EXIF digital zoom.
    """

    raw_png: bool = True
    photo_png: bool = False
    little_endian: bool = False
    orientation: int = 1
    zoom: float = 0.0


AS_USUAL = Camera()


def raw_values(celsius: np.ndarray) -> np.ndarray:
    """Values of a black body (emissivity 1, no air between), by Planck's law with the constants above."""
    return np.round(R1 / (R2 * (np.exp(B / (celsius.astype(np.float64) + 273.15)) - F)) - OFFSET).astype(np.uint16)


def write_flir(path: Path, celsius: np.ndarray, photograph: np.ndarray | None = None,
               offsets: tuple[float, int, int] | None = None, camera: Camera = AS_USUAL) -> Path:
    """Write a file with temperatures (H, W).

    Args:
        path: the file.
        celsius: degrees, (H, W).
        photograph: (H, W, 3) uint8 RGB.
        offsets: Real2IR, OffsetX, OffsetY.
        camera: how it is written.
    """
    height, width = celsius.shape
    records = [(32, _camera_info(width, height)), (1, _raw(raw_values(celsius), camera))]
    if photograph is not None:
        records.append((14, _photograph(photograph, camera)))
    if offsets is not None:
        records.append((42, struct.pack("<f6h", *offsets, 0, width - 1, 0, height - 1).ljust(96, b"\0")))
    shown = np.round(255 * (celsius - celsius.min()) / max(np.ptp(celsius), 1e-9)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_with_segments(_jpeg(shown, camera), _fff(records, camera)))
    return path


def _camera_info(width: int, height: int) -> bytes:
    info = bytearray(2476)
    struct.pack_into("<3H", info, 0, 2, width, height)
    struct.pack_into("<6f", info, 32, 1.0, 0.0, 293.15, 293.15, 293.15, 1.0)  # emissivity, distance, reflected, air
    struct.pack_into("<f", info, 60, 0.5)  # humidity
    struct.pack_into("<3f", info, 88, R1, B, F)
    struct.pack_into("<5f", info, 112, 0.006569, 0.012620, -0.002276, -0.006670, 1.9)  # air
    struct.pack_into("<if", info, 776, OFFSET, R2)
    return bytes(info)


def _raw(values: np.ndarray, camera: Camera) -> bytes:
    stored = cv2.imencode(".png", values.byteswap())[1].tobytes() if camera.raw_png else values.astype("<u2").tobytes()
    return _sized(2, values, stored)


def _photograph(pixels: np.ndarray, camera: Camera) -> bytes:
    if not camera.photo_png:
        return _sized(3, pixels, cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    file = io.BytesIO()
    Image.merge("RGB", Image.fromarray(pixels).convert("YCbCr").split()).save(file, "PNG")
    return _sized(3, pixels, file.getvalue())


def _sized(kind: int, pixels: np.ndarray, content: bytes) -> bytes:
    return struct.pack("<3H", kind, pixels.shape[1], pixels.shape[0]).ljust(32, b"\0") + content


def _fff(records: list[tuple[int, bytes]], camera: Camera) -> bytes:
    order = "<" if camera.little_endian else ">"
    entries = len(records) if camera.little_endian else _ENTRIES
    directory, body = b"", b""
    for kind, content in records:
        directory += struct.pack(order + "2H7I", kind, 1, 100, 1, _START + len(body), len(content), 0, 0, 0)
        body += content
    header = b"FFF\0".ljust(20, b"\0") + struct.pack(order + "4I", 100, _HEADER, entries, 2)
    return (header.ljust(_HEADER, b"\0") + directory).ljust(_START, b"\0") + body


def _jpeg(shown: np.ndarray, camera: Camera) -> bytes:
    exif = Image.Exif()
    exif[Base.Make] = "FLIR Systems AB"
    exif[Base.Orientation] = camera.orientation
    exif.get_ifd(IFD.Exif)[Base.DigitalZoomRatio] = camera.zoom
    file = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(np.dstack([shown] * 3)).save(file, "JPEG", exif=exif, icc_profile=profile)
    return file.getvalue()


def _with_segments(jpeg: bytes, content: bytes) -> bytes:
    """Insert APP1 segments after the EXIF segment, which PIL writes after JFIF's."""
    at = jpeg.index(b"Exif\0\0") - 4
    at += 2 + struct.unpack(">H", jpeg[at + 2:at + 4])[0]
    parts = [content[start:start + _CHUNK] for start in range(0, len(content), _CHUNK)]
    chunks = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 10) + b"FLIR\0\1" + bytes([number, len(parts) - 1])
                      + part for number, part in enumerate(parts))
    return jpeg[:at] + chunks + jpeg[at:]


def plain_jpeg(path: Path) -> Path:
    """Write a JPEG without temperatures."""
    cv2.imwrite(str(path), lit((20, 20), (WIDTH, HEIGHT), 5))
    return path


def write_dji(path: Path) -> Path:
    """A JPEG with the segments by which a DJI file is recognised; its calibration cannot be made up."""
    content = plain_jpeg(path).read_bytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x04\0\0\0DJI\0\0\0\0\0"
    segments = ((b"\xe1", exif), (b"\xe3", b"raw"), (b"\xe4", b"info"))
    path.write_bytes(content[:2] + b"".join(b"\xff" + marker + struct.pack(">H", len(part) + 2) + part
                                            for marker, part in segments) + content[2:])
    return path


def warm(at: tuple[float, float], radius: float = 5.0) -> np.ndarray:
    """A room of 20 degrees with a smooth spot of 40 degrees at (x, y), (36, 48)."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return 20 + 20 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * radius**2))


def lit(at: tuple[float, float], size: tuple[int, int], radius: float) -> np.ndarray:
    """A photograph of (width, height): dark brown, with a smooth bright spot at (x, y)."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    spot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * radius**2))
    return np.round(np.array([40, 24, 16]) + spot[..., None] * np.array([200, 180, 160])).astype(np.uint8)


def centroid(values: np.ndarray) -> np.ndarray:
    """(x, y) of the brighter half of the values."""
    weights = (values - (float(values.min()) + float(values.max())) / 2).clip(0)
    y, x = np.indices(weights.shape)
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()
