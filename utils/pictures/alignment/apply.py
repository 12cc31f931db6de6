"""Pictures of one scene brought onto the grid of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from utils.errors import UserError
from utils.pictures.alignment.calibration import Calibration
from utils.pictures.alignment.estimate import Align, Alignment, find_alignment
from utils.pictures.alignment.geometry import coverage, resampled, resizing, unit_grey

if TYPE_CHECKING:
    from option.schema import TestDataOptions

Resize = Literal["error", "first", "second"]
Margin = Literal["crop", "fill"]

_EXPOSURES = 0.12  # mean greys of one scene that differ by more are exposures
_LEAST_KEPT = 16  # pixels a side, after cropping


@dataclass(frozen=True)
class AlignRule:
    """How the pictures of a scene are brought together.

    Attributes:
        align: what may move; see `find_alignment`. ``none`` leaves pictures of one size alone.
        resize: whose grid pictures of different sizes take; ``error`` refuses them. With ``align: none`` both are
            taken to show the same field.
        margin: what all pictures show (``crop``), or the whole reference, which stands in where another shows nothing
            (``fill``).
        calibration: a map that is applied instead of looking for one.
    """

    align: Align = "none"
    resize: Resize = "error"
    margin: Margin = "crop"
    calibration: Calibration | None = None

    @classmethod
    def of(cls, options: TestDataOptions) -> AlignRule:
        """The rule that a section of the option file gives."""
        calibration = Calibration.read(options.align_map) if options.align_map else None
        return cls(options.align, options.resize, options.align_margin, calibration)


AS_THEY_LIE = AlignRule()


@dataclass(frozen=True)
class Aligned:
    """Pictures on one grid.

    Attributes:
        pixels: (H, W, C) each, of the types that were given.
        alignments: how each lay in the reference; None for the reference, and for all where nothing was looked for.
        doubts: one line for each picture that stays as it lies because its alignment is not credible.
    """

    pixels: list[np.ndarray]
    alignments: list[Alignment | None]
    doubts: list[str] = field(default_factory=list)


def align_arrays(pixels: Sequence[np.ndarray], rule: AlignRule, names: Sequence[str],
                 order: Sequence[int] | None = None) -> Aligned:
    """Bring pictures of one scene onto one grid: of two, that of the second; of more, that of the middle one.

    The middle one of a bracket is the one of median brightness, that of a focus series the middle in ``order``.
    What lies within a quarter of a pixel is not touched.

    Args:
        pixels: (H, W, 1 or 3), ``uint8``, ``uint16`` or ``float32`` in [0, 1]; two or more.
        rule: what is done.
        names: one for each, for messages.
        order: places of the pictures as they were taken; as given by default.

    Raises:
        UserError: an alignment is not credible and the sizes differ, too little is common, or a calibration is of
            pictures of other sizes.
        ValueError: sizes differ and ``rule.resize`` is ``error``, which the caller tells the user in its own words.
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
    return Aligned(_on_one_grid(pixels, alignments, reference, rule.margin, names), alignments, doubts)


def _alignments(pixels: Sequence[np.ndarray], reference: int, rule: AlignRule,
                names: Sequence[str]) -> tuple[list[Alignment | None], list[str]]:
    """How every picture lies in the reference, and one line for each that is not credible."""
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
                 margin: Margin, names: Sequence[str]) -> list[np.ndarray]:
    """The pictures on the grid of the reference, cut or filled."""
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
        return result
    rows, columns = common_area(common)
    if min(rows.stop - rows.start, columns.stop - columns.start) < _LEAST_KEPT:
        raise UserError(f"{names[next(iter(moves))]} and {names[reference]} show too little in common; align; give "
                        "pictures of one scene")
    return [np.ascontiguousarray(one[rows, columns]) for one in result]


def _filled(picture: np.ndarray, ground: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """A picture with the reference where it shows nothing."""
    if ground.shape[2] == 3 and picture.shape[2] == 1:
        ground = _with_channels(cv2.cvtColor(np.ascontiguousarray(ground), cv2.COLOR_RGB2GRAY))
    if ground.dtype != picture.dtype:
        scale = np.iinfo(picture.dtype).max / np.iinfo(ground.dtype).max
        ground = np.round(ground * scale).astype(picture.dtype)
    return np.where(shown[..., None] > 0, picture, ground)


def _with_channels(pixels: np.ndarray) -> np.ndarray:
    """OpenCV drops the axis of a single channel."""
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _reference(pixels: Sequence[np.ndarray], resize: Resize, order: Sequence[int] | None) -> int:
    """Whose grid the others take."""
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
    """A large rectangle without a zero: of the whole, the side with most zeros for its length is cut, again and again.

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
