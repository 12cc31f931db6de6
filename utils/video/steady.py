"""Steadies fused frames along time.

A model that fuses each frame on its own follows one source here and the other there, and with noise these decisions
change from frame to frame: flat areas flicker. What the decisions add to the plain mean M of the sources,

    residual R_t = F_t - M_t,

is therefore averaged over the current and up to two earlier frames, pixel by pixel, where the sources stand still:

    steady F_t = M_t + (R_t + g_1 R_(t-1) + g_2 R_(t-2)) / (1 + g_1 + g_2).

The gate g_k in [0, 1] closes where a source has changed more than its noise explains: local energy of the difference
S_t - S_(t-k) over the noise's. Moving things thus stay as fused. The sum ends two frames back, so no ghost can last
longer, and M_t is always the present. Works for every model, since it needs the pictures only. (Ours.)
"""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from utils.pictures.colour import LUMA

LOOK_BACK = 2
"""Earlier frames that take part, by default and at most."""
_WINDOW = 7  # pixels, side of the area whose change is looked at
_OPEN, _CLOSED = 2.0, 4.0  # change over noise, up to which and from which the gate is open and closed
_LEAST = 0.5  # grey levels: what rounding alone does
_GREY = np.float32(LUMA)
_LAPLACIAN = np.float32([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])


@dataclass(frozen=True)
class _Seen:
    """What is kept of a frame: grey sources, their noise, and the residual."""

    greys: list[np.ndarray]
    noise: list[float]
    residual: np.ndarray


class Steady:
    """The filter; give it the frames of one video in order.

    Args:
        look_back: earlier frames that take part, 0 (returns the frames as they are) to 2.

    Raises:
        ValueError: another number.
    """

    def __init__(self, look_back: int = LOOK_BACK) -> None:
        if not 0 <= look_back <= LOOK_BACK:
            raise ValueError(f"look_back {look_back}; give 0 to {LOOK_BACK}, a ghost would last longer")
        self._past: deque[_Seen] = deque(maxlen=look_back)

    def __call__(self, fused: np.ndarray, sources: list[np.ndarray]) -> np.ndarray:
        """The steady frame.

        Args:
            fused: (H, W, 1 or 3), ``uint8``, as fused.
            sources: the pictures it was fused from, (H, W, 1 or 3) ``uint8``.
        """
        if self._past.maxlen == 0:
            return fused
        mean = sum(source.astype(np.float32) for source in sources) / len(sources)
        if fused.shape[2] < mean.shape[2]:
            mean = (mean @ _GREY)[..., None]
        greys = [_grey(source) for source in sources]
        now = _Seen(greys, [_noise(grey) for grey in greys], fused - mean)
        if self._past and self._past[0].residual.shape != now.residual.shape:
            self._past.clear()
        total, weight = now.residual.copy(), np.ones((*fused.shape[:2], 1), np.float32)
        for past in self._past:
            gate = _gate(now, past)[..., None]
            total += gate * past.residual
            weight += gate
        self._past.append(now)
        return np.clip(np.rint(mean + total / weight), 0, 255).astype(np.uint8)


def _gate(now: _Seen, past: _Seen) -> np.ndarray:
    """(H, W) in [0, 1]: 1 where no source has changed by more than noise, 0 where one clearly has."""
    change = np.zeros(now.greys[0].shape, np.float32)
    for grey, before, noise in zip(now.greys, past.greys, now.noise):
        difference = grey - before
        # Motion is not taken for noise: it cannot be more than two frames of what one frame shows.
        level = max(_LEAST, min(noise * 2**0.5, float(np.median(np.abs(difference))) / 0.6745))
        energy = cv2.boxFilter(difference * difference, -1, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT)
        change = np.maximum(change, energy / level**2)
    step = np.clip((_CLOSED - change) / (_CLOSED - _OPEN), 0, 1)
    return step * step * (3 - 2 * step)


def _grey(pixels: np.ndarray) -> np.ndarray:
    values = pixels.astype(np.float32)
    return values[..., 0] if pixels.shape[2] == 1 else values @ _GREY


def _noise(grey: np.ndarray) -> float:
    """Standard deviation of the noise of one frame, in grey levels.

    From the response to a Laplacian that ignores edges and ramps (Immerkaer, CVIU 64(2), 1996), by its median, which
    texture raises less than its mean.
    """
    return float(np.median(np.abs(cv2.filter2D(grey, -1, _LAPLACIAN)))) / (6 * 0.6745)
