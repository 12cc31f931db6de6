"""Reads radiometric JPEGs: pictures of thermal cameras that contain a temperature for each pixel.

FLIR cameras (and drones with a FLIR sensor, such as DJI's XT 2) store raw values, calibration, the photograph and its
position in APP1 segments, which the package flyr decodes. DJI's R-JPEGs store raw values and calibration in APP3 to
APP5, which the package dji-thermal-cli decodes; their photograph is a file of its own.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import tifffile
from PIL import Image
from PIL.ExifTags import IFD, Base

from utils.errors import UserError
from utils.files import atomic_write
from utils.pictures.codecs import read_bytes
from utils.pictures.metadata import Metadata, read_metadata
from utils.pictures.structure import PNG, fault, is_jpeg, jpeg_segments

if TYPE_CHECKING:
    from flyr.thermogram import FlyrThermogram

Maker = Literal["FLIR", "DJI"]
TEMPERATURE_FILES = (".tif", ".tiff")

_APP1, _APP3, _APP4 = 0xE1, 0xE3, 0xE4
_FLIR, _EXIF = b"FLIR\0", b"Exif\0\0"
_DIRECTORY = 20, 3  # place of three numbers in FLIR's header: version, offset and length of the record directory
_RECORD, _RECORDS_AT = 32, 64  # bytes of a record's entry; place of the directory in all files seen
_INSTALL = {"FLIR": "flyr is not installed; pip install 'defusionpp[thermal]'",
            "DJI": "dji-thermal-cli is not installed; pip install 'defusionpp[thermal-dji]' (Python 3.12 or newer)"}


@dataclass(frozen=True)
class Offsets:
    """Position of the infrared picture in the embedded photograph, as FLIR stores it.

    Attributes:
        real_to_ir: width of the photograph, divided by the width of the infrared's field in it (Real2IR, divided by the
            digital zoom: the stored values are those of the whole sensor).
        right, down: offset of the infrared's centre from that of the photograph, in its pixels (OffsetX, OffsetY).
    """

    real_to_ir: float
    right: float
    down: float


@dataclass(frozen=True)
class Thermogram:
    """The content of a radiometric JPEG, as stored: the EXIF orientation is not applied.

    Attributes:
        path: the file.
        celsius: (H, W) float32, degrees Celsius for the emissivity, distance and air stored in the file.
        photograph: the embedded photograph, (H, W, 3) or (H, W, 1) uint8; None if there is none.
        offsets: position of the infrared in the photograph, if stored.
        metadata: EXIF record and orientation.
    """

    path: Path
    celsius: np.ndarray
    photograph: np.ndarray | None
    offsets: Offsets | None
    metadata: Metadata


def is_radiometric(path: str | Path) -> bool:
    """Whether a file is a JPEG with temperatures; False if it cannot be read. Touches only the file's headers."""
    try:
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return maker_of(data) is not None
    except (OSError, ValueError):  # mmap refuses empty files with a ValueError
        return False


def maker_of(data: bytes | mmap.mmap) -> Maker | None:
    """Whose temperatures a file contains; None if it has none."""
    if not is_jpeg(data[:2]):
        return None
    seen, exif = set(), b""
    for marker, start, end in jpeg_segments(data):
        if marker == _APP1 and data[start:start + len(_FLIR)] == _FLIR:
            return "FLIR"
        if marker == _APP1 and data[start:start + len(_EXIF)] == _EXIF:
            exif = data[start:end]
        seen.add(marker)
    return "DJI" if {_APP3, _APP4} <= seen and b"DJI\0" in exif else None


