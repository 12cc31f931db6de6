"""Activity and detail: changes between pixels of the fused image, alone and compared with the sources."""

import cv2
import numpy as np

from .triple import Triple, shared

DIAGONAL = float(np.sqrt(0.5))  # weight of diagonal neighbours: one over their distance


def central_difference(image: np.ndarray, axis: int) -> np.ndarray:
    """Half the difference of the two neighbours along ``axis``; one-sided at the ends.

    Zeros for an axis of length 1.
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
    step = np.diff(image, axis=axis).ravel()
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
        border: OpenCV border type.
    """
    across = cv2.Sobel(triple[x], cv2.CV_64F, 1, 0, ksize=3, borderType=border)
    down = cv2.Sobel(triple[x], cv2.CV_64F, 0, 1, ksize=3, borderType=border)
    return across, down, np.sqrt(across * across + down * down)


def ei(triple: Triple) -> float:
    """EI: mean Sobel magnitude of F."""
    return float(sobel(triple, "f", cv2.BORDER_REPLICATE)[2].mean())


def q_sf(triple: Triple) -> float:
    """Q_SF (Zheng): relative excess of F's spatial frequency over the stronger source's, in four directions."""
    fused = reference = 0.0
    for along, weight in ((_right, 1.0), (_down, 1.0), (_main_diagonal, DIAGONAL), (_other_diagonal, DIAGONAL)):
        step = along(triple["f"])
        strongest = np.maximum(np.abs(along(triple["a"])), np.abs(along(triple["b"])))
        fused += weight * float((step * step).sum())
        reference += weight * float((strongest * strongest).sum())
    return float(np.sqrt(fused / reference) - 1) if reference > 0 else np.nan


def _right(image: np.ndarray) -> np.ndarray:
    return image[:, 1:] - image[:, :-1]


def _down(image: np.ndarray) -> np.ndarray:
    return image[1:] - image[:-1]


def _main_diagonal(image: np.ndarray) -> np.ndarray:
    return image[1:, 1:] - image[:-1, :-1]


def _other_diagonal(image: np.ndarray) -> np.ndarray:
    return image[1:, :-1] - image[:-1, 1:]


def haar(image: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """One Haar level on pairs (2i, 2i + 1): the low band and the three details. A last odd line is dropped."""
    rows, columns = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    blocks = image[:rows, :columns]
    a, b, c, d = blocks[::2, ::2], blocks[::2, 1::2], blocks[1::2, ::2], blocks[1::2, 1::2]
    return (a + b + c + d) / 2, [(a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2]


def q_m(triple: Triple) -> float:
    """Q_M (Wang): Haar details of the sources kept by F on two levels, weighted by the sources' detail energy."""
    low = {k: triple[k] for k in ("a", "b", "f")}
    value = 1.0
    for exponent in (2 / 3, 1 / 3):
        bands = {k: haar(image) for k, image in low.items()}
        low = {k: band[0] for k, band in bands.items()}
        above = below = 0.0
        for x in ("a", "b"):
            kept = sum(np.exp(-np.abs(s - f)) for s, f in zip(bands[x][1], bands["f"][1]))
            weight = sum(s * s for s in bands[x][1])
            above += float((kept * weight).sum())
            below += float(weight.sum())
        value *= (above / below) ** exponent if below > 0 else np.nan
    return value
