"""How one picture lies in another, and whether that can be believed."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from utils.pictures.alignment.geometry import centre, corners, moved, resizing, scale_and_turn
from utils.pictures.alignment.refine import COARSE, FINE, Level, Motion, Place
from utils.pictures.alignment.search import SAME_FIELD, SHIFTS, SMALLER_FIELD, Candidate, search

Align = Literal["none", "auto", "translation", "affine", "homography"]

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
    """How a picture lies in a reference.

    Attributes:
        matrix: 3 x 3, pixels of the reference to pixels of the picture.
        size: (width, height) of the reference.
        moving: (width, height) of the picture.
        confidence: from 0 to 1; see :attr:`credible`.
    """

    matrix: np.ndarray
    size: tuple[int, int]
    moving: tuple[int, int]
    confidence: float

    @property
    def credible(self) -> bool:
        """Whether to believe it."""
        return self.confidence >= CREDIBLE

    @property
    def still(self) -> bool:
        """The pictures are aligned as they lie: no corner moves by a quarter of a pixel."""
        ends = corners(self.size)
        return self.size == self.moving and float(np.hypot(*(moved(self.matrix, ends) - ends).T).max()) < _STILL

    @property
    def shift(self) -> tuple[float, float]:
        """How far right and down of the picture's middle the reference's middle lies, in pixels of the picture."""
        right, down = moved(self.matrix, centre(self.size)[None])[0] - centre(self.moving)
        return float(right), float(down)

    @property
    def scale(self) -> float:
        """How much larger the picture shows things than the reference."""
        return scale_and_turn(self.matrix, centre(self.size))[0]

    @property
    def rotation(self) -> float:
        """How far the picture is turned clockwise, in degrees."""
        return scale_and_turn(self.matrix, centre(self.size))[1]

    def record(self) -> dict[str, Any]:
        """What a JSON file keeps of it."""
        return {"shift": [round(part, 2) for part in self.shift], "scale": round(self.scale, 4),
                "rotation": round(self.rotation, 3), "confidence": round(self.confidence, 3),
                "credible": self.credible}

    def __str__(self) -> str:
        return (f"shift {self.shift[0]:+.1f} {self.shift[1]:+.1f} px, scale {self.scale:.3f}, "
                f"rotation {self.rotation:+.1f} degrees, confidence {self.confidence:.2f}")


def find_alignment(reference: np.ndarray, picture: np.ndarray, align: Align = "auto") -> Alignment:
    """Finds a picture in a reference, infrared and visible ones and different exposures included.

    Args:
        reference, picture: grey, (H, W) ``float32`` in [0, 1]. With equal sides the scale may lie between .7 and 1.4;
            otherwise one may show a field that is up to 2.5 times smaller.
        align: ``translation``; ``auto`` (shift, turn and scale, or less where less explains as much); ``affine``;
            ``homography``.
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
    """Rough places; of pictures of different sizes either may show the smaller field."""
    if align == "translation":
        return search(reference, picture, SHIFTS, _CANDIDATES)
    if reference.shape == picture.shape:
        return search(reference, picture, SAME_FIELD, _CANDIDATES)
    inside = search(reference, picture, SMALLER_FIELD, _CANDIDATES)
    around = search(picture, reference, SMALLER_FIELD, _CANDIDATES)
    return inside + [Candidate(one.score, np.linalg.inv(one.matrix)) for one in around]


def _best(level: Level, candidates: list[Candidate], motion: Motion) -> Place:
    """The candidate that agrees best once it is improved; the first that agrees beyond doubt ends the search."""
    best = level.place(candidates[0].matrix)
    for candidate in candidates:
        place = level.improve(candidate.matrix, motion)
        best = max(best, place, key=lambda one: one.score)
        if _confidence(best) > 2 * CREDIBLE:
            break
    return best


def _simpler(levels: list[Level], place: Place, as_filled: np.ndarray) -> Place:
    """The pictures as they lie, or shifted alone, where that agrees as well: fewer numbers are known better."""
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
