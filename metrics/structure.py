"""Structural similarity and the windowed quality indices built on it."""

import numpy as np

from .triple import Triple, shared
from .windows import GAUSS11, Window, covariance, local_mean

C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2


def similarity(
    triple: Triple, x: str, y: str, window: Window, constants: tuple[float, float], flat_rule: bool
) -> np.ndarray:
    """SSIM map of two images on the positions whose window lies inside."""
    c1, c2 = constants
    mean_x, mean_y = local_mean(triple, x, window), local_mean(triple, y, window)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    variances = covariance(triple, x, x, window, flat_rule) + covariance(triple, y, y, window, flat_rule)
    cross = covariance(triple, x, y, window, flat_rule)
    return (2 * product + c1) * (2 * cross + c2) / ((squares + c1) * (variances + c2))


@shared
def ssim_map(triple: Triple, x: str, flat_rule: bool = False) -> np.ndarray:
    """SSIM map of image ``x`` and F: window G(11, 1.5), constants for 0..255."""
    return similarity(triple, x, "f", GAUSS11, (C1, C2), flat_rule)


def ssim(triple: Triple) -> float:
    """SSIM: the sum of SSIM(A, F) and SSIM(B, F)."""
    return float(ssim_map(triple, "a").mean() + ssim_map(triple, "b").mean())


def ssim_mean(triple: Triple) -> float:
    """SSIM_mean: the mean of SSIM(A, F) and SSIM(B, F)."""
    return ssim(triple) / 2


def ssim_truth(triple: Triple) -> float:
    """SSIM of the fused image against a ground truth."""
    return float(ssim_map(triple, "t").mean())
