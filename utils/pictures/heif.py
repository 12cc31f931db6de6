"""Reads HEIC (pillow-heif) and AVIF (imagecodecs, metadata by Pillow)."""

import io
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image

from utils.pictures import exif
from utils.pictures.boxes import avif_bits
from utils.pictures.content import Content, Metadata, Refusal
from utils.pictures.depth import widen
from utils.pictures.extras import load

_PQ, _HLG = 16, 18  # transfer functions (ITU-T H.273, table 3)
_HDR = {"hdr": "a HEIC with HDR values (PQ or HLG) is fused as stored; the result has no mark of it and looks pale"}


def read_heic(data: bytes) -> Content:
    """Read the main picture of a HEIC, turned as the file says, of 8 bits or of 10 and 12 bits scaled to 16.

    Raises:
        Refusal: pillow-heif is missing, or the file is damaged.
    """
    library = load("pillow_heif", "HEIC")
    try:
        picture = library.open_heif(data, convert_hdr_to_8bit=False)
        values = np.asarray(picture)
    except Exception as error:  # libheif's errors have no common type
        raise Refusal(f"damaged ({error})") from error
    about = picture.info
    if values.dtype == np.uint16:  # the library fills the lowest bits with zeros
        bits = int(about.get("bit_depth") or 16)
        values = widen(values >> (16 - bits), 2**bits - 1)
    hdr = (about.get("nclx_profile") or {}).get("transfer_characteristics") in (_PQ, _HLG)
    # The picture is upright: the library turns it by the container's own entries, and EXIF has no say.
    metadata = Metadata(about.get("icc_profile") or None, _record(about), 1, about.get("xmp") or None)
    return _content(values, metadata, _HDR if hdr and not metadata.icc else {})


def read_avif(data: bytes) -> Content:
    """Read an AVIF (the first picture of a series), of 8 bits or of 10 and 12 bits scaled to 16.

    Raises:
        Refusal: the file is damaged.
    """
    import imagecodecs

    try:
        values = imagecodecs.avif_decode(data, index=0)
    except Exception as error:  # libavif's errors have no common type
        raise Refusal(f"damaged ({error})") from error
    if values.dtype == np.uint16:
        values = widen(values, 2**avif_bits(data) - 1)
    about: dict[str, Any] = {}
    with suppress(Exception), Image.open(io.BytesIO(data)) as picture:  # metadata that Pillow cannot read are left out
        about = picture.info
    record = _record(about)
    turn = exif.orientation(record) if record else 1  # Pillow writes the container's entries into the record
    return _content(values, Metadata(about.get("icc_profile"), record, turn, about.get("xmp")), {})


def _record(about: dict[str, Any]) -> bytes | None:
    return (about.get("exif") or b"").removeprefix(exif.PREFIX) or None


def _content(values: np.ndarray, metadata: Metadata, notes: dict[str, str]) -> Content:
    """The content without alpha."""
    values = values[..., None] if values.ndim == 2 else values
    colours = values.shape[2] - (values.shape[2] in (2, 4))
    if colours < values.shape[2]:
        notes = {**notes, "alpha": "alpha channel dropped"}
    return Content(np.ascontiguousarray(values[..., :colours]), metadata, notes)
