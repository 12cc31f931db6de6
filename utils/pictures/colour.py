"""Grey values of colour pictures, for NumPy and PyTorch.

Three definitions are in use. Fusion and training use BT.601 as in JPEG (``LUMA``). The metrics use the grey of the
toolboxes whose published numbers they reproduce (MATLAB's ``rgb2gray``, ``TOOLBOX_LUMA``). The published damage of
training pairs uses torchvision's grey (``TORCHVISION_LUMA``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:  # scoring processes do not load PyTorch
    from torch import Tensor

    Planes = TypeVar("Planes", np.ndarray, Tensor)

LUMA = (0.299, 0.587, 0.114)
TORCHVISION_LUMA = (0.2989, 0.587, 0.114)
TOOLBOX_LUMA = (0.298936021293775, 0.587043074451121, 0.114020904255103)


def luma(rgb: Planes, weights: tuple[float, float, float] = LUMA) -> Planes:
    """Weighted sum of red, green and blue: (..., 3, H, W) in [0, 1] to (..., 1, H, W) in [0, 1].

    Raises:
        ValueError: not three channels.
    """
    if rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise ValueError(f"three channels are needed, (...,3,H,W), not {tuple(rgb.shape)}")
    red, green, blue = (rgb[..., channel:channel + 1, :, :] for channel in range(3))
    return weights[0] * red + weights[1] * green + weights[2] * blue


def grey_levels(pixels: np.ndarray) -> np.ndarray:
    """Grey levels of an 8-bit picture as the metric toolboxes compute them.

    Args:
        pixels: (H, W), (H, W, 1) or (H, W, 3) ``uint8``, RGB order.

    Returns:
        (H, W) ``uint8``: 0.2989 R + 0.5870 G + 0.1140 B (BT.601, fifteen digits), rounded half up.
    """
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    red, green, blue = (pixels[:, :, channel] * TOOLBOX_LUMA[channel] for channel in range(3))
    return np.floor(red + green + blue + 0.5).astype(np.uint8)


def without_equal_channels(pixels: np.ndarray) -> np.ndarray:
    """Reduce (H, W, 3) with equal channels to (H, W, 1); return any other picture unchanged.

    Infrared is often stored as RGB (LLVIP, M3FD): three equal channels count as grey throughout this project.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        return pixels
    first = pixels[..., :1]
    # The channels of most colour pictures differ in the first row; only the others are compared completely.
    if not (pixels[:1, :, 1:] == first[:1]).all() or not (pixels[..., 1:] == first).all():
        return pixels
    return np.ascontiguousarray(first)
