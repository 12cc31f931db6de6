"""Structural similarity: SSIM in its toolbox forms, and multi-scale SSIM."""

import numpy as np

from .triple import Triple, shared
from .windows import GAUSS11, Window, covariance, local_mean

C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2
UNIFORM7 = Window(np.full(7, 1 / 7))
WANG_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def similarity(
    triple: Triple,
    x: str,
    y: str,
    window: Window,
    constants: tuple[float, float],
    flat_rule: bool = False,
    sample: float = 1.0,
) -> np.ndarray:
    """SSIM map of two images at positions whose window lies inside.

    Args:
        constants: C1 and C2.
        flat_rule: variances of flat windows are exactly 0 (see `covariance`).
        sample: factor on variances and covariance, n / (n - 1) for sample statistics.
    """
    c1, c2 = constants
    mean_x, mean_y = local_mean(triple, x, window), local_mean(triple, y, window)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    variances = covariance(triple, x, x, window, flat_rule) + covariance(triple, y, y, window, flat_rule)
    cross = covariance(triple, x, y, window, flat_rule)
    return (2 * product + c1) * (2 * sample * cross + c2) / ((squares + c1) * (sample * variances + c2))


@shared
def ssim_map(triple: Triple, x: str, flat_rule: bool = False) -> np.ndarray:
    """SSIM map of image ``x`` and F: window G(11, 1.5), constants for 0..255."""
    return similarity(triple, "f", x, GAUSS11, (C1, C2), flat_rule)


def ssim(triple: Triple) -> float:
    """SSIM: the sum of SSIM(A, F) and SSIM(B, F)."""
    return float(ssim_map(triple, "a").mean() + ssim_map(triple, "b").mean())


def ssim_mean(triple: Triple) -> float:
    """SSIM_mean: the mean of SSIM(A, F) and SSIM(B, F)."""
    return ssim(triple) / 2


def ssim_truth(triple: Triple) -> float:
    """SSIM of the fused image against a ground truth."""
    return float(ssim_map(triple, "t").mean())


def ssim_cddfuse(triple: Triple) -> float:
    """SSIM sum, scikit-image's defaults with a dynamic range of 2: 7 x 7 mean, sample variances."""
    constants = ((0.01 * 2) ** 2, (0.03 * 2) ** 2)
    maps = (similarity(triple, x, "f", UNIFORM7, constants, sample=49 / 48) for x in ("a", "b"))
    return float(sum(m.mean() for m in maps))


def ssim_tang(triple: Triple) -> float:
    """SSIM mean with the constants of a dynamic range of 1, border repeated. Not checked against the toolbox."""
    padded = triple.map(lambda image: np.pad(image, GAUSS11.side // 2, mode="edge"))
    maps = (similarity(padded, x, "f", GAUSS11, (1e-4, 9e-4)) for x in ("a", "b"))
    return float(sum(m.mean() for m in maps) / 2)


def halve(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels at rows and columns 0, 2, 4, ...; an odd last row or column is paired with itself."""
    padded = np.pad(image, ((0, 1), (0, 1)), mode="edge")
    top, bottom = padded[:-1:2], padded[1::2]
    return (top[:, :-1:2] + top[:, 1::2] + bottom[:, :-1:2] + bottom[:, 1::2]) / 4


@shared
def halved(triple: Triple) -> Triple:
    """The triple at half its size."""
    return triple.map(halve)


@shared
def ms_ssim(triple: Triple, x: str) -> float:
    """MS_SSIM (Wang) of image ``x`` and F on five scales; a negative scale mean counts as 0."""
    value = 1.0
    for scale, weight in enumerate(WANG_WEIGHTS):
        if scale < len(WANG_WEIGHTS) - 1:
            variances = covariance(triple, x, x, GAUSS11) + covariance(triple, "f", "f", GAUSS11)
            part = (2 * covariance(triple, x, "f", GAUSS11) + C2) / (variances + C2)
            triple = halved(triple)
        else:
            part = ssim_map(triple, x)
        value *= max(float(part.mean()), 0.0) ** weight
    return value


def ms_ssim_a(triple: Triple) -> float:
    """MS_SSIM of A and F."""
    return ms_ssim(triple, "a")


def ms_ssim_b(triple: Triple) -> float:
    """MS_SSIM of B and F."""
    return ms_ssim(triple, "b")


def ms_ssim_mean(triple: Triple) -> float:
    """MS_SSIM: mean over the two sources."""
    return (ms_ssim(triple, "a") + ms_ssim(triple, "b")) / 2
