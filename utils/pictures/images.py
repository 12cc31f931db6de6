"""Pictures in and out: 8 and 16 bit, grey and colour, and the colour space in which infrared meets visible.

Inside the project a picture is (H,W,C) RGB ``uint8`` or ``uint16`` with one or three channels; OpenCV's BGR order
and alpha channels end here.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from utils.errors import UserError
from utils.files import atomic_write
from utils.pictures.codecs import decode, read_bytes

log = logging.getLogger(__name__)

ValueRange = Literal["full", "minmax", "percentile"]
PERCENTILES = (0.5, 99.5)

_HIGHEST = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
_GREY_ALPHA_PNG = 4  # colour type in a PNG's header
_LOSSY = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95]}
_ONLY_8_BIT = {".jpg", ".jpeg", ".bmp"}
_WRITABLE = _ONLY_8_BIT | {".png", ".tif", ".tiff"}
_noted: set[str] = set()


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: (H,W,C), RGB order, C 1 or 3, ``uint8`` or ``uint16``.
        path: the file it came from; None for an array.
    """

    pixels: np.ndarray
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype not in _HIGHEST or self.pixels.ndim != 3 or self.pixels.shape[2] not in (1, 3):
            raise ValueError(
                f"a picture is (H,W,1) or (H,W,3) of uint8 or uint16, not {self.pixels.shape} of "
                f"{self.pixels.dtype}")

    @property
    def bit_depth(self) -> int:
        """8 or 16."""
        return self.pixels.dtype.itemsize * 8

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def is_grey(self) -> bool:
        """One channel."""
        return self.pixels.shape[2] == 1


def read_picture(path: str | Path, *, value_range: ValueRange = "full") -> Picture:
    """Reads PNG, TIFF (8 or 16 bit), JPEG, BMP or WebP.

    The EXIF turn of a JPEG is applied, as viewers do. An alpha channel is dropped, with one note in the log.

    Args:
        path: the file; any characters.
        value_range: ``full`` leaves the values alone; ``minmax`` and ``percentile`` see :func:`stretch`.

    Raises:
        MissingFileError: no such file.
        UserError: empty, truncated, no picture, or of a type other than 8 or 16 bit; names the file.
    """
    path = Path(path)
    data = read_bytes(path)
    turned = data.startswith(b"\xff\xd8")
    pixels = decode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if turned else cv2.IMREAD_UNCHANGED, path)
    if pixels.dtype not in _HIGHEST:
        raise UserError(f"{path}: values of type {pixels.dtype}; convert it to 8 or 16 bit without sign")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    elif pixels.shape[2] == 4:
        _note_once(f"alpha channel dropped (first seen in {path})", key="alpha")
        is_grey = data.startswith(b"\x89PNG") and data[25] == _GREY_ALPHA_PNG
        pixels = pixels[..., :1] if is_grey else cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB)
    elif pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    else:
        raise UserError(f"{path}: {pixels.shape[2]} channels; give a grey, RGB or RGBA picture")
    picture = Picture(np.ascontiguousarray(pixels), path)
    return replace(picture, pixels=stretch(picture.pixels, value_range))


def stretch(pixels: np.ndarray, value_range: ValueRange) -> np.ndarray:
    """Maps the values in use to the whole range of the type, for sensors that use a part of 16 bits.

    All channels share one map. A picture of one value stays as it is.

    Args:
        pixels: ``uint8`` or ``uint16``, any shape.
        value_range: ``full``: no change. ``minmax``: the least value becomes 0 and the greatest 255 (65535).
            ``percentile``: the same with the 0.5th and 99.5th percentile, values beyond are clipped; a few
            dead or burnt pixels then have no say.
    """
    if value_range == "full":
        return pixels
    if value_range == "minmax":
        low, high = float(pixels.min()), float(pixels.max())
    elif value_range == "percentile":
        low, high = (float(value) for value in np.percentile(pixels, PERCENTILES))
    else:
        raise ValueError(f"value range {value_range!r}; give full, minmax or percentile")
    if high <= low:
        return pixels
    scaled = (pixels.astype(np.float64) - low) / (high - low)
    return _to_integers(scaled, pixels.dtype)


