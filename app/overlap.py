"""Which side of a focus series wins where a blurred front spreads over the background.

Around the outline of a near object no picture is right: focused on the object, its surroundings are blurred; focused
behind it, the object is a veil over them. A user may want one of the two throughout.
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from app.depth import sharpest
from utils.pictures.picture import Picture

Side = Literal["near", "far"]

BAND = 0.025
"""Reach of the winning side to both sides of the border between sharp regions, as a share of the short side."""
_SMALLEST_BAND = 3
_SOFT = 1.0  # standard deviation of the band's border in pixels


def winning_maps(pictures: Sequence[Picture], side: Side) -> np.ndarray:
    """Where each picture must win, for the argument ``prefer`` of ``Fuser``.

    Each place belongs to its sharpest picture (`app/depth.py`). Within the band around a border between two pictures,
    the nearest (or farthest) takes over if the two are at least half of the series apart, since a smaller step is a
    slope rather than an outline. With two pictures that is every step.

    Args:
        pictures: a focus series from near to far, of equal size.
        side: the side that wins.

    Returns:
        (N, H, W) float32 in [0, 1], 0 where nothing changes.
    """
    owner = sharpest(pictures)
    reach = max(_SMALLEST_BAND, round(BAND * min(owner.shape)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    winner = cv2.erode(owner, disk) if side == "near" else cv2.dilate(owner, disk)
    taken = 2 * np.abs(winner.astype(int) - owner) >= len(pictures) - 1
    maps = []
    for number in range(len(pictures)):
        mine = winner == number
        band = cv2.dilate((taken & mine).astype(np.float32), disk) * mine  # also on its own side of the border
        maps.append(cv2.GaussianBlur(band, (0, 0), _SOFT))
    return np.stack(maps)
