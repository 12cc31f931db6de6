"""Local moments in a sliding window, and the rule for flat windows."""

from dataclasses import dataclass

import cv2
import numpy as np

from .triple import Triple, shared


@dataclass(frozen=True, eq=False)
class Window:
    """Separable window: the outer product of ``taps`` with itself; the taps sum to 1."""

    taps: np.ndarray

    @property
    def side(self) -> int:
        """Number of rows (and columns)."""
        return len(self.taps)

    def slide(self, image: np.ndarray) -> np.ndarray:
        """Weighted mean of every window that lies inside: (H, W) to (H - side + 1, W - side + 1), float64."""
        return valid(self.slide_same(image, cv2.BORDER_CONSTANT), self.side)

    def slide_same(self, image: np.ndarray, border: int) -> np.ndarray:
        """Weighted mean around every pixel, (H, W); ``border`` is an OpenCV border type."""
        return cv2.sepFilter2D(image, cv2.CV_64F, self.taps, self.taps, borderType=border)


def gaussian(side: int, sigma: float) -> Window:
    """Gaussian window on an odd number of pixels, normalised to sum 1."""
    offsets = np.arange(side) - side // 2
    taps = np.exp(-(offsets**2) / (2 * sigma**2))
    return Window(taps / taps.sum())


GAUSS11 = gaussian(11, 1.5)
GAUSS7 = gaussian(7, 1.5)


def valid(image: np.ndarray, side: int) -> np.ndarray:
    """The positions of a same-size result whose window lies inside the image."""
    half = side // 2
    return image[half : image.shape[0] - half, half : image.shape[1] - half]


def box_sum(image: np.ndarray, side: int) -> np.ndarray:
    """Sum over every side x side window inside; exact for integers and multiples of 2^-k."""
    total = cv2.boxFilter(image, cv2.CV_64F, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return valid(total, side)


@shared
def local_mean(triple: Triple, x: str, window: Window) -> np.ndarray:
    """Weighted mean of image ``x`` in every window."""
    return window.slide(triple[x])


@shared
def _one_pass_covariance(triple: Triple, x: str, y: str, window: Window) -> np.ndarray:
    product = window.slide(triple[x] * triple[y])
    return product - local_mean(triple, x, window) * local_mean(triple, y, window)


@shared
def flat_windows(triple: Triple, x: str, side: int) -> np.ndarray:
    """Windows in which all pixels have exactly the same value, bool."""
    image = triple[x]
    square = np.ones((side, side), np.uint8)
    return valid(cv2.dilate(image, square), side) == valid(cv2.erode(image, square), side)


@shared
def covariance(triple: Triple, x: str, y: str, window: Window, flat_rule: bool = False) -> np.ndarray:
    """Weighted covariance of images ``x`` and ``y`` in every window (variance where they are the same).

    Args:
        flat_rule: set the covariance to exactly 0 where the window is flat in x or y. The one-pass formula leaves
            rounding noise there, on whose sign and size some metrics would otherwise depend.
    """
    moment = _one_pass_covariance(triple, *sorted((x, y)), window)
    if not flat_rule:
        return moment
    flat = flat_windows(triple, x, window.side)
    if y != x:
        flat = flat | flat_windows(triple, y, window.side)
    return np.where(flat, 0.0, moment)
