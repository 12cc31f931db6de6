"""Encodes pictures with their metadata: OpenCV (PNG, BMP), tifffile (TIFF), pillow-heif (HEIC), Pillow (the others)."""

import io

import cv2
import numpy as np
import tifffile
from PIL import Image

from utils.pictures import exif
from utils.pictures.content import Metadata, Refusal
from utils.pictures.extras import load
from utils.pictures.formats import Format
from utils.pictures.metadata import into_png
from utils.pictures.notes import note_once

QUALITY = 95
_FULL_CHROMA = 90  # the quality from which on colours are stored at full resolution
_HEIC_SPEED = {"preset": "medium"}  # of x265; the default, slow, takes twice as long for files 3 % smaller
_JPEG_SEGMENT = 65_533  # bytes
_JPEG_XMP = 29  # bytes that name the packet in its segment
_XMP = 700  # tag of a TIFF


def encode(pixels: np.ndarray, target: Format, metadata: Metadata, quality: int | None) -> bytes:
    """Encode a picture.

    Args:
        pixels: (H, W, 1) or (H, W, 3) RGB, ``uint8``, or ``uint16`` for a deep format (10 bits in HEIC).
        target: the format.
        metadata: of the picture itself, see ``Metadata.of_result``.
        quality: 1 to 100 for a lossy format; 95 if None.

    Raises:
        Refusal: a library is missing, or the format cannot hold a picture of this size.
    """
    if target.name == "TIFF":
        return _tiff(pixels, metadata)
    if target.name in ("PNG", "BMP"):
        stored = pixels if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        done, encoded = cv2.imencode(target.suffixes[0], stored)
        if not done:
            raise RuntimeError(f"OpenCV could not encode {stored.shape} of {stored.dtype} as {target.name}")
        return into_png(encoded.tobytes(), metadata) if target.name == "PNG" else encoded.tobytes()
    quality = QUALITY if quality is None else quality
    if target.name == "HEIF":
        return _heic(pixels, metadata, quality)
    return _by_pillow(pixels, target, metadata, quality)


def _by_pillow(pixels: np.ndarray, target: Format, metadata: Metadata, quality: int) -> bytes:
    stream, about = io.BytesIO(), _about(metadata, target)
    if target.name == "JPEG":
        about["subsampling"] = 0 if quality >= _FULL_CHROMA else 2
    elif target.name == "AVIF":
        about["subsampling"] = "4:4:4" if quality >= _FULL_CHROMA else "4:2:0"
    try:
        Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(stream, target.name, quality=quality,
                                                                                **about)
    except KeyError as error:
        raise Refusal(f"this Pillow cannot write {target.name}; pip install --upgrade pillow") from error
    except (OSError, ValueError) as error:
        raise Refusal(f"{target.name} cannot hold this picture of {pixels.shape[1]} x {pixels.shape[0]} pixels "
                      f"({error}); write .png or .tif") from error
    return stream.getvalue()


def _heic(pixels: np.ndarray, metadata: Metadata, quality: int) -> bytes:
    library = load("pillow_heif", "HEIC")
    if pixels.dtype == np.uint16:  # the encoder takes the highest 10 of 16 bits
        pixels = (np.floor(pixels * (1023 / 65535) + 0.5)).astype(np.uint16) << 6
    mode = ("L", "I;16")[pixels.dtype == np.uint16] if pixels.shape[2] == 1 else \
        ("RGB", "RGB;16")[pixels.dtype == np.uint16]
    stream = io.BytesIO()
    picture = library.from_bytes(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels).tobytes())
    picture.save(stream, quality=quality, chroma=444 if quality >= _FULL_CHROMA else 420, enc_params=_HEIC_SPEED,
                 **_about(metadata))
    return stream.getvalue()


def _about(metadata: Metadata, target: Format | None = None) -> dict:
    """Keywords of Pillow's writers for the metadata; what does not fit a JPEG is left out, which is noted."""
    record = metadata.exif and exif.PREFIX + metadata.exif
    kept = {"icc_profile": metadata.icc, "exif": record, "xmp": metadata.xmp}
    if target and target.name == "JPEG":
        for name, room in (("exif", _JPEG_SEGMENT), ("xmp", _JPEG_SEGMENT - _JPEG_XMP)):
            if len(kept[name] or b"") > room:
                note_once(f"{name.upper()} of {len(kept[name]) >> 10} kB is not kept, as a JPEG holds 64 kB; "
                          "write .png or .tif to keep it", f"{name} too large")
                kept[name] = None
    return {name: value for name, value in kept.items() if value}


def _tiff(pixels: np.ndarray, metadata: Metadata) -> bytes:
    """Encode a TIFF, deflated."""
    packet = [(_XMP, 1, len(metadata.xmp), metadata.xmp, True)] if metadata.xmp else []
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels if pixels.shape[2] == 3 else pixels[..., 0],
                     byteorder=exif.byte_order(metadata.exif) if metadata.exif else "<",
                     photometric="rgb" if pixels.shape[2] == 3 else "minisblack", compression="zlib", predictor=True,
                     iccprofile=metadata.icc, extratags=packet, metadata=None, software=False)
    return exif.into_tiff(stream.getvalue(), metadata.exif) if metadata.exif else stream.getvalue()
