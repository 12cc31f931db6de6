"""MEF_SSIM: structural similarity of an exposure fusion to a stack of two exposures (Ma et al. 2015).

In every window the desired patch is r = c1 (x1 - mean x1) + c2 (x2 - mean x2), a combination of the sources with
weights constant in the window. All sums over a window of r therefore follow from the local moments of x1, x2 and f, and
patches are never built.
"""

import numpy as np

from .structure import C2, WANG_WEIGHTS, halved
from .triple import Triple, shared
from .windows import GAUSS11, box_sum, covariance

SIDE = 11
PIXELS = SIDE * SIDE
EPSILON = float(np.finfo(np.float64).eps)
SOURCES = ("a", "b")


@shared
def _scatter(triple: Triple, x: str, y: str) -> np.ndarray:
    """Sum over the window of (x - mean x)(y - mean y); exact, hence exactly 0 in flat windows."""
    sums = [box_sum(triple[k], SIDE) for k in (x, y)]
    return (PIXELS * box_sum(triple[x] * triple[y], SIDE) - sums[0] * sums[1]) / PIXELS


def _weights(triple: Triple) -> tuple[list[np.ndarray], np.ndarray]:
    """Factors c1, c2 of the desired patch, before its length is set, and that length."""
    scatter = {x: _scatter(triple, x, x) for x in SOURCES}
    lengths = [np.sqrt(scatter[x]) for x in SOURCES]
    norms = [length + 0.001 for length in lengths]
    total = np.sqrt(np.maximum(scatter["a"] + scatter["b"] + 2 * _scatter(triple, "a", "b"), 0))
    consistency = (total + EPSILON) / (lengths[0] + lengths[1] + EPSILON)
    consistency[consistency > 1] = 1 - EPSILON
    power = np.minimum(np.tan(np.pi / 2 * consistency), 10)
    shares = [(norm / SIDE) ** power + EPSILON for norm in norms]
    whole = shares[0] + shares[1]
    return [share / whole / norm for share, norm in zip(shares, norms)], np.maximum(*norms)


@shared
def scale_score(triple: Triple) -> float:
    """Mean local score of one scale."""
    (c1, c2), length = _weights(triple)
    aa, bb, ab = (_scatter(triple, x, y) for x, y in (("a", "a"), ("b", "b"), ("a", "b")))
    norm = c1 * c1 * aa + c2 * c2 * bb + 2 * c1 * c2 * ab
    # If the sources cancel each other, only rounding would be scaled up: leave the patch at 0.
    alive = norm > 1e-12 * (c1 * c1 * aa + c2 * c2 * bb)
    gain = np.divide(length, np.sqrt(norm, where=alive, out=np.ones_like(norm)), where=alive, out=np.zeros_like(norm))
    c1, c2 = c1 * gain, c2 * gain
    var_a, var_b, var_f = (covariance(triple, x, x, GAUSS11, True) for x in ("a", "b", "f"))
    cov_ab, cov_af, cov_bf = (covariance(triple, x, y, GAUSS11, True) for x, y in ("ab", "af", "bf"))
    var_r = c1 * c1 * var_a + c2 * c2 * var_b + 2 * c1 * c2 * cov_ab
    cov_rf = c1 * cov_af + c2 * cov_bf
    return float(((2 * cov_rf + C2) / (var_r + var_f + C2)).mean())


def mef_ssim(triple: Triple) -> float:
    """MEF_SSIM on three scales."""
    weights = np.array(WANG_WEIGHTS[:3]) / sum(WANG_WEIGHTS[:3])
    scores = (mef_ssim_scale1(triple), mef_ssim_scale2(triple), mef_ssim_scale3(triple))
    return float(np.prod([max(score, 0.0) ** weight for score, weight in zip(scores, weights)]))


def mef_ssim_scale1(triple: Triple) -> float:
    """Score at full size: the single-scale index."""
    return scale_score(triple)


def mef_ssim_scale2(triple: Triple) -> float:
    """Score at half size."""
    return scale_score(halved(triple))


def mef_ssim_scale3(triple: Triple) -> float:
    """Score at a quarter of the size."""
    return scale_score(halved(halved(triple)))
