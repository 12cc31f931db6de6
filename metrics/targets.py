"""Metrics for warm targets in infrared fusion: TCK and TCV. Image A is the infrared picture.

A target is a connected region (four neighbours) of A brighter than max(0.55, its 97 % quantile) of the range, of at
least 25 pixels, whose mean exceeds that of its ring by at least 0.15. The ring consists of the pixels added by six
dilations of the region, except those within two dilations of any bright pixel; it needs at least 10 pixels. The
contrast of a target in a picture is its mean minus that of its ring.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import ndimage

from .triple import Triple, shared

BRIGHT = 0.55
QUANTILE = 0.97
LEAST_PIXELS = 25
LEAST_RING = 10
LEAST_CONTRAST = 0.15
RING_STEPS = 6
GUARD_STEPS = 2


def find_targets(infrared: np.ndarray) -> Iterator[tuple[tuple[slice, slice], np.ndarray, np.ndarray]]:
    """The warm targets of a picture.

    Args:
        infrared: (H, W) float, in [0, 1].

    Yields:
        A window of the picture, and inside it the target and its ring as boolean masks.
    """
    bright = infrared > max(BRIGHT, float(np.quantile(infrared, QUANTILE)))
    labels, _ = ndimage.label(bright)
    guarded = ndimage.binary_dilation(bright, iterations=GUARD_STEPS)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        window = tuple(slice(max(0, side.start - RING_STEPS), side.stop + RING_STEPS) for side in box)
        target = labels[window] == number
        if target.sum() < LEAST_PIXELS:
            continue
        ring = ndimage.binary_dilation(target, iterations=RING_STEPS) & ~guarded[window]
        if ring.sum() >= LEAST_RING and _contrast(infrared, window, target, ring) >= LEAST_CONTRAST:
            yield window, target, ring


def _contrast(image: np.ndarray, window: tuple[slice, slice], target: np.ndarray, ring: np.ndarray) -> float:
    inside = image[window]
    return float(inside[target].mean() - inside[ring].mean())


@shared
def target_contrasts(triple: Triple) -> np.ndarray:
    """Contrast of every target in A, B and F: (targets, 3), in [-1, 1]."""
    images = [triple[which] / 255 for which in ("a", "b", "f")]
    rows = [[_contrast(image, *target) for image in images] for target in find_targets(images[0])]
    return np.array(rows).reshape(-1, 3)


def _mean_share(triple: Triple, share: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
                low: float) -> float:
    contrasts = target_contrasts(triple)
    return float(np.clip(share(*contrasts.T), low, 1.2).mean()) if len(contrasts) else np.nan


def tck(triple: Triple) -> float:
    """TCK: share of the infrared contrast of warm targets that the fused picture keeps, sign included."""
    return _mean_share(triple, lambda a, _, f: f / a, -1)


def tcv(triple: Triple) -> float:
    """TCV: visibility of warm targets, of either polarity, relative to the source that shows each best."""
    return _mean_share(triple, lambda a, b, f: np.abs(f) / np.maximum(np.abs(a), np.abs(b)), 0)
