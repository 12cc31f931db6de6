"""Visual information fidelity: VIF and VIFF."""

import numpy as np
from numba import njit

from .triple import Triple, shared
from .windows import gaussian

SCALES = tuple(gaussian(side, side / 5) for side in (17, 9, 5, 3))
LN10 = float(np.log(10))
VIF_NOISE = 2.0
VIFF_NOISE = 0.005 * 255**2
VIFF_WEIGHTS = (1.0, 0.0, 0.15, 1.0)


@njit(cache=True)
def _recentre(x, f, taps, var_x, var_f, cov):
    """Recompute, in place, small local moments from the window minus its centre pixel (no cancellation)."""
    side = taps.size
    half = side // 2
    for i in range(var_x.shape[0]):
        for j in range(var_x.shape[1]):
            if var_x[i, j] >= 1e-6 and var_f[i, j] >= 1e-6:
                continue
            mean_x = mean_f = square_x = square_f = product = 0.0
            for k in range(side):
                for m in range(side):
                    weight = taps[k] * taps[m]
                    dx = x[i + k, j + m] - x[i + half, j + half]
                    df = f[i + k, j + m] - f[i + half, j + half]
                    mean_x += weight * dx
                    mean_f += weight * df
                    square_x += weight * dx * dx
                    square_f += weight * df * df
                    product += weight * dx * df
            var_x[i, j] = square_x - mean_x * mean_x
            var_f[i, j] = square_f - mean_f * mean_f
            cov[i, j] = product - mean_x * mean_f


@shared
def _scaled(triple: Triple, x: str, scale: int) -> np.ndarray:
    """Image ``x`` at scale 0..3: filtered with that scale's window and halved at each scale after the first."""
    if scale == 0:
        return triple[x]
    return np.ascontiguousarray(SCALES[scale].slide(_scaled(triple, x, scale - 1))[::2, ::2])


@shared
def _mean(triple: Triple, x: str, scale: int) -> np.ndarray:
    return SCALES[scale].slide(_scaled(triple, x, scale))


@shared
def _variance(triple: Triple, x: str, scale: int) -> np.ndarray:
    image, mean = _scaled(triple, x, scale), _mean(triple, x, scale)
    return SCALES[scale].slide(image * image) - mean * mean


@shared
def _moments(triple: Triple, x: str, scale: int, recentred: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance of source ``x``, variance of F, covariance; variances clipped at 0."""
    source, fused = _scaled(triple, x, scale), _scaled(triple, "f", scale)
    var_x, var_f = _variance(triple, x, scale).copy(), _variance(triple, "f", scale).copy()
    cov = SCALES[scale].slide(source * fused) - _mean(triple, x, scale) * _mean(triple, "f", scale)
    if recentred:
        _recentre(source, fused, SCALES[scale].taps, var_x, var_f, cov)
    return np.maximum(var_x, 0, out=var_x), np.maximum(var_f, 0, out=var_f), cov


@shared
def _channel(triple: Triple, x: str, scale: int, recentred: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian-scale-mixture step: gain g and rest s of F seen as g times the source plus noise, and var_x."""
    var_x, var_f, cov = _moments(triple, x, scale, recentred)
    gain = cov / (var_x + 1e-10)
    rest = var_f - gain * cov
    dull = var_x < 1e-10
    gain[dull], rest[dull] = 0, var_f[dull]
    var_x = np.where(dull, 0, var_x)
    dull = var_f < 1e-10
    gain[dull], rest[dull] = 0, 0
    negative = gain < 0
    rest[negative], gain[negative] = var_f[negative], 0
    return gain, np.maximum(rest, 1e-10, out=rest), var_x


def _kept_and_given(triple: Triple, x: str, scale: int, recentred: bool, noise: float):
    """Information maps (in ln units): information of source ``x`` kept by F, and that of the source."""
    gain, rest, var_x = _channel(triple, x, scale, recentred)
    kept = np.log(1 + gain * gain * var_x / (rest + noise))
    return kept, np.log(1 + var_x / noise)


def _vif(triple: Triple, recentred: bool, of_flat: float = np.nan) -> float:
    total = 0.0
    for x in ("a", "b"):
        kept = given = 0.0
        for scale in range(4):
            kept_map, given_map = _kept_and_given(triple, x, scale, recentred, VIF_NOISE)
            kept += float(kept_map.sum())
            given += float(given_map.sum())
        total += kept / given if given > 0 else of_flat
    return total


def vif(triple: Triple) -> float:
    """VIF: sum of the pixel-domain visual information fidelities of F to A and to B, small variances recentred."""
    return _vif(triple, recentred=True)


def vif_plain(triple: Triple) -> float:
    """VIF without recentring, as the toolboxes compute it."""
    return _vif(triple, recentred=False)


def vif_cddfuse(triple: Triple) -> float:
    """VIF without recentring; a flat source counts 1."""
    return _vif(triple, recentred=False, of_flat=1.0)


def _viff(triple: Triple, recentred: bool) -> float:
    total = 0.0
    for scale, weight in enumerate(VIFF_WEIGHTS):
        gain = {x: _channel(triple, x, scale, recentred)[0] for x in ("a", "b")}
        maps = {x: _kept_and_given(triple, x, scale, recentred, VIFF_NOISE) for x in ("a", "b")}
        take_a = gain["a"] < gain["b"]
        kept, given = (np.where(take_a, maps["a"][i], maps["b"][i]) / LN10 + 1e-7 for i in (0, 1))
        total += weight * float(kept.sum() / given.sum())
    return total / sum(VIFF_WEIGHTS)


def viff(triple: Triple) -> float:
    """VIFF (Han): at each pixel the information of the source that F resembles less; variances recentred."""
    return _viff(triple, recentred=True)


def viff_plain(triple: Triple) -> float:
    """VIFF without recentring, as MEFB computes it (and calls VIF)."""
    return _viff(triple, recentred=False)
