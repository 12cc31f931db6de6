"""Two sources and their fused image, with intermediate results shared by the metrics.

A metric is a function of one `Triple`. Intermediate results that several metrics need (joint histograms, local moments,
Sobel gradients, half-size images) are functions marked `@shared`, which run once per triple and argument list.
Images are named by one letter: "a" and "b" (sources), "f" (fused), "t" (ground truth, optional).
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

from utils.errors import UserError

LABELS = {"a": "source A", "b": "source B", "f": "fused image", "t": "ground truth"}

P = ParamSpec("P")
T = TypeVar("T")


class Triple:
    """Sources, fused image and cached intermediate results.

    Args:
        a, b, f: (H, W), one channel, equal shapes, grey levels 0..255 (or numbers derived from them).
        t: ground truth of the same shape, or None.
    """

    def __init__(self, a: np.ndarray, b: np.ndarray, f: np.ndarray, t: np.ndarray | None = None):
        given = {"a": a, "b": b, "f": f, "t": t}
        self.images = {k: np.ascontiguousarray(v, dtype=np.float64) for k, v in given.items() if v is not None}
        self.kept: dict[tuple, object] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.images["f"].shape

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.images["f"].size

    def __getitem__(self, which: str) -> np.ndarray:
        """(H, W) float64 pixels of one image."""
        return self.images[which]

    def levels(self, which: str) -> np.ndarray:
        """(H, W) uint8 grey levels of one image; only for triples of integers in 0..255."""
        return self.images[which].astype(np.uint8)

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Triple":
        """Triple of the same images after ``change``."""
        return Triple(**{k: change(v) for k, v in self.images.items()})

    def forget(self) -> None:
        """Drop the intermediate results, which include many arrays of the image's size."""
        self.kept.clear()


def shared(function: Callable[P, T]) -> Callable[P, T]:
    """Run ``function(triple, *args)`` once per triple and argument list, and cache its result in the triple."""

    @wraps(function)
    def once(triple: Triple, *args):
        key = (function, *args)
        if key not in triple.kept:
            triple.kept[key] = function(triple, *args)
        return triple.kept[key]

    return once


def round_half_up(values: np.ndarray) -> np.ndarray:
    """Nearest integers, halves upwards (the toolboxes' rounding of non-negative numbers)."""
    floor = np.floor(values)
    return floor + (values - floor >= 0.5)


def stretch_table(divide_first: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The toolboxes' stretch to 0..255, as a function of images with integer levels.

    rnd((X - min) / (max - min) * 255) in this order, which matters for ties. An all-zero image is unchanged; a constant
    non-zero image becomes NaN (0/0).

    Args:
        divide_first: first divide the 8-bit image by 255, as MEFB does for Q_CB.
    """

    def stretch(image: np.ndarray) -> np.ndarray:
        low, high = image.min(), image.max()
        if low == high:
            return image if high == 0 else np.full_like(image, np.nan)
        levels = np.arange(256) / 255 if divide_first else np.arange(256.0)
        low, high = levels[int(low)], levels[int(high)]
        table = round_half_up((levels - low) / (high - low) * 255)
        return table[image.astype(np.uint8)]

    return stretch


@shared
def stretched(triple: Triple, divide_first: bool = False) -> Triple:
    """The triple with each image stretched to 0..255 separately."""
    return triple.map(stretch_table(divide_first))


def is_constant(triple: Triple, which: str) -> bool:
    """Whether one image has a single grey level."""
    return bool(triple[which].min() == triple[which].max())


def check_image(image: object, which: str) -> np.ndarray:
    """Check an 8-bit picture and return it unchanged.

    Raises:
        UserError: not an array, empty, NaN or infinite, not uint8, or not (H, W[, 1 or 3]).
    """
    label = LABELS[which]
    if not isinstance(image, np.ndarray):
        raise UserError(f"metrics: {label} is a {type(image).__name__}; give a NumPy array, uint8, (H, W[, 3])")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise UserError(f"metrics: {label} has shape {image.shape}; give (H, W), (H, W, 1) or (H, W, 3) in RGB order")
    if image.size == 0:
        raise UserError(f"metrics: {label} is empty, shape {image.shape}; give a picture with pixels")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise UserError(f"metrics: {label} holds NaN or infinite pixels; mend them, then round to uint8 0..255")
    if image.dtype != np.uint8:
        raise UserError(
            f"metrics: {label} is {image.dtype}; metrics are defined on 8-bit pictures, give uint8 0..255 "
            "([0, 1] floats: times 255 and round; 16 bit: divide by 257 and round)"
        )
    return image
