"""Writes pictures atomically, with metadata inherited from their sources."""

from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import atomic_write
from utils.pictures.content import Metadata, Refusal
from utils.pictures.encoding import encode
from utils.pictures.formats import BY_SUFFIX, DEEP, WRITABLE, Format
from utils.pictures.picture import Picture


def format_of(path: Path) -> Format:
    """The format of a file to be written, by its suffix.

    Raises:
        UserError: pictures are not written with this suffix.
    """
    if path.suffix.lower() not in BY_SUFFIX:
        raise UserError(f"{path}: pictures are written as {', '.join(WRITABLE)}, not {path.suffix or 'without suffix'}")
    return BY_SUFFIX[path.suffix.lower()]


def write_picture(path: str | Path, pixels: np.ndarray, metadata: Metadata | None = None, *,
                  quality: int | None = None) -> Path:
    """Write a picture atomically.

    Args:
        path: the suffix selects the format; PNG if there is no suffix.
        pixels: (H, W), (H, W, 1) or (H, W, 3) RGB, ``uint8`` or ``uint16`` (PNG, TIFF and HEIC only).
        metadata: colour profile, EXIF record and XMP packet of a source; written as those of an upright picture of
            this size, without thumbnail, to all formats but BMP.
        quality: 1 to 100, for JPEG, WebP, HEIC and AVIF; by default 95.

    Returns:
        The path of the written file.

    Raises:
        UserError: the format cannot store the picture, its library is missing, or the disk is full.
        ValueError: pixels of another shape or type.
    """
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".png")
    picture = Picture(pixels[..., None] if pixels.ndim == 2 else pixels, path)
    target = format_of(path)
    if picture.bit_depth == 16 and not target.deep:
        raise UserError(f"{path}: {path.suffix} holds 8 bit only; write 16 bit as {', '.join(DEEP)}")
    about = (metadata or Metadata()).of_result(picture.size, picture.pixels.shape[2])
    try:
        content = encode(picture.pixels, target, about, quality)
    except Refusal as refusal:
        raise UserError(f"{path}: {refusal}") from refusal
    with atomic_write(path, durable=False) as temporary:
        temporary.write_bytes(content)
    return path
