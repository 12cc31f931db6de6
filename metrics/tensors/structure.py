"""SSIM and MEF_SSIM of batches.

Arguments are grey levels (B, 1, H, W) in 0..255; results are (B,). Definitions: docs/METRICS.md.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metrics.mef_ssim import PIXELS, SIDE
from metrics.structure import C1, C2, WANG_WEIGHTS
from metrics.windows import GAUSS11

from .windows import covariance, mean, slide

TAPS = GAUSS11.taps
SCALE_WEIGHTS = np.array(WANG_WEIGHTS[:3]) / sum(WANG_WEIGHTS[:3])


def ssim(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """SSIM: the sum of SSIM(A, F) and SSIM(B, F), window G(11, 1.5) inside the image."""
    of_f = _moments(f)
    return sum(mean(_similarity(source, f, *of_f)) for source in (a, b))


def _similarity(x: Tensor, f: Tensor, mean_f: Tensor, var_f: Tensor) -> Tensor:
    """SSIM map of a source and F."""
    mean_x, var_x = _moments(x)
    cov = covariance(x, f, mean_x, mean_f, TAPS)
    squares = mean_x * mean_x + mean_f * mean_f
    return (2 * mean_x * mean_f + C1) * (2 * cov + C2) / ((squares + C1) * (var_x + var_f + C2))


def mef_ssim(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """MEF_SSIM on three scales; a negative scale counts as 0."""
    value = torch.ones((), dtype=f.dtype, device=f.device)
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            a, b, f = (halve(x) for x in (a, b, f))
        score = _scale_score(a, b, f)
        positive = score > 0
        value = value * torch.where(positive, torch.where(positive, score, 1).pow(float(weight)), 0)
    return value


def halve(x: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; an odd last row or column is paired with itself."""
    return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2)


def _scale_score(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Mean local score of one scale: the desired patch is ``c1 (a - mean a) + c2 (b - mean b)``."""
    (mean_a, var_a), (mean_b, var_b), (mean_f, var_f) = (_moments(x) for x in (a, b, f))
    c1, c2 = _patch_weights(a, b)
    cov_rf = c1 * covariance(a, f, mean_a, mean_f, TAPS) + c2 * covariance(b, f, mean_b, mean_f, TAPS)
    var_r = c1 * c1 * var_a + c2 * c2 * var_b + 2 * c1 * c2 * covariance(a, b, mean_a, mean_b, TAPS)
    return mean((2 * cov_rf + C2) / (var_r + var_f + C2))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance in every window."""
    mean_x = slide(x, TAPS)
    return mean_x, covariance(x, x, mean_x, mean_x, TAPS)


@torch.no_grad()
def _patch_weights(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The factors c1, c2 of the desired patch in every window, its length included."""
    aa, bb, ab = _scatters(a, b)
    epsilon = torch.finfo(a.dtype).eps
    lengths = [aa.sqrt(), bb.sqrt()]
    norms = [length + 0.001 for length in lengths]
    consistency = ((aa + bb + 2 * ab).clamp(min=0).sqrt() + epsilon) / (lengths[0] + lengths[1] + epsilon)
    consistency = torch.where(consistency > 1, 1 - epsilon, consistency)
    power = torch.tan(math.pi / 2 * consistency).clamp(max=10)
    shares = [(norm / SIDE) ** power + epsilon for norm in norms]
    c1, c2 = (share / (shares[0] + shares[1]) / norm for share, norm in zip(shares, norms))
    parts = c1 * c1 * aa + c2 * c2 * bb
    squared = parts + 2 * c1 * c2 * ab
    alive = squared > 1e-12 * parts  # elsewhere the sources cancel, and only rounding would be scaled up
    gain = torch.where(alive, torch.maximum(*norms) / torch.where(alive, squared, 1).sqrt(), 0)
    return c1 * gain, c2 * gain


def _scatters(a: Tensor, b: Tensor) -> list[Tensor]:
    """Sums over the window of (a - mean a)², (b - mean b)² and their product; exact for whole levels and halves."""
    ones = np.ones(SIDE)
    sum_a, sum_b = slide(a, ones), slide(b, ones)
    return [(PIXELS * slide(products, ones) - of_sums) / PIXELS for products, of_sums in
            ((a * a, sum_a * sum_a), (b * b, sum_b * sum_b), (a * b, sum_a * sum_b))]
