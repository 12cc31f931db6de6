"""Preferred pictures: places of the result that the user gives to one source, whatever the model decided.

The fused picture F and the pictures x_i are blended by the maps m_i in [0, 1],

    result = (1 - sum of m_i) F + sum of m_i x_i,

after the model, so that every model can be corrected in the same way. Where maps add up to more than 1 they are
divided by their sum. Smooth maps give smooth borders. (Ours: not part of the published method.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.colour import as_grey, as_rgb
from utils.arrays import as_float32
from utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from utils.arrays import Array


def read_maps(given: np.ndarray | Tensor, count: int, size: Sequence[int]) -> np.ndarray | Tensor:
    """Check the user's maps, and divide them by their sum where it exceeds 1.

    Args:
        given: (N, H, W), numbers in [0, 1].
        count: number of pictures N.
        size: (H, W) of the fused picture.

    Returns:
        (N, H, W) float32, summing to at most 1 over N.

    Raises:
        UserError: another shape, or values that are not in [0, 1].
    """
    wanted = (count, *size)
    if tuple(given.shape) != wanted:
        raise UserError(f"fuse: prefer has the shape {tuple(given.shape)}; give one map for each picture, {wanted}")
    maps = as_float32(given)
    low, high = float(maps.min()), float(maps.max())  # both are NaN if any value is
    if not (low >= 0 and high <= 1):
        raise UserError(f"fuse: prefer holds values from {low:.4g} to {high:.4g}; give numbers in [0, 1]")
    return maps / maps.sum(0).clip(1, None)


def follow_preferred(fused: Array, pictures: Sequence[Array], maps: Array) -> Array:
    """Blend a fused picture with the pictures that must win.

    Args:
        fused: (C, H, W) in [0, 1], C is 1 or 3.
        pictures: N pictures (1 or 3, H, W) in [0, 1]; a colour picture enters a grey result with its luma.
        maps: (N, H, W), from :func:`read_maps`.
    """
    result = fused * (1 - maps.sum(0))
    for picture, map_ in zip(pictures, maps):
        result = result + map_ * (as_rgb(picture) if len(fused) == 3 else as_grey(picture))
    return result.clip(0, 1)
