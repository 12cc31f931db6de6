"""Estimates the alignment of two pictures, and whether it is credible."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.pictures.alignment.geometry import centre, corners, moved, resizing, scale_and_turn
from utils.pictures.alignment.refine import COARSE, FINE, Level, Motion, Place
from utils.pictures.alignment.rule import Align
from utils.pictures.alignment.search import SAME_FIELD, SHIFTS, SMALLER_FIELD, Candidate, search

CREDIBLE = 0.19
"""Confidence from which an alignment is believed; docs/ALIGNMENT.md has the measurement."""
SMALLEST_SIDE = 96
"""Smaller pictures are not aligned, in pixels."""
_CANDIDATES = 6
_AS_GOOD = 0.95  # of the score, from which a simpler motion is preferred
_WORTH_IT = 0.6  # a level is half as large as the next one
_STILL = 0.25  # moves of all corners below this many pixels are none


@dataclass(frozen=True, eq=False)
class Alignment:
    """The alignment of a picture with a reference.

    Attributes:
        matrix: 3 x 3, maps pixels of the reference to pixels of the picture.
        size: (width, height) of the reference.
        moving: (width, height) of the picture.
        confidence: in [0, 1]; see :attr:`credible`.
    """

    matrix: np.ndarray
    size: tuple[int, int]
    moving: tuple[int, int]
    confidence: float

    @property
    def credible(self) -> bool:
        """Whether the confidence is high enough to use the alignment."""
        return self.confidence >= CREDIBLE

    @property
    def still(self) -> bool:
        """Whether the pictures are already aligned: no corner moves by a quarter of a pixel."""
        ends = corners(self.size)
        return self.size == self.moving and float(np.hypot(*(moved(self.matrix, ends) - ends).T).max()) < _STILL

    @property
    def shift(self) -> tuple[float, float]:
        """Offset of the reference's centre from the picture's centre, right and down, in pixels of the picture."""
        right, down = moved(self.matrix, centre(self.size)[None])[0] - centre(self.moving)
        return float(right), float(down)

    @property
    def scale(self) -> float:
        """Magnification of the picture relative to the reference."""
        return scale_and_turn(self.matrix, centre(self.size))[0]

    @property
    def rotation(self) -> float:
        """Clockwise rotation of the picture in degrees."""
        return scale_and_turn(self.matrix, centre(self.size))[1]

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"shift": [round(part, 2) for part in self.shift], "scale": round(self.scale, 4),
                "rotation": round(self.rotation, 3), "confidence": round(self.confidence, 3),
                "credible": self.credible}

    def __str__(self) -> str:
        return (f"shift {self.shift[0]:+.1f} {self.shift[1]:+.1f} px, scale {self.scale:.3f}, "
                f"rotation {self.rotation:+.1f} degrees, confidence {self.confidence:.2f}")


def find_alignment(reference: np.ndarray, picture: np.ndarray, align: Align = "auto") -> Alignment:
    """Align a picture with a reference; they may be infrared and visible, or different exposures.

    Args:
        reference, picture: grey, (H, W) ``float32`` in [0, 1]. With equal sizes the scale may be between .7 and 1.4;
            otherwise the field of view of one may be up to 2.5 times smaller.
        align: ``translation``; ``auto`` (shift, rotation and scale, or a simpler motion if it explains as much);
            ``affine``; ``homography``.
    """
    sizes = [(one.shape[1], one.shape[0]) for one in (reference, picture)]
    as_filled = resizing(*sizes)
    if min(min(size) for size in sizes) < SMALLEST_SIDE:
        return Alignment(as_filled, *sizes, confidence=0.0)
    motion: Motion = "translation" if align == "translation" else "similarity"
    level = Level(reference, picture, COARSE)
    place = _best(level, _candidates(reference, picture, align), motion)
    grains = [grain for grain in FINE if grain is FINE[0] or min(reference.shape) > _WORTH_IT * grain.short_side]
    levels = [Level(reference, picture, grain) for grain in grains]
    for level in levels:
        place = level.improve(place.matrix, motion)
    if align in ("affine", "homography"):
        better = levels[-1].improve(place.matrix, align)
        place = better if better.score > place.score else place
    if align == "auto":
        place = _simpler(levels, place, as_filled)
    return Alignment(place.matrix, *sizes, confidence=_confidence(place))


def _candidates(reference: np.ndarray, picture: np.ndarray, align: Align) -> list[Candidate]:
    """Coarse positions; with different sizes, either picture may have the smaller field of view."""
    if align == "translation":
        return search(reference, picture, SHIFTS, _CANDIDATES)
    if reference.shape == picture.shape:
        return search(reference, picture, SAME_FIELD, _CANDIDATES)
    inside = search(reference, picture, SMALLER_FIELD, _CANDIDATES)
    around = search(picture, reference, SMALLER_FIELD, _CANDIDATES)
    return inside + [Candidate(one.score, np.linalg.inv(one.matrix)) for one in around]


def _best(level: Level, candidates: list[Candidate], motion: Motion) -> Place:
    """The candidate with the best agreement after refinement; the first unambiguous one ends the search."""
    best = level.place(candidates[0].matrix)
    for candidate in candidates:
        place = level.improve(candidate.matrix, motion)
        best = max(best, place, key=lambda one: one.score)
        if _confidence(best) > 2 * CREDIBLE:
            break
    return best


def _simpler(levels: list[Level], place: Place, as_filled: np.ndarray) -> Place:
    """Prefer no motion, or a pure shift, if it agrees as well: fewer parameters are estimated more accurately."""
    size = levels[-1].size
    if abs(np.log(scale_and_turn(np.linalg.inv(as_filled) @ place.matrix, centre(size))[0])) > 0.05:
        return place
    shifted = place
    for level in levels[-2:]:
        start = as_filled.copy()
        start[:2, 2] += moved(shifted.matrix, centre(size)[None])[0] - moved(as_filled, centre(size)[None])[0]
        shifted = level.improve(start, "translation")
    for one in (levels[-1].place(as_filled, shifted.alike), shifted):
        if one.score > _AS_GOOD * place.score:
            return one
    return place


def _confidence(place: Place) -> float:
    return float(np.sqrt(max(0.0, place.score) * place.alike))
