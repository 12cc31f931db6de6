"""Metrics that filter the images with the eye's contrast sensitivity: Q_CV and Q_CB."""

import cv2
import numpy as np
from scipy import fft

from .gradient import sobel
from .triple import Triple, stretched

BLOCK = 16


def _radius(shape: tuple[int, int], divisor: float) -> np.ndarray:
    """Distance from zero frequency on the half grid of a real transform, axes scaled by size / divisor."""
    rows, columns = shape
    down = rows / divisor * 2 * fft.fftfreq(rows)
    across = columns / divisor * 2 * fft.rfftfreq(columns)
    return np.hypot(down[:, None], across[None, :])


def _filter(image: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    return fft.irfft2(fft.rfft2(image) * transfer, s=image.shape)


def _block_sums(image: np.ndarray) -> np.ndarray:
    """Sums over 16 x 16 blocks from the top left; missing pixels of the last ones count as 0."""
    rows, columns = (-size % BLOCK for size in image.shape)
    padded = np.pad(image, ((0, rows), (0, columns)))
    return padded.reshape(padded.shape[0] // BLOCK, BLOCK, -1, BLOCK).sum(axis=(1, 3))


def q_cv(triple: Triple) -> float:
    """Q_CV (Chen-Varshney): visible error in 16 x 16 blocks, weighted by the sources' edges to the fifth power."""
    spread = stretched(triple)
    radius = 0.144 * _radius(triple.shape, 8)
    transfer = 2.6 * (0.0192 + radius) * np.exp(-(radius**1.1))
    error = weights = 0.0
    for x in ("a", "b"):
        edge = sobel(spread, x, cv2.BORDER_CONSTANT)[2]
        square = edge * edge
        weight = _block_sums(square * square * edge)
        visible = _filter(spread[x] - spread["f"], transfer)
        error += float((weight * _block_sums(visible * visible)).sum()) / BLOCK**2
        weights += float(weight.sum())
    return error / weights if weights != 0 else np.nan


def _bell(sigma: float) -> np.ndarray:
    offsets = np.arange(-15, 16)
    return np.exp(-(offsets**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    taps = _bell(sigma)
    return cv2.sepFilter2D(image, cv2.CV_64F, taps, taps, borderType=cv2.BORDER_CONSTANT)


def _masked_contrast(image: np.ndarray) -> np.ndarray:
    """Local contrast after the eye's band pass, with soft masking of small values."""
    radius = _radius(image.shape, 30)
    transfer = np.exp(-((radius / 15.3870) ** 2)) - 0.7622 * np.exp(-((radius / 1.3456) ** 2))
    seen = _filter(image, transfer)
    contrast = np.abs(_blur(seen, 2) / _blur(seen, 4) - 1)
    square = contrast * contrast
    return square * contrast / (square + 1e-4)


def _q_cb(spread: Triple) -> float:
    contrast = {x: _masked_contrast(spread[x]) for x in ("a", "b", "f")}
    kept = {}
    for x in ("a", "b"):
        kept[x] = np.minimum(contrast[x], contrast["f"]) / np.maximum(contrast[x], contrast["f"])
    square_a, square_b = contrast["a"] ** 2, contrast["b"] ** 2
    share = square_a / (square_a + square_b)
    return float((share * kept["a"] + (1 - share) * kept["b"]).mean())


def q_cb(triple: Triple) -> float:
    """Q_CB (Chen-Blum): local contrast of the sources preserved in F."""
    return _q_cb(stretched(triple))


def q_cb_mefb(triple: Triple) -> float:
    """Q_CB of MEFB: divides by 255 before the stretch, which rounds some ties the other way."""
    return _q_cb(stretched(triple, True))
