"""Grey values of colour pictures, one definition each; NumPy and PyTorch alike.

Two standards meet here. Pictures are fused and trained by BT.601 as JPEG has it (``LUMA``); the metrics take the
toolboxes' grey (``rgb2gray`` of MATLAB, ``TOOLBOX_LUMA``), whose published numbers they reproduce; torchvision's
grey (``TORCHVISION_LUMA``) is what the published damage of training pairs uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:  # the processes that score do without PyTorch
    from torch import Tensor

    Planes = TypeVar("Planes", np.ndarray, Tensor)

LUMA = (0.299, 0.587, 0.114)
TORCHVISION_LUMA = (0.2989, 0.587, 0.114)
TOOLBOX_LUMA = (0.298936021293775, 0.587043074451121, 0.114020904255103)


def luma(rgb: Planes, weights: tuple[float, float, float] = LUMA) -> Planes:
    """Weighted sum of red, green and blue: (...,3,H,W) in [0,1] to (...,1,H,W) in [0,1].

    Raises:
        ValueError: not three channels.
    """
    if rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise ValueError(f"three channels are needed, (...,3,H,W), not {tuple(rgb.shape)}")
    red, green, blue = (rgb[..., channel:channel + 1, :, :] for channel in range(3))
    return weights[0] * red + weights[1] * green + weights[2] * blue


def grey_levels(pixels: np.ndarray) -> np.ndarray:
    """Grey levels of an 8-bit picture as the metrics' toolboxes have them.

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
    """(H,W,3) whose channels are equal as (H,W,1); any other picture as it is.

    Infrared is often stored as RGB (LLVIP, M3FD): three equal channels are grey everywhere in this project.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        return pixels
    first = pixels[..., :1]
    # Most colour pictures differ in their first row already; only the others are compared as a whole.
    if not (pixels[:1, :, 1:] == first[:1]).all() or not (pixels[..., 1:] == first).all():
        return pixels
    return np.ascontiguousarray(first)
