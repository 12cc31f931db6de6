"""FMI: feature mutual information in 3 x 3 windows (Haghighat et al. 2011).

In each window the nine values of a source's and of F's feature are two distributions over the positions 1..9.
Their joint distribution is modelled between independence and the Fréchet bound, so that it has the Pearson
correlation of the two, and its mutual information is taken relative to the entropies.
"""

from collections.abc import Callable
from math import inf

import numpy as np
import pywt
from numba import njit
from scipy.fft import dctn

from .gradient import central_difference
from .triple import Triple

_compiled = njit(cache=True, error_model="numpy")


def _wavelet(image: np.ndarray) -> np.ndarray:
    """One level of the discrete Meyer wavelet laid out [cA cH; cV cD], mapped to 0..1."""
    low, (horizontal, vertical, diagonal) = pywt.dwt2(image, "dmey", mode="symmetric")
    return _unit_range(np.block([[low, horizontal], [vertical, diagonal]]))


def _unit_range(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.ones_like(values)


def _wavelet_rounded(image: np.ndarray) -> np.ndarray:
    """As `_wavelet`, rounded to 10 decimals, so that flat areas are exactly flat."""
    return np.round(_wavelet(image), 10)


@_compiled
def _read_window(image, row, column, raw, unit):
    """Copy the nine values column by column, raw and stretched to 0..1 (ones if flat); returns whether flat."""
    low, high = inf, -inf
    for c in range(3):
        for r in range(3):
            value = image[row + r, column + c]
            raw[3 * c + r] = value
            low, high = min(low, value), max(high, value)
    for n in range(9):
        unit[n] = (raw[n] - low) / (high - low) if high > low else 1.0
    return high == low


@_compiled
def _same(x, y):
    for n in range(9):  # noqa: SIM110 (numba knows no generator expressions)
        if x[n] != y[n]:
            return False
    return True


@_compiled
def _describe(unit, shares, cumulative, logs):
    """Distribution over the positions: fills shares, their cumulative sums and logs; entropy and spread."""
    total = unit.sum()
    running = entropy = mean = square = 0.0
    for n in range(9):
        share = unit[n] / total
        shares[n] = share
        running += share
        cumulative[n] = running
        mean += (n + 1) * share
        square += (n + 1) * (n + 1) * share
        logs[n] = np.log(share) if share > 0 else 0.0
        entropy -= share * logs[n]
    return entropy, np.sqrt(max(square - mean * mean, 0.0))


@_compiled
def _correlation(p, f):
    mean_p, mean_f = p.sum() / 9, f.sum() / 9
    cross = square_p = square_f = 0.0
    for n in range(9):
        dp, df = p[n] - mean_p, f[n] - mean_f
        cross += dp * df
        square_p += dp * dp
        square_f += df * df
    return 0.0 if cross == 0 else cross / np.sqrt(square_p * square_f)


@_compiled
def _frechet(cum_f, cum_p, positive, mass):
    """Mass function of the Fréchet bound (upper for positive correlation), and its covariance."""
    covariance = 0.0
    above = np.zeros(10)
    for i in range(9):
        left = upper_left = 0.0
        for j in range(9):
            bound = min(cum_f[i], cum_p[j]) if positive else max(cum_f[i] + cum_p[j] - 1, 0.0)
            covariance += bound - cum_f[i] * cum_p[j]
            mass[i, j] = (bound - left) - (above[j] - upper_left)
            left, upper_left = bound, above[j]
            above[j] = bound
    return covariance


@_compiled
def _joint_entropy(weight, mass, f, p, log_f, log_p, entropy_f, entropy_p):
    """Entropy of weight * mass + (1 - weight) * f p, with the absolute value inside the logarithm.

    The bound's mass lies on a staircase of few cells. Elsewhere the logarithm of the product is a sum of known
    logarithms, so the whole table is first taken as pure product and the staircase corrected.
    """
    rest = 1 - weight
    log_rest = np.log(abs(rest)) if rest != 0 else 0.0
    sum_f, sum_p = f.sum(), p.sum()
    entropy = -rest * (log_rest * sum_f * sum_p - entropy_f * sum_p - entropy_p * sum_f)
    for i in range(9):
        for j in range(9):
            if abs(mass[i, j]) < 1e-15:
                continue
            product = rest * f[i] * p[j]
            value = weight * mass[i, j] + product
            if product != 0:
                entropy += product * (log_rest + log_f[i] + log_p[j])
            if value != 0:
                entropy -= value * np.log(abs(value))
    return entropy


@_compiled
def _pair_score(p, f, mass):
    """Score of two described windows; each is (shares, cumulative, logs, entropy, spread)."""
    correlation = _correlation(p[0], f[0])
    if correlation == 0 or p[4] == 0 or f[4] == 0:
        return 0.0  # independent: the joint entropy is the sum of the two
    covariance = _frechet(f[1], p[1], correlation >= 0, mass)
    if covariance == 0:
        return 0.0  # all mass at one position up to rounding; undefined in the original
    weight = correlation / (covariance / (f[4] * p[4]))
    joint = _joint_entropy(weight, mass, f[0], p[0], f[2], p[2], f[3], p[3])
    both = p[3] + f[3]
    return 0.0 if both == joint else 2 * (both - joint) / both


@_compiled
def _mean_score(a, b, f):
    """FMI of three feature images, (H, W) float64 each."""
    rows, columns = f.shape
    raw, unit, shares = np.empty((3, 9)), np.empty((3, 9)), np.empty((3, 9))
    cumulative, logs, mass = np.empty((3, 9)), np.empty((3, 9)), np.empty((9, 9))
    total = 0.0
    for row in range(rows - 2):
        for column in range(columns - 2):
            flat_f = _read_window(f, row, column, raw[2], unit[2])
            entropy, spread = _describe(unit[2], shares[2], cumulative[2], logs[2])
            fused = (shares[2], cumulative[2], logs[2], entropy, spread)
            a_is_f = False
            for s in range(2):
                flat = _read_window(a if s == 0 else b, row, column, raw[s], unit[s])
                # As in the original, B is compared with F's window as left by the pair (A, F): stretched if A differs.
                if _same(raw[s], raw[2] if s == 0 or a_is_f else unit[2]):
                    total += 1
                    a_is_f = s == 0
                elif flat or flat_f:
                    total += 1.0 if flat and flat_f else 0.0
                else:
                    entropy, spread = _describe(unit[s], shares[s], cumulative[s], logs[s])
                    total += _pair_score((shares[s], cumulative[s], logs[s], entropy, spread), fused, mass)
    return total / (2.0 * (rows - 2) * (columns - 2))


def _fmi(triple: Triple, feature: Callable[[np.ndarray], np.ndarray]) -> float:
    features = triple.map(feature)
    return _mean_score(features["a"], features["b"], features["f"])


def fmi_pixel(triple: Triple) -> float:
    """FMI_pixel: FMI of the pixels themselves."""
    return _fmi(triple, lambda image: image)


def fmi_gradient(triple: Triple) -> float:
    """FMI_gradient: FMI of the horizontal derivative."""
    return _fmi(triple, lambda image: central_difference(image, 1))


def fmi_dct(triple: Triple) -> float:
    """FMI_dct: FMI of the orthonormal cosine transform of the whole image."""
    return _fmi(triple, lambda image: dctn(image, norm="ortho"))


def fmi_wavelet(triple: Triple) -> float:
    """FMI_wavelet: FMI of one level of the discrete Meyer wavelet, rounded so that flat areas stay flat."""
    return _fmi(triple, _wavelet_rounded)


def fmi_wavelet_plain(triple: Triple) -> float:
    """FMI_wavelet without the rounding, as the toolboxes compute it."""
    return _fmi(triple, _wavelet)