def write_picture(path: str | Path, pixels: np.ndarray) -> Path:
    """Writes a picture beside its name and renames it; never a part of one.

    Args:
        path: the suffix chooses PNG, TIFF, JPEG (quality 95) or BMP; without a suffix it becomes a PNG.
        pixels: (H,W), (H,W,1) or (H,W,3) RGB, ``uint8`` or ``uint16`` (PNG and TIFF only).

    Returns:
        The path that was written.

    Raises:
        UserError: a format that cannot hold the picture, or a full disk.
        ValueError: pixels of another shape or type.
    """
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".png")
    suffix = path.suffix.lower()
    picture = Picture(pixels[..., None] if pixels.ndim == 2 else pixels, path)
    if suffix not in _WRITABLE:
        raise UserError(f"{path}: pictures are written as {', '.join(sorted(_WRITABLE))}, not {suffix}")
    if picture.bit_depth == 16 and suffix in _ONLY_8_BIT:
        raise UserError(f"{path}: {suffix} holds 8 bit only; write 16 bit as .png or .tif")
    stored = picture.pixels if picture.is_grey else cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(suffix, stored, _LOSSY.get(suffix, []))
    if not done:
        raise RuntimeError(f"{path}: OpenCV could not encode {stored.shape} of {stored.dtype}")
    with atomic_write(path, durable=False) as temporary:
        temporary.write_bytes(encoded)
    return path


def to_unit(picture: Picture) -> np.ndarray:
    """(C,H,W) ``float32`` in [0,1]."""
    scale = np.float32(_HIGHEST[picture.pixels.dtype])
    return np.ascontiguousarray(picture.pixels.transpose(2, 0, 1)).astype(np.float32) / scale


def from_unit(array: np.ndarray, bit_depth: int = 8) -> np.ndarray:
    """The stored values of a picture in [0,1]: rounded half up, clipped, not stretched.

    Args:
        array: (C,H,W), float.
        bit_depth: 8 or 16.

    Returns:
        (H,W,C) ``uint8`` or ``uint16``.

    Raises:
        ValueError: another bit depth, or values that are not finite.
    """
    dtypes = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16)}
    if bit_depth not in dtypes:
        raise ValueError(f"bit depth {bit_depth}; give 8 or 16")
    return np.ascontiguousarray(_to_integers(array, dtypes[bit_depth]).transpose(1, 2, 0))


def luma(rgb: Tensor) -> Tensor:
    """BT.601 luma: (...,3,H,W) in [0,1] to (...,1,H,W) in [0,1]."""
    red, green, blue = _channels(rgb)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """Full-range BT.601 (as in JPEG): (...,3,H,W) in [0,1]; chroma is centred on 0.5."""
    red, _, blue = _channels(rgb)
    y = luma(rgb)
    return torch.cat((y, (blue - y) / 1.772 + 0.5, (red - y) / 1.402 + 0.5), dim=-3)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Inverse of :func:`rgb_to_ycbcr`, by solving its three equations; nothing is clipped."""
    y, cb, cr = _channels(ycbcr)
    red = y + 1.402 * (cr - 0.5)
    blue = y + 1.772 * (cb - 0.5)
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    return torch.cat((red, green, blue), dim=-3)


def _channels(picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if picture.ndim < 3 or picture.shape[-3] != 3:
        raise ValueError(f"three channels are needed, (...,3,H,W), not {tuple(picture.shape)}")
    return picture.split(1, dim=-3)


def _to_integers(unit: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if not np.isfinite(unit.sum()):
        raise ValueError(f"a picture of shape {unit.shape} holds values that are not finite")
    highest = _HIGHEST[dtype]
    return np.clip(np.floor(unit * highest + 0.5), 0, highest).astype(dtype)


def _note_once(text: str, key: str) -> None:
    if key not in _noted:
        _noted.add(key)
        log.info(text)