def read_thermogram(path: str | Path) -> Thermogram:
    """Read a radiometric JPEG.

    Raises:
        MissingFileError: no such file.
        UserError: damaged, without temperatures, or the package that decodes it is not installed.
    """
    path = Path(path)
    data = read_bytes(path)
    maker = maker_of(data)
    reason = fault(data)
    if maker is None or reason:
        raise UserError(f"{path}: {reason or 'no temperatures inside'}; give a radiometric JPEG of a FLIR or DJI "
                        "camera")
    metadata = replace(read_metadata(data), icc=None)  # a profile would be that of the rendered picture
    try:
        celsius, photograph, offsets = _read_flir(data, metadata) if maker == "FLIR" else (_read_dji(path), None, None)
        if not np.isfinite(celsius).any():
            raise ValueError("there are none")
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: temperatures of a {maker} camera; {_INSTALL[maker]}") from error
    except Exception as error:  # a damaged record raises whatever its parser meets
        raise UserError(f"{path}: its temperatures cannot be read ({type(error).__name__}: {error}); open it in the "
                        "camera maker's program and save it again") from error
    return Thermogram(path, np.ascontiguousarray(celsius, np.float32), photograph, offsets, metadata)


def write_temperatures(path: Path, celsius: np.ndarray) -> Path:
    """Write temperatures (H, W) as a float32 TIFF in degrees Celsius, losslessly compressed; NaN is no value."""
    with atomic_write(path, durable=False) as temporary:
        tifffile.imwrite(temporary, celsius.astype(np.float32), compression="zlib", predictor=True,
                         description="temperature in degrees Celsius")
    return path


def _read_flir(data: bytes, metadata: Metadata) -> tuple[np.ndarray, np.ndarray | None, Offsets | None]:
    """Temperatures, photograph and its offsets."""
    import flyr

    data = _big_endian(data)
    content: FlyrThermogram = flyr.unpack(io.BytesIO(data))
    place = content.pip_info
    offsets = None
    if place and place.real_to_ir > 0:
        offsets = Offsets(place.real_to_ir / _zoom(metadata), place.offset_x, place.offset_y)
    photograph = content.optical
    if photograph is not None:
        photograph = photograph[..., None] if photograph.ndim == 2 else photograph[..., :3]
        if _photograph_is_png(data) and photograph.shape[2] == 3:
            photograph = cv2.cvtColor(photograph[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB)
    return content.celsius, photograph, offsets


def _zoom(metadata: Metadata) -> float:
    """The digital zoom of the display; 1 if there is none or the entry is senseless (an AX8 says 0.2 and has none)."""
    record = Image.Exif()
    if metadata.exif:
        record.load(metadata.exif)
    zoom = float(record.get_ifd(IFD.Exif).get(Base.DigitalZoomRatio) or 1)
    return zoom if 1 < zoom < np.inf else 1.0


def _read_dji(path: Path) -> np.ndarray:
    import dji_thermal_cli

    return dji_thermal_cli.measure(path).temperature


def _photograph_is_png(data: bytes) -> bool:
    """Whether the photograph is stored as PNG; its channels are then Y, Cb and Cr."""
    from flyr.records import RecordIndex, extract_flir_app1, parse_flir_records

    records = extract_flir_app1(io.BytesIO(data))
    start = parse_flir_records(records)[RecordIndex.EMBEDDED_IMAGE.value][2] + _RECORD  # its own header has 32 bytes
    return records.getvalue()[start:start + len(PNG)] == PNG


def _big_endian(data: bytes) -> bytes:
    """Rewrite a little-endian record directory (drone cameras) as big-endian, the only one that flyr reads.

    flyr also counts the directory from the start of the header, so that the number of entries grows by two.
    """
    header = data.find(b"FFF\0")
    place, count = _DIRECTORY
    if header < 0 or header + _RECORDS_AT > len(data):
        return data
    version, offset, entries = struct.unpack_from(f"<{count}I", data, header + place)
    if version >= 1 << 16 or offset != _RECORDS_AT:
        return data
    fixed = bytearray(data)
    struct.pack_into(f">{count}I", fixed, header + place, version, offset, entries + _RECORDS_AT // _RECORD)
    with contextlib.suppress(struct.error):  # a truncated directory is flyr's to report
        for entry in range(entries):
            at = header + offset + _RECORD * entry
            struct.pack_into(">2H7I", fixed, at, *struct.unpack_from("<2H7I", fixed, at))
    return bytes(fixed)
