"""Turns a radiometric JPEG into a pair to fuse: the temperatures as infrared picture, and the photograph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from utils.errors import UserError
from utils.pictures.alignment import AlignRule, Calibration
from utils.pictures.alignment.estimate import Alignment
from utils.pictures.alignment.rule import Margin
from utils.pictures.depth import PERCENTILES, ValueRange, to_integers
from utils.pictures.metadata import turned
from utils.pictures.notes import note_once
from utils.pictures.pairs import align_pictures
from utils.pictures.picture import Picture
from utils.pictures.reading import read_picture
from utils.pictures.thermal.files import Thermogram, read_thermogram

Limits = tuple[float, float]
_NARROWEST = 0.1  # degrees of a range that is found from a picture of one temperature


class ThermalScene(NamedTuple):
    """A pair to fuse, with its temperatures.

    Attributes:
        infrared: the temperatures as a grey picture: ``limits`` become black and white.
        visible: the photograph.
        temperatures: (H, W) float32, degrees Celsius, on the grid of ``infrared``; NaN where there are none.
        limits: the two temperatures that became black and white.
    """

    infrared: Picture
    visible: Picture
    temperatures: np.ndarray
    limits: Limits


def read_thermal(path: str | Path, photograph: str | Path | None = None, limits: Limits | ValueRange = "percentile", *,
                 margin: Margin = "crop") -> ThermalScene:
    """Read a radiometric JPEG of a thermal camera as a pair to fuse.

        infrared, visible, temperatures, limits = read_thermal("FLIR0001.jpg")
        fused = Fuser.from_pretrained()(infrared, visible, task="IVF").fused

    The embedded photograph is cut to the infrared's field by the offsets stored in the file, and the infrared is
    resampled to the photograph's pixels, or the photograph to the infrared's if those are finer.

    Args:
        path: the file.
        photograph: a photograph to use instead of the embedded one. It is not aligned: the pictures keep their sizes
            (``Fuser(align="auto", resize="second")``).
        limits: temperatures in degrees Celsius that become black and white; ``minmax``: those of the picture;
            ``percentile``: its 0.5th and 99.5th percentiles; ``full``, which temperatures have not, is the same.
        margin: ``crop`` to the infrared's field, or ``fill`` what surrounds it with the photograph.

    Raises:
        MissingFileError: no such file.
        UserError: no temperatures or no photograph inside, a damaged file, or the package that decodes it is missing.
    """
    thermogram = read_thermogram(path)
    limits = _found(limits, thermogram) if isinstance(limits, str) else _checked(limits, thermogram)
    if photograph is not None:
        visible = replace(read_picture(photograph), role="visible")
        return _upright(thermogram, _grey(thermogram, limits, visible.bit_depth), thermogram.celsius, limits, visible)
    if thermogram.photograph is None:
        raise UserError(f"{path}: no photograph inside; give one of the same scene: defusionpp fuse {path} PHOTO.jpg "
                        "--align auto --resize second")
    visible, alignment = _placed(thermogram)
    rule = AlignRule(resize="second", margin=margin, calibration=Calibration(alignment, thermogram.path))
    (infrared, visible), aligned = align_pictures([_grey(thermogram, limits, visible.bit_depth), visible], rule)
    scene = _upright(thermogram, infrared, aligned.carried(thermogram.celsius, 0), limits, visible)
    return scene._replace(visible=_turned(visible, thermogram))


def _found(value_range: ValueRange, thermogram: Thermogram) -> Limits:
    """The limits of a picture, at least 0.1 degrees apart."""
    known = thermogram.celsius[np.isfinite(thermogram.celsius)]
    ends = (0, 100) if value_range == "minmax" else PERCENTILES
    low, high = (float(end) for end in np.percentile(known, ends))
    wider = max(0.0, _NARROWEST - (high - low)) / 2
    return low - wider, high + wider


def _checked(limits: Limits, thermogram: Thermogram) -> Limits:
    """The limits; a note in the log if no temperature is between them."""
    low, high = float(np.nanmin(thermogram.celsius)), float(np.nanmax(thermogram.celsius))
    if high <= limits[0] or low >= limits[1]:
        note_once(f"{thermogram.path}: no temperature from {limits[0]:g} to {limits[1]:g}, they are from {low:.1f} to "
                  f"{high:.1f} degrees Celsius; give another range", f"limits {thermogram.path}")
    return limits


def in_limits(celsius: np.ndarray, limits: Limits) -> np.ndarray:
    """Map temperatures to [0, 1], clipped; the same shape, float32. NaN becomes 0."""
    low, high = limits
    return np.nan_to_num((celsius - low) / (high - low), nan=0.0).clip(0, 1).astype(np.float32)


def _grey(thermogram: Thermogram, limits: Limits, bit_depth: int) -> Picture:
    """The temperatures as a picture, with the bit depth of the photograph, so that the result has it, too."""
    pixels = to_integers(in_limits(thermogram.celsius, limits), bit_depth)[..., None]
    return Picture(pixels, thermogram.path, thermogram.metadata, "infrared")


def _placed(thermogram: Thermogram) -> tuple[Picture, Alignment]:
    """The embedded photograph, and the alignment of the infrared with it.

    The centre of the infrared lies at the photograph's centre plus the offset, and its width is that of the photograph
    divided by Real2IR.
    """
    height, width = thermogram.celsius.shape
    pixels, place = thermogram.photograph, thermogram.offsets
    if place is None:
        note_once(f"{thermogram.path}: no offsets of the photograph inside; taken for the same field; give "
                  "--align auto if it is not", f"offsets {thermogram.path}")
        real_to_ir, right, down = 1.0, 0.0, 0.0
    else:
        real_to_ir, right, down = place.real_to_ir, place.right, place.down
    pitch = pixels.shape[1] / real_to_ir / width  # pixels of the photograph for one of the infrared
    if pitch < 1:
        larger = round(pixels.shape[1] / pitch), round(pixels.shape[0] / pitch)
        right, down, pitch = right / pitch, down / pitch, larger[0] / real_to_ir / width
        pixels = cv2.resize(pixels, larger, interpolation=cv2.INTER_CUBIC).reshape(*larger[::-1], -1)
    visible = Picture.of(pixels, path=thermogram.path, metadata=thermogram.metadata, role="visible")
    centre = [(visible.size[0] - 1) / 2 + right, (visible.size[1] - 1) / 2 + down]
    start = [(width - 1) / 2 - centre[0] / pitch, (height - 1) / 2 - centre[1] / pitch]
    matrix = np.array([[1 / pitch, 0, start[0]], [0, 1 / pitch, start[1]], [0, 0, 1]])
    return visible, Alignment(matrix, visible.size, (width, height), confidence=1.0)


def _upright(thermogram: Thermogram, infrared: Picture, celsius: np.ndarray, limits: Limits,
             visible: Picture) -> ThermalScene:
    """The scene with the EXIF orientation applied to infrared and temperatures."""
    upright = turned(celsius[..., None], thermogram.metadata.turn)[..., 0]
    return ThermalScene(_turned(infrared, thermogram), visible, np.ascontiguousarray(upright), limits)


def _turned(picture: Picture, thermogram: Thermogram) -> Picture:
    return replace(picture, pixels=np.ascontiguousarray(turned(picture.pixels, thermogram.metadata.turn)))
