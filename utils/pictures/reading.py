"""Reads files as :class:`Picture`, for fusing, training, metrics and reports alike.

A picture is (H, W, C) RGB ``uint8`` or ``uint16`` with one or three channels. BGR order, alpha channels, EXIF
orientation and other depths are converted here, and three equal channels are reduced to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from utils.errors import UserError
from utils.pictures.boxes import is_avif, is_heic
from utils.pictures.codecs import MAX_PIXELS, check_file, decode, read_bytes
from utils.pictures.colour import without_equal_channels
from utils.pictures.content import Content, Metadata, Refusal
from utils.pictures.depth import HIGHEST, ValueRange, stretch_together, to_8_bit
from utils.pictures.floats import is_exr, is_hdr, read_exr, read_hdr
from utils.pictures.heif import read_avif, read_heic
from utils.pictures.metadata import read_metadata, turned
from utils.pictures.notes import note_once
from utils.pictures.picture import Picture, Role
from utils.pictures.profiles import in_one_space
from utils.pictures.raw import RawLook, is_raw, read_raw
from utils.pictures.structure import is_jpeg, is_png, is_tiff, stored_size
from utils.pictures.tiff import read_tiff

if TYPE_CHECKING:
    from option.schema import PairDataOptions, TrainDataOptions

_GREY_ALPHA_PNG = 4  # colour type in a PNG's header
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
_HARDLY_USED = 0.1  # share of the 16-bit range; 12-bit sensors use a sixteenth


@dataclass(frozen=True)
class ReadingRule:
    """How pixel values of a data set are mapped to the full range; recorded with every run.

    Attributes:
        value_range: see :func:`utils.pictures.depth.stretch_together`.
        infrared_range: range of the infrared picture; None for ``value_range``.
        joint: use one map for all pictures of a scene. None: one map for exposures and focus series, whose
            differences in brightness matter, and separate maps for infrared and visible.
        max_pixels: larger pictures are rejected.
        raw: how raw files of cameras are developed, see :func:`utils.pictures.raw.read_raw`.
    """

    value_range: ValueRange = "full"
    infrared_range: ValueRange | None = None
    joint: bool | None = None
    max_pixels: int = MAX_PIXELS
    raw: RawLook = "camera"

    @classmethod
    def of(cls, options: PairDataOptions | TrainDataOptions) -> ReadingRule:
        """The rule defined by a section of the option file."""
        return cls(options.range, options.ir_range, options.range_joint, round(options.max_megapixels * 1e6),
                   options.raw)


AS_STORED = ReadingRule()


@dataclass(frozen=True)
class Stored:
    """A decoded file before its values are mapped to a range.

    Attributes:
        path: the file.
        values: (H, W, 1 or 3) RGB of any real type, upright; ``uint8`` and ``uint16`` span their full range.
        metadata: colour profile, EXIF record, XMP packet and the orientation that was applied.
        notes: remarks on omitted content, by kind.
    """

    path: Path
    values: np.ndarray
    metadata: Metadata
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def brightness(self) -> float:
        """Mean of all values; in [0, 1] for ``uint8`` and ``uint16``."""
        return float(self.values.mean()) / HIGHEST.get(self.values.dtype, 1)


def read_picture(path: str | Path, *, value_range: ValueRange = "full", max_pixels: int = MAX_PIXELS,
                 role: Role = "none") -> Picture:
    """Read a picture of any supported format; docs/DATA.md lists them.

    The EXIF orientation is applied. An alpha channel is dropped and noted once in the log. Three equal channels are
    reduced to one.

    Args:
        path: the file; its name may contain any characters.
        value_range: ``full`` keeps the values. ``minmax`` and ``percentile``: see
            :func:`utils.pictures.depth.stretch_together`; required for floats and signed integers.
        max_pixels: larger pictures are rejected before decoding.
        role: what the picture shows.

    Raises:
        MissingFileError: no such file.
        UserError: empty, truncated, not a picture, too large, or of a type that ``value_range`` cannot map; names
            the file.
    """
    stored = read_stored(Path(path), max_pixels)
    return _pictures([stored], value_range, [role])[0]


def read_scene(paths: Sequence[Path], rule: ReadingRule, roles: Sequence[Role]) -> list[Picture]:
    """Read the pictures of one scene, in one colour space (see :func:`utils.pictures.profiles.in_one_space`).

    Args:
        paths: the files.
        rule: how values are mapped.
        roles: what each picture shows.

    Raises:
        MissingFileError, UserError: as :func:`read_picture`.
    """
    stored = [read_stored(path, rule.max_pixels, rule.raw) for path in paths]
    ranges = [rule.infrared_range if role == "infrared" and rule.infrared_range else rule.value_range
              for role in roles]
    joint = rule.joint if rule.joint is not None else "infrared" not in roles
    joint = joint and len(set(ranges)) == 1
    parts = [slice(None)] if joint else [slice(index, index + 1) for index in range(len(stored))]
    pictures: list[Picture] = []
    for part in parts:
        pictures += _pictures(stored[part], ranges[part][0], roles[part])
        if ranges[part][0] == "full":
            hint_range(pictures[part])
    return in_one_space(pictures)


def read_grey_or_rgb(path: str | Path, *, value_range: ValueRange = "full") -> np.ndarray:
    """Read a picture for metrics and reports as (H, W) or (H, W, 3) ``uint8``; otherwise like :func:`read_picture`.

    16 bits are reduced to 8 by ``round(v / 257)``, because every metric is defined on 0..255.
    """
    pixels = to_8_bit(read_picture(path, value_range=value_range).pixels)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def read_rgb8(data: bytes, path: Path, *, at_least: int | None = None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a picture as (H, W, 3) ``uint8`` RGB, upright; for training, where depth and grey do not matter.

    Args:
        data: the file's content.
        path: source of ``data``, for messages.
        at_least: required length of the short side in pixels. A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size
            if the short side stays at least this long, which saves most of the work.
        max_pixels: larger pictures are rejected before decoding.

    Raises:
        UserError: as :func:`read_picture`.
    """
    if is_jpeg(data):
        short = min(stored_size(data) or (0, 0))
        flags = next((flag for factor, flag in _REDUCED.items() if at_least and short // factor >= at_least),
                     cv2.IMREAD_COLOR)
        check_file(data, path, max_pixels)
        pixels = decode(data, path, flags=flags | cv2.IMREAD_IGNORE_ORIENTATION)
        return cv2.cvtColor(np.ascontiguousarray(turned(pixels, read_metadata(data).turn)), cv2.COLOR_BGR2RGB)
    picture = _pictures([_parse(data, path, max_pixels)], "full", ["none"])[0]
    pixels = to_8_bit(picture.pixels)
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if picture.is_grey else pixels


def read_stored(path: Path, max_pixels: int = MAX_PIXELS, raw: RawLook = "camera") -> Stored:
    """Decode a file with values of any type; omitted content is noted once in the log.

    Raises:
        MissingFileError, UserError: as :func:`read_picture`, except for the range.
    """
    stored = _parse(read_bytes(path), path, max_pixels, raw)
    for key, text in stored.notes.items():
        note_once(f"{text} (first seen in {path})", key)
    return stored


def _parse(data: bytes, path: Path, max_pixels: int, raw: RawLook = "camera") -> Stored:
    """Decode a file's content.

    Raises:
        UserError: as :func:`read_picture`.
    """
    try:
        if is_tiff(data) and not is_raw(data, path.suffix):  # its structure is checked on the way
            content = read_tiff(data, max_pixels)
        else:
            check_file(data, path, max_pixels)
            content = read_raw(data, max_pixels, raw) if is_raw(data, path.suffix) else _decoded(data, path)
    except Refusal as refusal:
        raise UserError(f"{path}: {refusal}") from refusal
    return Stored(path, turned(content.values, content.metadata.turn), content.metadata, content.notes)


def _decoded(data: bytes, path: Path) -> Content:
    """Decode a checked file that is neither TIFF nor raw.

    Raises:
        Refusal, UserError: damaged, or a library is missing.
    """
    for belongs, read in ((is_heic, read_heic), (is_avif, read_avif), (is_exr, read_exr), (is_hdr, read_hdr)):
        if belongs(data):
            return read(data)
    pixels, metadata = decode(data, path), read_metadata(data)
    notes = {}
    if pixels.shape[2] == 4:
        notes["alpha"] = "alpha channel dropped"
        grey = is_png(data) and data[25] == _GREY_ALPHA_PNG
        pixels = pixels[..., :1] if grey else cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB)
    elif pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return Content(pixels, metadata, notes)


