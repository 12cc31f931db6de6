"""Depth from a focus series: the index of the sharpest picture at each pixel."""

from collections.abc import Sequence

import cv2
import numpy as np

from utils.errors import UserError
from utils.pictures.picture import Picture

# Of the windows tried on scikit-image's motorcycle (5 and 9 settings, with and without noise), these match its
# disparity best. The weights of the fusion head match it as well without noise, and worse with it.
_DETAIL, _AROUND, _SMOOTHING = 7, 7, 15  # pixels
_MOST = 256  # indices of pictures are smoothed as 8 bits


def depth_map(pictures: Sequence[Picture]) -> np.ndarray:
    """The index of the sharpest picture at each pixel as a grey value.

    Args:
        pictures: a focus series of two or more pictures of equal size, in the order of their focus.

    Returns:
        (H, W) uint16: 0 is the first picture, 65535 the last, the others evenly spaced.

    Raises:
        UserError: more than 256 pictures.
    """
    steps = np.round(np.linspace(0, 65535, len(pictures))).astype(np.uint16)
    return steps[sharpest(pictures)]


def sharpest(pictures: Sequence[Picture]) -> np.ndarray:
    """The index of the sharpest picture at each pixel, smoothed by a median filter.

    Sharpness is |grey - its mean over 7 x 7 pixels|, averaged over 7 x 7 pixels; ties go to the first picture.

    Args:
        pictures: two or more of equal size.

    Returns:
        (H, W) uint8.

    Raises:
        UserError: more than 256 pictures.
    """
    if len(pictures) > _MOST:
        raise UserError(f"{len(pictures)} pictures; --depth and --prefer; they take {_MOST} or fewer")
    best, winner = _sharpness(pictures[0]), np.zeros(pictures[0].pixels.shape[:2], np.uint8)
    for number, picture in enumerate(pictures[1:], 1):
        sharpness = _sharpness(picture)
        winner[sharpness > best] = number
        best = np.maximum(best, sharpness)
    return cv2.medianBlur(winner, _SMOOTHING)


def _sharpness(picture: Picture) -> np.ndarray:
    """Sharpness of a picture, (H, W) float32."""
    pixels = picture.pixels.astype(np.float32)
    grey = pixels[..., 0] if picture.is_grey else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    detail = np.abs(grey - cv2.blur(grey, (_DETAIL, _DETAIL)))
    return cv2.blur(detail, (_AROUND, _AROUND))
