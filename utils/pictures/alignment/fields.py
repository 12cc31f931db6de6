"""Fields of edge directions, which infrared and visible pictures, or two exposures, have in common.

A field is (H, W) ``complex64``. Its phase is twice the direction of the gradient, so that edges from dark to bright and
from bright to dark agree. Its magnitude is the gradient relative to its neighbourhood, so that neither the exposure nor
a few strong edges dominate. Two fields of one scene correlate when the pictures are aligned.
"""

import cv2
import numpy as np

from utils.pictures.alignment.geometry import centre, coverage, resampled, scale_and_turn

BORDER = 3
"""Pixels along the edge of a picture whose field does not count."""
_NEIGHBOURHOOD = 8.0
_STRONGEST = 1.5


def field_of(grey: np.ndarray, smooth: float) -> np.ndarray:
    """The field of a grey picture.

    Args:
        grey: (H, W), ``float32``.
        smooth: standard deviation in pixels of the field's blur, the tolerance of edge positions.
    """
    grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
    right, down = cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1)
    energy = right * right + down * down
    strength = np.sqrt(energy)
    usual = np.sqrt(cv2.GaussianBlur(energy, (0, 0), _NEIGHBOURHOOD)) + 0.1 * np.sqrt(energy.mean()) + 1e-6
    weight = np.minimum(np.sqrt(strength / usual), _STRONGEST) / np.maximum(energy, 1e-12)
    real, imaginary = (right * right - down * down) * weight, 2 * right * down * weight
    real, imaginary = (cv2.GaussianBlur(part, (0, 0), smooth) for part in (real, imaginary))
    return real + 1j * imaginary


def field_on(grey: np.ndarray, matrix: np.ndarray, size: tuple[int, int], smooth: float,
             border: int = BORDER) -> tuple[np.ndarray, np.ndarray]:
    """The field of a picture resampled to another grid, and its mask of valid pixels, (H, W) of 0 and 1."""
    shrinks = scale_and_turn(matrix, centre(size))[0]
    if 1.05 < shrinks <= 1.25:  # `resampled` handles larger ones
        grey = cv2.GaussianBlur(grey, (0, 0), 0.5 * shrinks)
    shown = coverage((grey.shape[1], grey.shape[0]), matrix, size, border)
    return field_of(resampled(grey, matrix, size, cubic=False), smooth), shown


def agreement(reference: np.ndarray, other: np.ndarray, shown: np.ndarray) -> float:
    """Correlation of two fields where the second is valid, in [-1, 1]; 0 without valid pixels."""
    one, two = reference * shown, other * shown
    product = float((one * two.conj()).real.sum())
    return product / max(float(np.sqrt((np.abs(one) ** 2).sum() * (np.abs(two) ** 2).sum())), 1e-6)
