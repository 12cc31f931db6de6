"""Aligns the pictures of a scene to the grid of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from utils.errors import UserError
from utils.pictures.alignment.estimate import Alignment, find_alignment
from utils.pictures.alignment.geometry import coverage, resampled, resizing, unit_grey
from utils.pictures.alignment.rule import AlignRule, Margin, Resize

_EXPOSURES = 0.12  # difference in mean grey above which pictures count as exposures
_LEAST_KEPT = 16  # smallest side in pixels after cropping


@dataclass(frozen=True)
class Aligned:
    """Pictures on one grid.

    Attributes:
        pixels: (H, W, C) each, with the types of the input.
        alignments: alignment of each picture with the reference; None for the reference, and for all if none was
            estimated.
        doubts: one line for each picture that is unchanged because its alignment is not credible.
        area: rows and columns of the reference that were kept; None if all were.
    """

    pixels: list[np.ndarray]
    alignments: list[Alignment | None]
    doubts: list[str] = field(default_factory=list)
    area: tuple[slice, slice] | None = None

    def carried(self, values: np.ndarray, place: int) -> np.ndarray:
        """Bring other values of a picture's pixels, such as temperatures, to the common grid.

        Args:
            values: (H, W) float32, one for each pixel of the picture as it was given.
            place: index of the picture.

        Returns:
            (H, W) float32 on the common grid, interpolated linearly; NaN outside the picture.
        """
        one = self.alignments[place]
        if one is not None and one.credible and not one.still:
            shown = coverage(one.moving, one.matrix, one.size)
            values = np.where(shown > 0, resampled(values, one.matrix, one.size, cubic=False), np.float32(np.nan))
        return values if self.area is None else np.ascontiguousarray(values[self.area])


def align_arrays(pixels: Sequence[np.ndarray], rule: AlignRule, names: Sequence[str],
                 order: Sequence[int] | None = None) -> Aligned:
    """Align pictures of one scene to one grid: of two, that of the second; of more, that of the middle one.

    The middle picture of a bracket is that of median brightness, the middle one of a focus series that in ``order``.
    Offsets below a quarter of a pixel are ignored.

    Args:
        pixels: (H, W, 1 or 3), ``uint8``, ``uint16`` or ``float32`` in [0, 1]; two or more.
        rule: how to align.
        names: one name per picture, for messages.
        order: indices of the pictures in the order taken; as given by default.

    Raises:
        UserError: an alignment is not credible and the sizes differ, the common area is too small, or a calibration
            is for pictures of other sizes.
        ValueError: sizes differ and ``rule.resize`` is ``error``; the caller reports this in its own words.
    """
    one_size = len({one.shape[:2] for one in pixels}) == 1
    if not one_size and rule.resize == "error":
        raise ValueError(f"pictures of one size are needed, not {[one.shape[:2] for one in pixels]}")
    if rule.align == "none" and rule.calibration is None and one_size:
        return Aligned(list(pixels), [None] * len(pixels))
    if rule.calibration is not None and len(pixels) > 2:
        raise UserError(f"{rule.calibration.path} is for pairs, not for {len(pixels)} pictures; align_map; "
                        "leave it out")
    reference = _reference(pixels, rule.resize, order)
    alignments, doubts = _alignments(pixels, reference, rule, names)
    result, area = _on_one_grid(pixels, alignments, reference, rule.margin, names)
    return Aligned(result, alignments, doubts, area)


def _alignments(pixels: Sequence[np.ndarray], reference: int, rule: AlignRule,
                names: Sequence[str]) -> tuple[list[Alignment | None], list[str]]:
    """Alignment of each picture with the reference, and one line for each that is not credible."""
    alignments: list[Alignment | None] = [None] * len(pixels)
    doubts = []
    grey = unit_grey(pixels[reference])
    size = grey.shape[1], grey.shape[0]
    for place, one in enumerate(pixels):
        if place == reference:
            continue
        own = one.shape[1], one.shape[0]
        if rule.calibration is not None:
            found = rule.calibration.alignment(size, own)
        elif rule.align == "none":
            found = Alignment(resizing(size, own), size, own, confidence=1.0)
        else:
            found = find_alignment(grey, unit_grey(one), rule.align)
        alignments[place] = found
        if not found.credible:
            doubts.append(f"{names[place]}: no credible alignment with {names[reference]} (confidence "
                          f"{found.confidence:.2f}); align={rule.align}; register it first")
            if own != size:
                raise UserError(doubts[-1])
    return alignments, doubts


def _on_one_grid(pixels: Sequence[np.ndarray], alignments: Sequence[Alignment | None], reference: int,
                 margin: Margin, names: Sequence[str]) -> tuple[list[np.ndarray], tuple[slice, slice] | None]:
    """Resample the pictures to the grid of the reference; cropped, with the kept rows and columns, or filled."""
    ground, moves = pixels[reference], {place: one for place, one in enumerate(alignments)
                                        if one is not None and one.credible and not one.still}
    result, common = list(pixels), np.ones(ground.shape[:2], np.uint8)
    for place, one in moves.items():
        shown = coverage(one.moving, one.matrix, one.size)
        result[place] = _with_channels(resampled(pixels[place], one.matrix, one.size))
        if margin == "fill":
            result[place] = _filled(result[place], ground, shown)
        common &= shown
    if not moves or margin == "fill":
        return result, None
    rows, columns = common_area(common)
    if min(rows.stop - rows.start, columns.stop - columns.start) < _LEAST_KEPT:
        raise UserError(f"{names[next(iter(moves))]} and {names[reference]} show too little in common; align; give "
                        "pictures of one scene")
    return [np.ascontiguousarray(one[rows, columns]) for one in result], (rows, columns)


def _filled(picture: np.ndarray, ground: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Fill the missing area of a picture with the reference."""
    if ground.shape[2] == 3 and picture.shape[2] == 1:
        ground = _with_channels(cv2.cvtColor(np.ascontiguousarray(ground), cv2.COLOR_RGB2GRAY))
    if ground.dtype != picture.dtype:
        scale = np.iinfo(picture.dtype).max / np.iinfo(ground.dtype).max
        ground = np.round(ground * scale).astype(picture.dtype)
    return np.where(shown[..., None] > 0, picture, ground)


def _with_channels(pixels: np.ndarray) -> np.ndarray:
    """Restore the axis of a single channel, which OpenCV drops."""
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _reference(pixels: Sequence[np.ndarray], resize: Resize, order: Sequence[int] | None) -> int:
    """Index of the reference picture."""
    if resize != "error" and len({one.shape[:2] for one in pixels}) > 1:
        return 0 if resize == "first" else 1
    if len(pixels) == 2:
        return 1
    bright = [float(unit_grey(one).mean()) for one in pixels]
    order = range(len(pixels)) if order is None else order
    if max(bright) - min(bright) > _EXPOSURES:
        order = sorted(order, key=lambda place: bright[place])
    return list(order)[len(pixels) // 2]


def common_area(shown: np.ndarray) -> tuple[slice, slice]:
    """A large rectangle without zeros, found by repeatedly cutting the side with the largest share of zeros.

    Args:
        shown: (H, W) of 0 and 1.

    Returns:
        Rows and columns.
    """
    top, left, bottom, right = 0, 0, *shown.shape
    while bottom > top and right > left:
        sides = (shown[top, left:right], shown[bottom - 1, left:right], shown[top:bottom, left],
                 shown[top:bottom, right - 1])
        shares = [float(side.mean()) for side in sides]
        worst = int(np.argmin(shares))
        if shares[worst] == 1:
            break
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)
    return slice(top, bottom), slice(left, right)
