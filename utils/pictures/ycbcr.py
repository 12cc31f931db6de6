"""Full-range BT.601 YCbCr as in JPEG, used to fuse infrared and visible pictures; for NumPy and PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from utils.arrays import library_of
from utils.pictures.colour import LUMA, luma

if TYPE_CHECKING:
    from utils.arrays import Array

_CB, _CR = 2 * (1 - LUMA[2]), 2 * (1 - LUMA[0])  # 1.772 and 1.402


def rgb_to_ycbcr(rgb: Array) -> Array:
    """(..., 3, H, W) RGB in [0, 1] to Y, Cb, Cr; chroma is centred on 0.5."""
    y = luma(rgb)
    red, _, blue = _planes(rgb)
    return library_of(rgb).concat((y, (blue - y) / _CB + 0.5, (red - y) / _CR + 0.5), -3)


def ycbcr_to_rgb(ycbcr: Array) -> Array:
    """Exact inverse of :func:`rgb_to_ycbcr`; values are not clipped."""
    y, cb, cr = _planes(ycbcr)
    red = y + _CR * (cr - 0.5)
    blue = y + _CB * (cb - 0.5)
    green = (y - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    return library_of(ycbcr).concat((red, green, blue), -3)


def _planes(picture: Array) -> tuple[Array, Array, Array]:
    """The three channels of (..., 3, H, W), each (..., 1, H, W)."""
    return picture[..., 0:1, :, :], picture[..., 1:2, :, :], picture[..., 2:3, :, :]
