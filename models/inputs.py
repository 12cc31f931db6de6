"""Converts the user's pictures to [0, 1], and results back to the type of the inputs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.arrays import as_numpy, is_a
from utils.errors import UserError
from utils.pictures.alignment.rule import AS_THEY_LIE, AlignRule
from utils.pictures.depth import from_unit
from utils.pictures.picture import Picture, to_unit
from utils.pictures.profiles import in_one_space

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from utils.pictures.alignment import Alignment

    Source = str | Path | Picture | Image.Image | np.ndarray | Tensor

log = logging.getLogger(__name__)

SMALLEST = 16  # pixels a side
OVERSHOOT = 0.1  # floats may exceed [0, 1] by this much after resampling; they are clipped
_WANTED = "give a path, a PIL picture, an array (H, W, C) or a tensor (C, H, W)"


@dataclass
class Input:
    """A source converted to [0, 1], with the properties needed to convert the result back.

    Attributes:
        unit: (C, H, W), float32 in [0, 1]; C is 1 for grey pictures, including those given as three equal channels.
        channels: number of channels as given, 1 or 3.
        kind: "stored" (8 or 16 bit), "float" (an array) or "tensor".
        name: name for messages.
        bit_depth: 8 or 16, for stored pictures.
    """

    unit: np.ndarray | Tensor
    channels: int
    kind: str
    name: str
    bit_depth: int = 8


def read_sources(sources: Sequence[Source]) -> list[Input]:
    """Read and check the sources of one scene; the colours of files are brought into one space.

    Raises:
        UserError: as `read_source`.
    """
    read = [_read(one) if isinstance(one, (str, Path)) else one for one in sources]
    converted = iter(in_one_space([one for one in read if isinstance(one, Picture)]))
    read = [next(converted) if isinstance(one, Picture) else one for one in read]
    names = ["the first picture", "the second picture", *(f"picture {number + 1}" for number in range(2, len(read)))]
    return [read_source(one, name) for one, name in zip(read, names)]


def _read(path: str | Path) -> Picture:
    try:
        from utils.pictures.reading import read_picture  # here: fusing arrays needs no codecs
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: files are read by {error.name}, which is not installed; give arrays, or pip install "
                        "'defusionpp-onnx[files]'") from None
    return read_picture(path)


def read_source(source: Source, name: str) -> Input:
    """Check a source of any supported type.

    Args:
        source: a ``Picture``; a PIL picture of any mode (EXIF orientation is applied, alpha is dropped); an
            array (H, W) or (H, W, C), uint8, uint16 or float in [0, 1], of either byte order; a tensor (H, W) or
            (C, H, W), float in [0, 1]. C is 1 or 3.
        name: name for messages if the source has no path.

    Raises:
        UserError: another type, non-finite values, or floats outside [0, 1].
    """
    if is_a(source, "PIL.Image", "Image"):
        name = getattr(source, "filename", "") or name
        source = _pil_to_array(source, name)
    if isinstance(source, Picture):
        return _input(to_unit(source), "stored", str(source.path or name), source.bit_depth)
    is_array = isinstance(source, np.ndarray)
    if not is_array and not is_a(source, "torch", "Tensor"):
        raise UserError(f"fuse: {name} is of type {type(source).__name__}; {_WANTED}")
    if source.ndim == 2:
        source = source[..., None] if is_array else source[None]
    if source.ndim != 3 or source.shape[-1 if is_array else 0] not in (1, 3):
        raise UserError(f"fuse: {name} has the shape {tuple(source.shape)}; give one picture of one or three channels, "
                        "arrays as (H, W, C), tensors as (C, H, W)")
    if is_array and source.dtype.kind == "u" and source.dtype.itemsize <= 2:
        picture = Picture(source.astype(source.dtype.newbyteorder("="), copy=False))
        return _input(to_unit(picture), "stored", name, picture.bit_depth)
    if source.dtype.kind != "f" if is_array else not source.is_floating_point():
        raise UserError(f"fuse: {name} has values of type {source.dtype}; give float in [0, 1]"
                        f"{', uint8 or uint16' if is_array else ''}")
    unit = np.array(source.transpose(2, 0, 1), np.float32, order="C") if is_array else source.detach().float()
    return _input(_in_range(unit, name), "float" if is_array else "tensor", name)


def restore(value: np.ndarray | Tensor, inputs: list[Input], bits: int | None = None) -> np.ndarray | Tensor:
    """Convert a picture (C, H, W) in [0, 1] to the type of the inputs.

    Args:
        value: the picture.
        inputs: all inputs.
        bits: 8 or 16, for stored pictures; by default those of the deepest input.
    """
    if any(item.kind == "tensor" for item in inputs):
        return _as_tensor(value)
    array = as_numpy(value)
    if any(item.kind == "float" for item in inputs):
        return np.ascontiguousarray(array.transpose(1, 2, 0))
    return from_unit(array, bits or max(item.bit_depth for item in inputs))


def restore_map(value: np.ndarray | Tensor, inputs: list[Input]) -> np.ndarray | Tensor:
    """A map of numbers as a tensor if any input is one, else as an array."""
    return _as_tensor(value) if any(item.kind == "tensor" for item in inputs) else as_numpy(value)


def align_inputs(inputs: list[Input], rule: AlignRule) -> list[Alignment | None]:
    """Align the pictures to one grid, in place; returns the alignment of each, None for the reference.

    Pictures whose alignment is not credible are left unchanged, with a warning in the log.

    Raises:
        UserError: sizes differ although they must not, or they differ and an alignment is not credible.
    """
    if rule.resize == "error":
        check_sizes(inputs)
    if rule == AS_THEY_LIE:
        return [None] * len(inputs)
    from utils.pictures.alignment import align_arrays  # loads OpenCV

    arrays = [np.ascontiguousarray(as_numpy(item.unit).transpose(1, 2, 0)) for item in inputs]
    aligned = align_arrays(arrays, rule, [item.name for item in inputs])
    for line in aligned.doubts:
        log.warning("%s", line)
    for item, array, pixels in zip(inputs, arrays, aligned.pixels):
        if pixels is not array:
            item.unit = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return aligned.alignments


def check_sizes(inputs: list[Input]) -> None:
    """Check that pictures can be fused.

    Raises:
        UserError: their sizes differ, or they are smaller than 16 x 16.
    """
    sizes = [f"{item.unit.shape[2]} x {item.unit.shape[1]}" for item in inputs]
    other = next((place for place, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        raise UserError(f"fuse: {inputs[0].name} is {sizes[0]} and {inputs[other].name} is {sizes[other]}; "
                        "register the pictures and cut them to one size first")
    if min(inputs[0].unit.shape[1:]) < SMALLEST:
        raise UserError(f"fuse: {inputs[0].name} is {sizes[0]}; pictures need {SMALLEST} x {SMALLEST} pixels or more")


def _input(unit: np.ndarray | Tensor, kind: str, name: str, bit_depth: int = 8) -> Input:
    channels = unit.shape[0]
    if channels == 3 and _has_equal_channels(unit):
        unit = unit[:1]
    return Input(unit, channels, kind, name, bit_depth)


def _has_equal_channels(unit: np.ndarray | Tensor) -> bool:
    """Whether the three channels are equal; those of most colour pictures differ in the first row."""
    return all(bool((unit[1:, :rows] == unit[:1, :rows]).all()) for rows in (1, unit.shape[1]))


def _as_tensor(value: np.ndarray | Tensor) -> Tensor:
    """A result as a tensor; called if an input is one, so that PyTorch is there."""
    return sys.modules["torch"].as_tensor(value)


def _in_range(unit: np.ndarray | Tensor, name: str) -> np.ndarray | Tensor:
    """Clip to [0, 1].

    Raises:
        UserError: non-finite values, or values further out of range than resampling explains.
    """
    if 0 in unit.shape:
        return unit
    low, high = float(unit.min()), float(unit.max())  # both are NaN if any value is
    if not np.isfinite([low, high]).all():
        raise UserError(f"fuse: {name} holds values that are not finite (NaN or infinite); replace them first")
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise UserError(f"fuse: {name} holds floats from {low:.4g} to {high:.4g}; scale them to [0, 1], or give uint8 "
                        "or uint16")
    return unit.clip(0, 1)


def _pil_to_array(image: Image.Image, name: str) -> np.ndarray:
    """(H, W) or (H, W, 3) of uint8, uint16 or float; PIL's 32-bit integers become uint16 where they fit."""
    from PIL import ImageOps

    try:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("1", "LA", "La"):
            image = image.convert("L")
        elif image.mode not in ("L", "RGB", "I", "F") and not image.mode.startswith("I;16"):
            image = image.convert("RGB")
        array = np.asarray(image)
    except OSError as error:  # PIL reads the pixels lazily, here
        raise UserError(f"{name}: not a whole picture ({error})") from error
    if array.dtype.kind == "i" and array.size and array.min() >= 0 and array.max() <= np.iinfo(np.uint16).max:
        return array.astype(np.uint16)
    return array
