"""Files of floating-point values: OpenEXR (OpenEXR's own library) and Radiance HDR (OpenCV)."""

import math
import re
import struct
import tempfile
from pathlib import Path

import cv2
import numpy as np

from utils.pictures.content import Content, Refusal
from utils.pictures.extras import load

_EXR = b"v/1\x01"
_WINDOW = b"dataWindow\0box2i\0" + struct.pack("<I", 16)
_TILED, _SEVERAL = 0x200, 0x1800  # flags of the version: tiles; deep data or several parts
_LINES = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}  # lines of a block, by compression
_HDR_SIZE = re.compile(rb"\n[-+]Y (\d+) [-+]X (\d+)\n")
_HDR_HEAD = 4096


def is_exr(data: bytes) -> bool:
    """Whether the data start with OpenEXR's signature."""
    return data.startswith(_EXR)


def is_hdr(data: bytes) -> bool:
    """Whether the data start with a signature of Radiance."""
    return data.startswith((b"#?RADIANCE", b"#?RGBE"))


def exr_fault(data: bytes) -> str | None:
    """The reason why an EXR is incomplete or of a kind that is not read; None if nothing is found."""
    if len(data) < 8 or exr_size(data) is None:
        return "truncated or damaged (an EXR without a whole header)"
    flags = struct.unpack_from("<I", data, 4)[0]
    if flags & _SEVERAL:
        return "an EXR of several parts or with deep data; save it as one flat picture"
    if flags & _TILED:
        return None  # left to the library
    try:
        return f"truncated (an EXR of {len(data)} bytes)" if _ends_early(data) else None
    except (struct.error, KeyError, ValueError):
        return "truncated or damaged (an EXR without a whole header)"


def exr_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of an EXR; None if its header is broken."""
    at = data.find(_WINDOW)
    if at < 0 or len(data) < at + len(_WINDOW) + 16:
        return None
    left, top, right, bottom = struct.unpack_from("<4i", data, at + len(_WINDOW))
    return max(right - left + 1, 0), max(bottom - top + 1, 0)


def read_exr(data: bytes) -> Content:
    """Read the grey or colour channels of an EXR as float32; alpha is dropped.

    Raises:
        Refusal: OpenEXR is missing, or the file is damaged or has other channels.
    """
    library = load("OpenEXR", "EXR")
    with tempfile.TemporaryDirectory() as folder:  # the library reads files only
        path = Path(folder) / "picture.exr"
        path.write_bytes(data)
        try:
            with library.File(str(path)) as file:
                channels = {name: np.array(one.pixels) for name, one in file.channels().items()}
        except Exception as error:  # the library's errors have no common type
            raise Refusal(f"damaged ({error})") from error
    name = next((name for name in ("RGB", "RGBA", "Y", "YA") if name in channels), None)
    if name is None or set(channels) - {name, "A", "Z"}:
        raise Refusal(f"an EXR with the channels {', '.join(sorted(channels))}; save R, G and B, or Y, alone")
    values = channels[name].astype(np.float32)
    values = values[..., None] if values.ndim == 2 else values
    alpha = name.endswith("A") or "A" in channels
    return Content(np.ascontiguousarray(values[..., :3]), notes={"alpha": "alpha channel dropped"} if alpha else {})


def hdr_fault(data: bytes) -> str | None:
    """The reason why the header of a Radiance file cannot be read; None if it can."""
    if hdr_size(data) is None:
        return "truncated or damaged (an HDR without a whole header)"
    if b"FORMAT=32-bit_rle_xyze" in data[:_HDR_HEAD]:
        return "an HDR with XYZ values; save it with RGB values"
    return None


def hdr_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a Radiance file; None if its header is broken."""
    match = _HDR_SIZE.search(data, 0, _HDR_HEAD)
    return (int(match[2]), int(match[1])) if match else None


def read_hdr(data: bytes) -> Content:
    """Read a Radiance file as float32.

    Raises:
        Refusal: the file is truncated or damaged.
    """
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise Refusal("truncated or damaged (its header is right, its content cannot be decoded)")
    return Content(cv2.cvtColor(values, cv2.COLOR_BGR2RGB))


def _ends_early(data: bytes) -> bool:
    """Whether a block of an EXR in scan lines lies after the data; see openexr.com, file layout.

    Raises:
        struct.error, KeyError, ValueError: a broken header.
    """
    position, compression = 8, 0
    while data[position]:
        kind = data.index(b"\0", position) + 1
        value = data.index(b"\0", kind) + 1
        if data[position:value] == b"compression\0compression\0":
            compression = data[value + 4]
        position = value + 4 + struct.unpack_from("<I", data, value)[0]
        if position >= len(data):
            raise ValueError("the header ends early")
    if compression not in _LINES:
        return False  # newer than this table
    blocks = math.ceil((exr_size(data) or (0, 0))[1] / _LINES[compression])
    starts = struct.unpack_from(f"<{blocks}Q", data, position + 1)
    return any(start + 8 > len(data) or start + 8 + struct.unpack_from("<I", data, start + 4)[0] > len(data)
               for start in starts)
