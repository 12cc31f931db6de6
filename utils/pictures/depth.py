"""Conversion of bit depths and value ranges: stored values and [0, 1], 16 and 8 bits, partly used 16-bit ranges."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from utils.errors import UserError

ValueRange = Literal["full", "minmax", "percentile"]
PERCENTILES = (0.5, 99.5)
HIGHEST = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
_STORED = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16)}


def to_8_bit(pixels: np.ndarray) -> np.ndarray:
    """Convert ``uint16`` to ``uint8`` by ``round(v / 257)``; ``uint8`` is returned unchanged. Any shape.

    Raises:
        UserError: another type.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype != np.uint16:
        raise UserError(f"pixels of type {pixels.dtype}; give uint8 or uint16")
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_integers(unit: np.ndarray, bit_depth: int) -> np.ndarray:
    """Convert values in [0, 1] to integers: clipped and rounded half up. Any shape.

    Raises:
        ValueError: a bit depth other than 8 or 16, or non-finite values.
    """
    if bit_depth not in _STORED:
        raise ValueError(f"bit depth {bit_depth}; give 8 or 16")
    if not np.isfinite(unit.sum()):
        raise ValueError(f"a picture of shape {unit.shape} holds values that are not finite")
    dtype = _STORED[bit_depth]
    return np.clip(np.floor(unit * HIGHEST[dtype] + 0.5), 0, HIGHEST[dtype]).astype(dtype)


def from_unit(array: np.ndarray, bit_depth: int = 8) -> np.ndarray:
    """Convert (C, H, W) in [0, 1] to integers (H, W, C); see :func:`to_integers`."""
    return np.ascontiguousarray(to_integers(array, bit_depth).transpose(1, 2, 0))


def widen(values: np.ndarray, highest: int) -> np.ndarray:
    """Scale integers in [0, ``highest``] (1, 15, 4095, ...) to the range of 8 bits, or of 16 bits if they need more."""
    dtype = np.dtype(np.uint8 if highest <= 255 else np.uint16)
    if highest == HIGHEST[dtype]:
        return values.astype(dtype, copy=False)
    return to_integers(np.minimum(values, highest).astype(np.float64) / highest, 8 * dtype.itemsize)


def stretch(pixels: np.ndarray, value_range: ValueRange) -> np.ndarray:
    """Apply :func:`stretch_together` to one picture."""
    return stretch_together([pixels], value_range)[0]


def stretch_together(pictures: Sequence[np.ndarray], value_range: ValueRange) -> list[np.ndarray]:
    """Map the used range of values to the full range of the type, with one map for all pictures and channels.

    For sensors that use a part of 16 bits, and for types without a range of their own. A common map for the
    exposures of a scene preserves their order of brightness.

    Args:
        pictures: arrays of any shape. All ``uint8`` or ``uint16``, or all of one other real type.
        value_range: ``full``: no change. ``minmax``: the minimum becomes 0 and the maximum 255 (65535).
            ``percentile``: the same for the 0.5th and 99.5th percentiles; values outside are clipped, so that a few
            dead or hot pixels have no influence.

    Returns:
        The input type for ``uint8`` and ``uint16`` (the deeper of the two if mixed), else ``uint16``. Constant
        unsigned pictures are returned unchanged.

    Raises:
        UserError: the types have no common range, or ``full`` is undefined for the type.
        ValueError: an unknown ``value_range``.
    """
    if value_range not in ("full", "minmax", "percentile"):
        raise ValueError(f"value range {value_range!r}; give full, minmax or percentile")
    types = {values.dtype for values in pictures}
    stored = types <= HIGHEST.keys()
    if value_range == "full":
        if stored:
            return list(pictures)
        raise UserError(f"values of type {_names(types)}, for which the range full means nothing; set range to "
                        "minmax or percentile, or convert to 8 or 16 bit without sign")
    if len(types) > 1:
        if not stored:
            raise UserError(f"values of types {_names(types)} have no range in common; set range_joint: false")
        pictures = [values.astype(np.uint16) * 257 if values.dtype == np.uint8 else values for values in pictures]
    low, high = _ends(pictures, value_range)
    if high <= low and stored:
        return list(pictures)
    depth = 8 if types == {np.dtype(np.uint8)} else 16
    scale = high - low if high > low else 1.0
    return [to_integers((values.astype(np.float64) - low) / scale, depth) for values in pictures]


def _ends(pictures: Sequence[np.ndarray], value_range: ValueRange) -> tuple[float, float]:
    if value_range == "minmax":
        return float(min(values.min() for values in pictures)), float(max(values.max() for values in pictures))
    together = pictures[0] if len(pictures) == 1 else np.concatenate([values.ravel() for values in pictures])
    low, high = np.percentile(together, PERCENTILES)
    return float(low), float(high)


def _names(types: set[np.dtype]) -> str:
    return " and ".join(sorted(str(kind) for kind in types))
