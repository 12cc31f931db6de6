"""Refines a coarse position to sub-pixel accuracy by matching blocks, most of which must move consistently."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from utils.pictures.alignment.fields import agreement, field_of, field_on
from utils.pictures.alignment.geometry import resizing, translation

Motion = Literal["translation", "similarity", "affine", "homography"]

_SMOOTH = 1.0
_LEAST_BLOCKS = 8
_DOUBT = 60  # inconsistent blocks added to the count, since a few blocks agree by chance
_LARGEST = 9  # half of a block is at most the short side divided by this
_LEAST_ENERGY = 1e-3  # mean square of a block's field below which it is flat


@dataclass(frozen=True)
class Grain:
    """One level of a pyramid.

    Attributes:
        short_side: short side of the reference in pixels.
        blocks: number of blocks along the short side.
        half: blocks are ``2 * half + 1`` pixels wide.
        reach: largest motion of a block in pixels.
        within: largest difference in pixels between consistent motions.
    """

    short_side: int
    blocks: int
    half: int
    reach: int
    within: float


COARSE = Grain(144, 16, half=16, reach=7, within=2.0)
FINE = (Grain(288, 24, half=24, reach=6, within=1.5), Grain(576, 24, half=32, reach=5, within=1.5),
        Grain(1152, 24, half=40, reach=5, within=1.5))


@dataclass(frozen=True)
class Place:
    """The position of a picture in another.

    Attributes:
        matrix: maps pixels of the reference to pixels of the other picture, both at full size.
        agreement: correlation of the fields at this position, in [-1, 1].
        common: share of the reference covered by the other picture.
        alike: share of blocks with consistent motion.
    """

    matrix: np.ndarray
    agreement: float
    common: float
    alike: float = 0.0

    @property
    def score(self) -> float:
        """Comparable between places; see ``search.Candidate``."""
        return self.agreement * self.common**0.5


class Level:
    """Two pictures at one pyramid level, prepared for comparison at any matrix.

    Args:
        reference, other: grey pictures (H, W), ``float32``, at full size.
        grain: the level.
    """

    def __init__(self, reference: np.ndarray, other: np.ndarray, grain: Grain) -> None:
        self.grain = grain
        scale = min(1.0, grain.short_side / min(reference.shape))
        self.reference, self._to_full = _reduced(reference, scale)
        self.other, self._other_to_full = _reduced(other, scale if min(other.shape) * scale > 64 else 1.0)
        self.size = self.reference.shape[1], self.reference.shape[0]
        self.field = field_of(self.reference, _SMOOTH)

    def place(self, matrix: np.ndarray, alike: float = 0.0) -> Place:
        """The position given by a matrix for the full pictures, with its agreement."""
        field, shown = self._seen(matrix)
        return Place(matrix, agreement(self.field, field, shown), float(shown.mean()), alike)

    def improve(self, matrix: np.ndarray, motion: Motion, rounds: int = 2) -> Place:
        """Refine a matrix for the full pictures that is a few pixels off."""
        alike = 0.0
        for _ in range(rounds):
            field, shown = self._seen(matrix)
            here, there = _match(self.field, field, shown, self.grain)
            if len(here) < _LEAST_BLOCKS:
                break
            step, followers = _FITS[motion](here, there, self.grain.within)
            if step is None:
                break
            alike = followers / (len(here) + _DOUBT)
            matrix = matrix @ self._to_full @ step @ np.linalg.inv(self._to_full)
            matrix = matrix / matrix[2, 2]
        return self.place(matrix, alike)

    def _seen(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reduced = np.linalg.inv(self._other_to_full) @ matrix @ self._to_full
        return field_on(self.other, reduced, self.size, _SMOOTH)


def _reduced(grey: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """A reduced picture, and the matrix from its pixels to those at full size."""
    if scale >= 1:
        return grey, np.eye(3)
    full = grey.shape[1], grey.shape[0]
    size = max(1, round(full[0] * scale)), max(1, round(full[1] * scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA), resizing(size, full)


def _match(reference: np.ndarray, other: np.ndarray, shown: np.ndarray,
           grain: Grain) -> tuple[np.ndarray, np.ndarray]:
    """Find blocks of the other field in the reference.

    Returns:
        Found and original position of each block, (N, 2) pixels each.
    """
    height, width = reference.shape
    half = min(grain.half, min(height, width) // _LARGEST)
    around = half + grain.reach
    stride = max(4, min(height, width) // grain.blocks)
    ground, blocks = (np.dstack([field.real, field.imag]) for field in (reference, other))
    energy = np.square(blocks).sum(axis=2)
    shares, energies = (cv2.boxFilter(one, -1, (2 * half + 1, 2 * half + 1))
                        for one in (shown.astype(np.float32), energy))
    useful = (shares > 0.95) & (energies > _LEAST_ENERGY)
    here, there = [], []
    for row in range(around, height - around, stride):
        for column in range(around, width - around, stride):
            if not useful[row, column]:
                continue
            block = blocks[row - half:row + half + 1, column - half:column + half + 1]
            area = ground[row - around:row + around + 1, column - around:column + around + 1]
            right, down = _peak(cv2.matchTemplate(area, block, cv2.TM_CCORR_NORMED))
            here.append((column + right - grain.reach, row + down - grain.reach))
            there.append((column, row))
    return np.array(here, np.float32).reshape(-1, 2), np.array(there, np.float32).reshape(-1, 2)


def _peak(scores: np.ndarray) -> tuple[float, float]:
    """(column, row) of the maximum, with sub-pixel accuracy by a parabola unless it is at the border."""
    row, column = (int(place) for place in np.unravel_index(scores.argmax(), scores.shape))
    if not (0 < row < scores.shape[0] - 1 and 0 < column < scores.shape[1] - 1):
        return float(column), float(row)
    return (column + _vertex(*scores[row, column - 1:column + 2]), row + _vertex(*scores[row - 1:row + 2, column]))


def _vertex(before: float, at: float, after: float) -> float:
    bend = before - 2 * at + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0


Fit = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray | None, int]]


def _fit_translation(here: np.ndarray, there: np.ndarray, within: float) -> tuple[np.ndarray, int]:
    """The motion shared by most blocks: the mean of the blocks around the one with the most neighbours."""
    moves = there - here
    near = np.hypot(*(moves[:, None] - moves[None]).transpose(2, 0, 1)) < within
    most = near[near.sum(axis=1).argmax()]
    return translation(*moves[most].mean(axis=0)), int(most.sum())


def _fit_similarity(here: np.ndarray, there: np.ndarray, within: float) -> tuple[np.ndarray | None, int]:
    return _squared(*cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=within, maxIters=500))


def _fit_affine(here: np.ndarray, there: np.ndarray, within: float) -> tuple[np.ndarray | None, int]:
    return _squared(*cv2.estimateAffine2D(here, there, ransacReprojThreshold=within, maxIters=1000))


def _fit_homography(here: np.ndarray, there: np.ndarray, within: float) -> tuple[np.ndarray | None, int]:
    return _squared(*cv2.findHomography(here, there, cv2.RANSAC, within, maxIters=1000))


def _squared(matrix: np.ndarray | None, inliers: np.ndarray | None) -> tuple[np.ndarray | None, int]:
    if matrix is None or not np.isfinite(matrix).all():
        return None, 0
    return (matrix if len(matrix) == 3 else np.vstack([matrix, [0, 0, 1]])), int(np.count_nonzero(inliers))


_FITS: dict[Motion, Fit] = {"translation": _fit_translation, "similarity": _fit_similarity, "affine": _fit_affine,
                            "homography": _fit_homography}
