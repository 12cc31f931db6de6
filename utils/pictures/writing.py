"""Writes pictures atomically, with metadata inherited from their sources."""

from pathlib import Path

import cv2
import numpy as np

from utils.errors import UserError
from utils.files import atomic_write
from utils.pictures.metadata import Metadata, into_png
from utils.pictures.picture import Picture

_LOSSY = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95]}
_ONLY_8_BIT = {".jpg", ".jpeg", ".bmp"}
WRITABLE = _ONLY_8_BIT | {".png", ".tif", ".tiff"}


def write_picture(path: str | Path, pixels: np.ndarray, metadata: Metadata | None = None) -> Path:
    """Write a picture atomically.

    Args:
        path: the suffix selects PNG, TIFF, JPEG (quality 95) or BMP; PNG if there is no suffix.
        pixels: (H, W), (H, W, 1) or (H, W, 3) RGB, ``uint8`` or ``uint16`` (PNG and TIFF only).
        metadata: colour profile and EXIF record; written to PNG only.

    Returns:
        The path of the written file.

    Raises:
        UserError: the format cannot store the picture, or the disk is full.
        ValueError: pixels of another shape or type.
    """
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".png")
    suffix = path.suffix.lower()
    picture = Picture(pixels[..., None] if pixels.ndim == 2 else pixels, path)
    if suffix not in WRITABLE:
        raise UserError(f"{path}: pictures are written as {', '.join(sorted(WRITABLE))}, not {suffix}")
    if picture.bit_depth == 16 and suffix in _ONLY_8_BIT:
        raise UserError(f"{path}: {suffix} holds 8 bit only; write 16 bit as .png or .tif")
    stored = picture.pixels if picture.is_grey else cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(suffix, stored, _LOSSY.get(suffix, []))
    if not done:
        raise RuntimeError(f"{path}: OpenCV could not encode {stored.shape} of {stored.dtype}")
    content = encoded.tobytes()
    if metadata and suffix == ".png":
        content = into_png(content, metadata, picture.pixels.shape[2])
    with atomic_write(path, durable=False) as temporary:
        temporary.write_bytes(content)
    return path
