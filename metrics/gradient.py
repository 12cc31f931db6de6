"""Edges and detail: strength in the fused image, and how much of the sources' edges it carries over."""

import cv2
import numpy as np

from .triple import Triple, shared

HALF_PI = np.pi / 2


def differences(image: np.ndarray, axis: int) -> np.ndarray:
    """Each pixel minus its predecessor along ``axis``."""
    return np.diff(image, axis=axis)


def central_difference(image: np.ndarray, axis: int) -> np.ndarray:
    """Half the difference of the two neighbours along ``axis``; one-sided at the two edge lines.

    An axis of length 1 has no neighbours and gives zeros.
    """
    return np.gradient(image, axis=axis) if image.shape[axis] > 1 else np.zeros_like(image)


def _gradient_sum(triple: Triple) -> float:
    dx, dy = (central_difference(triple["f"], axis) for axis in (1, 0))
    return float(np.sqrt((dx * dx + dy * dy) / 2).sum())


def ag(triple: Triple) -> float:
    """AG: average gradient of F. The divisor is (M - 1)(N - 1), not the number of pixels."""
    rows, columns = triple.shape
    return _gradient_sum(triple) / ((rows - 1) * (columns - 1))


def ag_cddfuse(triple: Triple) -> float:
    """AG divided by the number of pixels."""
    return _gradient_sum(triple) / triple.size


def _difference_energy(image: np.ndarray, axis: int) -> float:
    step = differences(image, axis).ravel()
    return float(np.dot(step, step))


def sf(triple: Triple) -> float:
    """SF: spatial frequency of F; both sums of squared differences divided by the number of pixels."""
    energy = _difference_energy(triple["f"], 0) + _difference_energy(triple["f"], 1)
    return float(np.sqrt(energy / triple.size))


def sf_cddfuse(triple: Triple) -> float:
    """SF, each sum divided by its own number of differences."""
    rows, columns = triple.shape
    down = _difference_energy(triple["f"], 0) / ((rows - 1) * columns)
    across = _difference_energy(triple["f"], 1) / (rows * (columns - 1))
    return float(np.sqrt(down + across))


@shared
def sobel(triple: Triple, x: str, border: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sobel derivatives across and down, and their magnitude; whole numbers, hence exact.

    Args:
        border: OpenCV border type (what lies outside the image).
    """
    across = cv2.Sobel(triple[x], cv2.CV_64F, 1, 0, ksize=3, borderType=border)
    down = cv2.Sobel(triple[x], cv2.CV_64F, 0, 1, ksize=3, borderType=border)
    return across, down, np.sqrt(across * across + down * down)


def ei(triple: Triple) -> float:
    """EI: mean Sobel magnitude of F."""
    return float(sobel(triple, "f", cv2.BORDER_REPLICATE)[2].mean())


def sigmoid(values: np.ndarray, slope: float, middle: float) -> np.ndarray:
    """1 / (1 + exp(-slope (v - middle)))."""
    return 1 / (1 + np.exp(-slope * (values - middle)))


@shared
def _xydeas_angle(triple: Triple, x: str) -> np.ndarray:
    across, down, _ = sobel(triple, x, cv2.BORDER_CONSTANT)
    return np.where(across == 0, HALF_PI, -np.arctan(down / across))


def _xydeas_transfer(triple: Triple, x: str, equal_factor: float) -> np.ndarray:
    """Share of image x's edge that F keeps, per pixel (strength times direction)."""
    source, fused = (sobel(triple, k, cv2.BORDER_CONSTANT)[2] for k in (x, "f"))
    ratio = np.minimum(source, fused) / np.maximum(source, fused)
    ratio = np.where(source == fused, fused * equal_factor, ratio)
    turn = 1 - np.abs(_xydeas_angle(triple, x) - _xydeas_angle(triple, "f")) / HALF_PI
    return 0.9994 * 0.9879 * sigmoid(ratio, 15, 0.5) * sigmoid(turn, 22, 0.8)


def _qabf(triple: Triple, equal_factor: float) -> float:
    kept, total = 0.0, 0.0
    for x in ("a", "b"):
        weight = sobel(triple, x, cv2.BORDER_CONSTANT)[2]
        kept += float((_xydeas_transfer(triple, x, equal_factor) * weight).sum())
        total += float(weight.sum())
    return kept / total if total > 0 else np.nan


def qabf(triple: Triple) -> float:
    """Qabf (Xydeas-Petrović), VIFB: equal strengths count as 255 times the strength (a slip, felt at 1e-11)."""
    return _qabf(triple, 255.0)


def qabf_plain(triple: Triple) -> float:
    """Qabf, Tang and CDDFuse: equal strengths count as the strength itself."""
    return _qabf(triple, 1.0)
