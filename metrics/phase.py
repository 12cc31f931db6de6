"""Q_P: phase congruency features of the sources preserved in the fused image (Zhao et al. 2007)."""

from functools import lru_cache

import cv2
import numpy as np
from scipy import fft

from .triple import Triple, is_constant, shared
from .windows import GAUSS11

N_SCALES, N_ORIENTATIONS = 4, 6
SHORTEST_WAVE, WAVE_FACTOR, BANDWIDTH = 3.0, 2.1, 0.55
ANGLE_WIDTH = np.pi / N_ORIENTATIONS / 1.2
CUTOFF, SHARPNESS = 0.45, 30
NOISE_SIGMAS, NOISE_DIVISOR = 2.0, 1.7
SPREAD_CUTOFF, SPREAD_GAIN = 0.5, 10.0
TINY = 1e-4
THRESHOLD = 0.1  # congruency from which a pixel counts as a feature


def _axis(length: int) -> np.ndarray:
    """Frequencies of one axis, 0 in the middle; odd lengths have their own divisor."""
    if length % 2 == 0:
        return (np.arange(length) - length // 2) / length
    return (np.arange(length) - (length - 1) / 2) / max(length - 1, 1)


def _radial_filters(shape: tuple[int, int]) -> list[np.ndarray]:
    rows, columns = shape
    radius = np.hypot(_axis(rows)[:, None], _axis(columns)[None, :])
    radius[rows // 2, columns // 2] = 1
    radius = fft.ifftshift(radius)
    plain_y = (np.arange(rows) - rows // 2) / rows
    plain_x = (np.arange(columns) - columns // 2) / columns
    distance = np.hypot(plain_y[:, None], plain_x[None, :])
    # fftshift instead of ifftshift, as in the original; they differ for odd sizes.
    low_pass = fft.fftshift(1 / (1 + (distance / CUTOFF) ** SHARPNESS))
    filters = []
    for scale in range(N_SCALES):
        wave = SHORTEST_WAVE * WAVE_FACTOR**scale
        band = np.exp(-(np.log(radius * wave) ** 2) / (2 * np.log(BANDWIDTH) ** 2)) * low_pass
        band[0, 0] = 0
        filters.append(band)
    return filters


def _angular_filters(shape: tuple[int, int]) -> list[np.ndarray]:
    rows, columns = shape
    theta = fft.ifftshift(np.arctan2(-_axis(rows)[:, None], _axis(columns)[None, :]))
    sine, cosine = np.sin(theta), np.cos(theta)
    filters = []
    for k in range(N_ORIENTATIONS):
        s, c = np.sin(k * np.pi / N_ORIENTATIONS), np.cos(k * np.pi / N_ORIENTATIONS)
        away = np.arctan2(sine * c - cosine * s, cosine * c + sine * s)
        filters.append(np.exp(-(away**2) / (2 * ANGLE_WIDTH**2)))
    return filters


@lru_cache(maxsize=4)
def _noise_factors(shape: tuple[int, int]) -> list[float]:
    """Per orientation: noise variance at a pixel over the median energy of the finest scale.

    The sums run over k_s = Re(ifft2(filter)) sqrt(MN). By Parseval they are sums over the even part of the
    filters, so no transform is needed.
    """
    factors = []
    radial = _radial_filters(shape)
    for angular in _angular_filters(shape):
        bank = [band * angular for band in radial]
        even = [(f + np.roll(f[::-1, ::-1], (1, 1), (0, 1))) / 2 for f in bank]
        total = sum(even)
        squares = sum(float((e * e).sum()) for e in even)
        pairs = (float((total * total).sum()) - squares) / 2
        power = -1 / np.log(0.5) / float((bank[0] ** 2).sum())
        factors.append(power * (2 * squares + 4 * pairs))
    return factors


def _orientation(spectrum: np.ndarray, bank: list[np.ndarray], noise_factor: float):
    """Energy above noise, amplitude, of one orientation."""
    responses = [fft.ifft2(spectrum * band) for band in bank]
    amplitudes = [np.abs(z) for z in responses]
    total = sum(responses)
    direction = total / (np.abs(total) + TINY)
    energy = np.zeros(spectrum.shape)
    for z in responses:
        product = z * direction.conj()
        energy += product.real - np.abs(product.imag)
    variance = float(np.median(amplitudes[0] ** 2)) * noise_factor
    deviation = np.sqrt(variance / 2)
    noise = deviation * np.sqrt(np.pi / 2) + NOISE_SIGMAS * np.sqrt((2 - np.pi / 2) * deviation**2)
    energy = np.maximum(energy - noise / NOISE_DIVISOR, 0)
    amplitude = sum(amplitudes)
    width = amplitude / (np.maximum.reduce(amplitudes) + TINY) / N_SCALES
    return energy / (1 + np.exp(SPREAD_GAIN * (SPREAD_CUTOFF - width))), amplitude


def phase_features(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Phase congruency of an image, and its maximum and minimum moment over the orientations, (H, W) each."""
    spectrum = fft.fft2(image)
    radial = _radial_filters(image.shape)
    noise_factors = _noise_factors(image.shape)
    energy = amplitude = a = b = c = 0.0
    for k, angular in enumerate(_angular_filters(image.shape)):
        bank = [band * angular for band in radial]
        energy_k, amplitude_k = _orientation(spectrum, bank, noise_factors[k])
        energy, amplitude = energy + energy_k, amplitude + amplitude_k
        congruency = energy_k / amplitude_k
        x = congruency * np.cos(k * np.pi / N_ORIENTATIONS)
        y = congruency * np.sin(k * np.pi / N_ORIENTATIONS)
        a, b, c = a + x * x, b + y * y, c + x * y
    half = N_ORIENTATIONS / 2
    a, b, c = a / half, b / half, c / N_ORIENTATIONS
    root = np.sqrt(c**2 + (a - b) ** 2) + TINY
    return energy / (amplitude + TINY), (a + b + root) / 2, (a + b - root) / 2


@shared
def _features(triple: Triple, x: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return phase_features(triple[x])


def _mean(image: np.ndarray) -> np.ndarray:
    return GAUSS11.slide_same(image, cv2.BORDER_CONSTANT)


def _found_again(source: np.ndarray, mask: np.ndarray, fused: np.ndarray, mean_f: np.ndarray, var_f: np.ndarray):
    """Local correlation of a source's feature with that of F; 0 where the source has none."""
    masked = source * mask
    mean_s = _mean(masked)
    var_s = _mean(masked * masked) - mean_s * mean_s
    cov = _mean(masked * fused) - mean_s * mean_f
    return np.where(mask, (cov + TINY) / (np.sqrt(np.abs(var_s * var_f)) + TINY), 0.0)


def q_p(triple: Triple) -> float:
    """Q_P: product of the mean local correlations of three phase features. NaN if an image is constant."""
    if any(is_constant(triple, k) for k in ("a", "b", "f")):
        return np.nan
    features = {k: _features(triple, k) for k in ("a", "b", "f")}
    a_leads = features["a"][0] > features["b"][0]
    features["m"] = tuple(np.where(a_leads, x, y) for x, y in zip(features["a"], features["b"]))
    masks = {k: features[k][0] > THRESHOLD for k in ("a", "b", "m")}
    count = int(masks["m"].sum())
    if count == 0:
        return np.nan
    value = 1.0
    for i, fused in enumerate(features["f"]):
        mean_f = _mean(fused)
        var_f = _mean(fused * fused) - mean_f * mean_f
        found = [_found_again(features[k][i], masks[k], fused, mean_f, var_f) for k in ("a", "b", "m")]
        value *= float(np.maximum.reduce(found).sum()) / count
    return value
