"""Errors and correlations between the fused image and the sources (or a ground truth).

All of them follow from sums of pixels and of products of pixels. These are exact integers, so that F being equal to a
source is detected exactly.
"""

import math

import numpy as np

from .triple import Triple, shared

PEAK = 255.0


@shared
def pixel_sum(triple: Triple, x: str) -> int:
    """Sum of an image's pixels, exact."""
    return int(triple[x].sum())


@shared
def _product_sum(triple: Triple, x: str, y: str) -> int:
    return int(np.dot(triple[x].ravel(), triple[y].ravel()))


def product_sum(triple: Triple, x: str, y: str) -> int:
    """Sum of the products of two images' pixels, exact."""
    return _product_sum(triple, *sorted((x, y)))


def spread(triple: Triple, x: str, y: str) -> int:
    """n² times the covariance of two images, exact."""
    return triple.size * product_sum(triple, x, y) - pixel_sum(triple, x) * pixel_sum(triple, y)


def squared_error(triple: Triple, x: str, y: str) -> int:
    """Sum of the squared differences of two images, exact."""
    return product_sum(triple, x, x) + product_sum(triple, y, y) - 2 * product_sum(triple, x, y)


def sd(triple: Triple) -> float:
    """SD: standard deviation of the fused image's levels (over all pixels, not n - 1)."""
    return math.sqrt(spread(triple, "f", "f")) / triple.size


def mse(triple: Triple) -> float:
    """MSE: mean of the two mean squared errors, 0..255 scale."""
    return (squared_error(triple, "a", "f") + squared_error(triple, "b", "f")) / (2 * triple.size)


def mse_tang(triple: Triple) -> float:
    """MSE on the 0..1 scale."""
    return mse(triple) / PEAK**2


def rmse(triple: Triple) -> float:
    """RMSE as in VIFB: the root is taken before dividing by the number of pixels (see the docs)."""
    roots = math.sqrt(squared_error(triple, "a", "f")) + math.sqrt(squared_error(triple, "b", "f"))
    return roots / (2 * triple.size)


def _decibel(peak: float, error: float) -> float:
    """20 log10(peak / error): infinite without error, NaN without either."""
    if error == 0:
        return math.inf if peak > 0 else math.nan
    return 20 * math.log10(peak / error) if peak > 0 else -math.inf


def psnr(triple: Triple) -> float:
    """PSNR as in VIFB and MEFB, with their RMSE in place of an MSE (see the docs)."""
    return _decibel(PEAK, math.sqrt(rmse(triple)))


def psnr_cddfuse(triple: Triple) -> float:
    """PSNR whose peak is the brightest fused pixel."""
    return _decibel(float(triple["f"].max()), math.sqrt(mse(triple)))


def psnr_tang(triple: Triple) -> float:
    """PSNR with a peak of 255 over an MSE on 0..1: the true PSNR plus 48.13 dB."""
    return _decibel(PEAK, math.sqrt(mse_tang(triple)))


def psnr_true(triple: Triple) -> float:
    """PSNR as in textbooks: 10 log10(255² / MSE), MSE averaged over the two sources."""
    return _decibel(PEAK, math.sqrt(mse(triple)))


def psnr_truth(triple: Triple) -> float:
    """PSNR of the fused image against a ground truth."""
    return _decibel(PEAK, math.sqrt(squared_error(triple, "t", "f") / triple.size))


def cc(triple: Triple) -> float:
    """CC: mean Pearson correlation of F with A and with B. NaN if an image is constant."""
    total = 0.0
    for x in ("a", "b"):
        below = math.sqrt(spread(triple, x, x)) * math.sqrt(spread(triple, "f", "f"))
        total += spread(triple, x, "f") / below if below > 0 else math.nan
    return total / 2


def scd(triple: Triple) -> float:
    """SCD: r(F - B, A) + r(F - A, B). NaN if F differs from a source by a constant, or a source is constant."""
    total = 0.0
    for x, other in (("a", "b"), ("b", "a")):
        difference = spread(triple, "f", "f") + spread(triple, other, other) - 2 * spread(triple, other, "f")
        below = math.sqrt(difference) * math.sqrt(spread(triple, x, x))
        above = spread(triple, x, "f") - spread(triple, "a", "b")
        total += above / below if below > 0 else math.nan
    return total
