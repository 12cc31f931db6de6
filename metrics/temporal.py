"""Metrics of fused videos: flicker, and BiSWE and MS2R of VF-Bench (Zhao et al., NeurIPS 2025, arXiv 2505.19858).

BiSWE and MS2R follow the authors' evaluation program, with another optical flow: OpenCV's DIS instead of the network
SEA-RAFT (docs/METRICS.md). All three compare methods on the same videos; lower is steadier.

    scores = TemporalScores()
    for a, b, fused in frames:
        scores.add(a, b, fused)
    scores.result()                     # {"flicker": 0.75, "BiSWE": 3.1, "MS2R": 0.02}
"""

from dataclasses import dataclass

import cv2
import numpy as np

from utils.errors import UserError
from utils.pictures.colour import grey_levels

NAMES = ("flicker", "BiSWE", "MS2R")
_CONSISTENT = 1.0  # pixels, up to which forward and backward flow must cancel
_SMALLEST_SIDE = 16  # pixels; DIS needs that much


@dataclass(frozen=True)
class _Step:
    """What lies between two consecutive frames.

    Attributes:
        flows: (H, W, 2) from the earlier to the later frame of A, B and F, in pixels.
        forward, backward: warping error of the earlier and of the later fused frame; NaN if nothing is consistent.
    """

    flows: list[np.ndarray]
    forward: float
    backward: float


class TemporalScores:
    """Scores one video; frames are given in order, and only the last one is kept."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._frames: list[np.ndarray] | None = None
        self._step: _Step | None = None
        self._changes = np.zeros(3)  # sums of |frame - frame before| of A, B and F
        self._errors: list[float] = []
        self._roughness: list[float] = []

    def add(self, a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> None:
        """Take in the next frame.

        Args:
            a, b, fused: sources and fused frame, (H, W), (H, W, 1) or (H, W, 3) ``uint8`` of one size.

        Raises:
            UserError: another type, or sizes differ from each other or from the frame before.
        """
        frames = [np.asarray(one) for one in (a, b, fused)]
        sizes = {one.shape[:2] for one in [*frames, *(self._frames or [])]}
        if len(sizes) > 1 or any(one.dtype != np.uint8 for one in frames) or min(min(sizes)) < _SMALLEST_SIDE:
            raise UserError(f"temporal metrics: frames of {' and '.join(map(str, sorted(sizes)))} rows and columns, "
                            f"{', '.join(sorted({str(one.dtype) for one in frames}))}; give uint8 frames of one size "
                            f"from {_SMALLEST_SIDE} x {_SMALLEST_SIDE}")
        if self._frames is not None:
            self._compare(self._frames, frames)
        self._frames = frames

    def result(self) -> dict[str, float]:
        """The means by name; NaN where too few frames were given or nothing could be compared."""
        sources = self._changes[:2].mean()
        return {"flicker": float(self._changes[2] / sources) if sources else np.nan,
                "BiSWE": _mean(self._errors), "MS2R": _mean(self._roughness)}

    def _compare(self, before: list[np.ndarray], now: list[np.ndarray]) -> None:
        greys = [[grey_levels(frame) for frame in frames] for frames in (before, now)]
        self._changes += [np.abs(later.astype(np.float64) - earlier).mean() for earlier, later in zip(*greys)]
        forth = [self._flow.calc(earlier, later, None) for earlier, later in zip(*greys)]
        back = [self._flow.calc(later, earlier, None) for earlier, later in zip(*greys)]
        step = _Step(forth, _error(before[2], now[2], forth, back), _error(now[2], before[2], back, forth))
        if self._step is not None:
            # The frame before has neighbours on both sides.
            self._errors.append(self._step.backward + step.forward)
            turns = [later - earlier for earlier, later in zip(self._step.flows, forth)]
            self._roughness.append(float(np.mean([np.abs(turns[2] - turn).mean() for turn in turns[:2]])))
        self._step = step


def _error(target: np.ndarray, other: np.ndarray, there: list[np.ndarray], back: list[np.ndarray]) -> float:
    """Mean of |target - other warped to it| where the flows of both sources are consistent.

    Args:
        target, other: consecutive fused frames, in either order.
        there, back: flows of A, B and F from the target to the other frame, and back.
    """
    sure = np.logical_and(*(np.linalg.norm(go + _warped(come, go), axis=2) < _CONSISTENT
                            for go, come in zip(there[:2], back[:2])))
    difference = np.abs(target.astype(np.float32) - _warped(other.astype(np.float32), there[2]).reshape(target.shape))
    return float(difference[sure].mean()) if sure.any() else np.nan


def _warped(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The picture sampled at x + flow(x), bilinear, edges replicated."""
    rows, columns = np.indices(flow.shape[:2], np.float32)
    return cv2.remap(picture, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REPLICATE)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan
