"""Edge transfer: edges of the sources that the fused image keeps (Qabf, Q_G) or loses (LABF), and new ones (Nabf)."""

import cv2
import numpy as np

from .gradient import sobel
from .triple import Triple, shared

HALF_PI = np.pi / 2
TINY = 1e-5  # replaces 0 in Q_G


def sigmoid(values: np.ndarray, slope: float, middle: float) -> np.ndarray:
    """1 / (1 + exp(-slope (v - middle)))."""
    return 1 / (1 + np.exp(-slope * (values - middle)))


@shared
def _xydeas_angle(triple: Triple, x: str) -> np.ndarray:
    across, down, _ = sobel(triple, x, cv2.BORDER_CONSTANT)
    return np.where(across == 0, HALF_PI, -np.arctan(down / across))


def _xydeas_transfer(triple: Triple, x: str, equal_factor: float) -> np.ndarray:
    """Share of the edges of image x kept by F, per pixel: sigmoid(strength ratio) times sigmoid(alignment)."""
    source, fused = (sobel(triple, k, cv2.BORDER_CONSTANT)[2] for k in (x, "f"))
    ratio = np.minimum(source, fused) / np.maximum(source, fused)
    ratio = np.where(source == fused, fused * equal_factor, ratio)
    turn = 1 - np.abs(_xydeas_angle(triple, x) - _xydeas_angle(triple, "f")) / HALF_PI
    return 0.9994 * 0.9879 * sigmoid(ratio, 15, 0.5) * sigmoid(turn, 22, 0.8)


def _qabf(triple: Triple, equal_factor: float) -> float:
    kept, total = 0.0, 0.0
    for x in ("a", "b"):
        weight = sobel(triple, x, cv2.BORDER_CONSTANT)[2]
        kept += float((_xydeas_transfer(triple, x, equal_factor) * weight).sum())
        total += float(weight.sum())
    return kept / total if total > 0 else np.nan


def qabf(triple: Triple) -> float:
    """Qabf (Xydeas-Petrović), VIFB: equal strengths count as 255 times the strength (a slip, an effect of 1e-11)."""
    return _qabf(triple, 255.0)


def qabf_plain(triple: Triple) -> float:
    """Qabf, Tang and CDDFuse: equal strengths count as the strength itself."""
    return _qabf(triple, 1.0)


def _liu_transfer(fused: np.ndarray, source: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Share of the source's edges kept by F, for Q_G; ``fused`` and ``source`` are edge strengths."""
    ratio = np.where(source > fused, fused / _not_zero(source), _not_zero(source) / _not_zero(fused))
    return sigmoid(ratio, 10, 0.5) * sigmoid(turn, 20, 0.75)


def _not_zero(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, TINY, values)


@shared
def _liu_angle(triple: Triple, x: str) -> np.ndarray:
    across, down, _ = sobel(triple, x, cv2.BORDER_CONSTANT)
    return np.arctan(down / _not_zero(across))


def _alignment(angle: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Agreement of edge directions: 1 if equal, 0 if perpendicular."""
    return np.abs(np.abs(angle - other) - HALF_PI) / HALF_PI


def q_g(triple: Triple) -> float:
    """Q_G (Liu): as Qabf with other constants and weights normalised at each pixel.

    Flat areas count as much as edges. The toolbox replaces zero strengths of F by 1e-5 between its passes for A and B,
    so the two sources are not exactly interchangeable.
    """
    strength = {k: sobel(triple, k, cv2.BORDER_CONSTANT)[2] for k in ("a", "b", "f")}
    weight = {k: _not_zero(strength[k]) for k in ("a", "b")}
    turn = {k: _alignment(_liu_angle(triple, k), _liu_angle(triple, "f")) for k in ("a", "b")}
    kept = _liu_transfer(strength["f"], strength["a"], turn["a"]) * weight["a"]
    kept += _liu_transfer(_not_zero(strength["f"]), strength["b"], turn["b"]) * weight["b"]
    return float((kept / (weight["a"] + weight["b"])).mean())


@shared
def _petrovic_edges(triple: Triple, x: str) -> tuple[np.ndarray, np.ndarray]:
    """Edge strength and direction, Sobel divided by 8, border mirrored."""
    across, down, strength = sobel(triple, x, cv2.BORDER_REFLECT_101)
    direction = np.arctan(across / down)
    return strength / 8, np.where(strength == 0, 0.0, direction)


def _petrovic_transfer(triple: Triple, x: str, fused: str) -> np.ndarray:
    (source, source_angle), (target, target_angle) = (_petrovic_edges(triple, k) for k in (x, fused))
    ratio = np.minimum(source, target) / np.maximum(source, target)
    ratio = np.where((source == 0) | (target == 0), 0.0, ratio)
    strength = 0.9999 * sigmoid(ratio, 19, 0.5)
    return np.sqrt(strength * 0.9995 * sigmoid(_alignment(source_angle, target_angle), 22, 0.5))


@shared
def _artefacts(triple: Triple, x: str, y: str, fused: str) -> dict[str, float]:
    """Shares of edge weight that ``fused`` keeps, loses and adds with respect to the sources x and y."""
    strength = {k: _petrovic_edges(triple, k)[0] for k in (x, y, fused)}
    invented = (strength[fused] > strength[x]) & (strength[fused] > strength[y])
    missing, kept, weights = 0.0, 0.0, 0.0
    missing_share = np.zeros(triple.shape)
    for source in (x, y):
        weight = np.where(strength[source] >= 2, strength[source] ** 1.5, 0.001)
        share = _petrovic_transfer(triple, source, fused)
        missing = missing + (1 - share) * weight
        missing_share += 1 - share
        kept += float((share * weight).sum())
        weights = weights + weight
    total = float(weights.sum())
    return {
        "invented": float(missing[invented].sum()) / total,
        "lost": float(missing[~invented].sum()) / total,
        "kept": kept / total,
        "invented_first_form": float((missing_share * weights)[invented].sum()) / total,
    }


def nabf(triple: Triple) -> float:
    """Nabf: edge weight where F is stronger than both sources, not explained by them."""
    return _artefacts(triple, "a", "b", "f")["invented"]


def labf(triple: Triple) -> float:
    """LABF: edge weight of the sources that F lost."""
    return _artefacts(triple, "a", "b", "f")["lost"]


def qabf_weighted(triple: Triple) -> float:
    """QABFw: edge weight that F keeps; QABFw + LABF + Nabf = 1."""
    return _artefacts(triple, "a", "b", "f")["kept"]


def nabf_first_form(triple: Triple) -> float:
    """NABF1: Petrović's first form of Nabf, as in Tang's file."""
    return _artefacts(triple, "a", "b", "f")["invented_first_form"]


def nabf_as_called(triple: Triple) -> float:
    """Nabf as Tang's driver calls it: A takes the place of the fused image, B and F those of the sources."""
    return _artefacts(triple, "b", "f", "a")["invented"]
