"""Full-range BT.601 YCbCr as in JPEG, used to fuse infrared and visible pictures."""

import torch
from torch import Tensor

from utils.pictures.colour import LUMA, luma

_CB, _CR = 2 * (1 - LUMA[2]), 2 * (1 - LUMA[0])  # 1.772 and 1.402


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) RGB in [0, 1] to Y, Cb, Cr; chroma is centred on 0.5."""
    y = luma(rgb)
    red, _, blue = rgb.split(1, dim=-3)
    return torch.cat((y, (blue - y) / _CB + 0.5, (red - y) / _CR + 0.5), dim=-3)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Exact inverse of :func:`rgb_to_ycbcr`; values are not clipped."""
    y, cb, cr = ycbcr.split(1, dim=-3)
    red = y + _CR * (cr - 0.5)
    blue = y + _CB * (cb - 0.5)
    green = (y - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    return torch.cat((red, green, blue), dim=-3)