def _pictures(stored: Sequence[Stored], value_range: ValueRange, roles: Sequence[Role]) -> list[Picture]:
    """Make pictures, with one map for all their values."""
    for one in stored:
        if one.values.dtype.kind == "f" and not np.isfinite(one.values).all():
            unknown = one.values.size - np.count_nonzero(np.isfinite(one.values))
            raise UserError(f"{one.path}: {unknown} of its {one.values.dtype} values are NaN or infinite; fill them")
    values = [without_equal_channels(one.values) for one in stored]
    try:
        values = stretch_together(values, value_range)
    except UserError as error:
        raise UserError(f"{stored[0].path}: {error}") from error
    return [Picture(np.ascontiguousarray(array), one.path, one.metadata, role)
            for one, array, role in zip(stored, values, roles)]


def hint_range(pictures: Sequence[Picture]) -> None:
    """Suggest a range if 16-bit pictures that are mapped together use only a small part of their values."""
    if any(one.bit_depth != 16 for one in pictures):
        return
    low, high = (int(end([end(one.pixels) for one in pictures])) for end in (np.min, np.max))
    if 0 < high - low < _HARDLY_USED * 65536:
        roles = [one.role for one in pictures]
        which = "ir_range (or range)" if "infrared" in roles else "range"
        note_once(f"{pictures[0].path}: uses {high - low + 1} of 65536 values ({low} to {high}) and shows next to "
                  f"nothing; set {which} to percentile or minmax, e.g. --set dataset.test."
                  f"{which.split()[0]}=percentile; defusionpp fuse: --range percentile", f"range of {','.join(roles)}")
