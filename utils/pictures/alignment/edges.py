"""Checks the registration of a pair by finding the shift at which the edges of its pictures agree best."""

from dataclasses import dataclass

import cv2
import numpy as np

from utils.pictures.colour import luma
from utils.pictures.picture import Picture, to_unit

REACH = 12
"""Shifts that are tried, in pixels of a picture whose short side is ``SHORT_SIDE``."""
SHORT_SIDE = 256
_FAR, _BETTER, _SURE = 2.0, 0.04, 0.15


@dataclass(frozen=True)
class EdgeShift:
    """Correlation of the edges of two pictures, without a shift and at the best shift.

    Attributes:
        dx, dy: offset of the second picture's edges to the right and downwards, in pixels of the original.
        here, best: correlation without a shift and at the best one, in [-1, 1].
        steps: length of the shift in pixels of the reduced picture.
    """

    dx: float
    dy: float
    here: float
    best: float
    steps: float

    @property
    def misregistered(self) -> bool:
        """Whether the edges agree clearly better at a shift. Only a hint: some scenes share too few edges."""
        return self.steps > _FAR and self.best > _SURE and self.best - self.here > _BETTER


def edge_shift(first: Picture, second: Picture) -> EdgeShift | None:
    """Compare the edges of two pictures of equal size at all shifts up to ``REACH``.

    Returns:
        The best shift; None for pictures that are too small or have no edges.
    """
    one, two = _edges(first), _edges(second)
    if min(one.shape) < 4 * REACH:
        return None
    scores = cv2.matchTemplate(two, one[REACH:-REACH, REACH:-REACH], cv2.TM_CCOEFF_NORMED)
    if not np.isfinite(scores).all() or one.std() == 0 or two.std() == 0:
        return None
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    down, right = int(row) - REACH, int(column) - REACH
    scale = first.size[0] / one.shape[1]
    return EdgeShift(right * scale, down * scale, float(scores[REACH, REACH]), float(scores.max()),
                     float(np.hypot(right, down)))


def _edges(picture: Picture) -> np.ndarray:
    """Edge strength of the reduced picture, ``float32``; the square root keeps a few strong edges from dominating."""
    unit = to_unit(picture)
    pixels = unit[0] if picture.is_grey else luma(unit)[0]
    pixels = pixels / (float(pixels.max()) or 1.0)
    height, width = pixels.shape
    scale = SHORT_SIDE / min(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 1.0)
    return np.sqrt(np.hypot(cv2.Scharr(pixels, cv2.CV_32F, 1, 0), cv2.Scharr(pixels, cv2.CV_32F, 0, 1)))
