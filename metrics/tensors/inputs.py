"""Pictures as tensors of grey levels, checked."""

import torch
from torch import Tensor

from metrics.triple import LABELS
from utils.errors import UserError
from utils.pictures.colour import TOOLBOX_LUMA, luma

PEAK = 255.0


def precision(device: torch.device) -> torch.dtype:
    """The type of all sums: float64, or float32 on devices that lack it (MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64


def grey_batch(picture: object, which: str) -> Tensor:
    """Grey levels of a batch, with its gradient.

    Products of 8-bit float pictures with 255 are whole numbers but for rounding. They are made whole, so that
    constant pictures and equal edges are found as in the 8-bit pictures.

    Args:
        picture: (B, 1, H, W) or (B, 3, H, W), floating-point in [0, 1], or uint8.
        which: "a", "b" or "f", for messages.

    Returns:
        (B, 1, H, W), 0..255; uint8 colour is rounded to whole levels.

    Raises:
        UserError: another type or shape, or no pixels.
    """
    if not isinstance(picture, Tensor) or not (picture.is_floating_point() or picture.dtype == torch.uint8):
        told = str(picture.dtype) if isinstance(picture, Tensor) else type(picture).__name__
        raise UserError(f"metrics: {LABELS[which]} is {told}; give a tensor, floats in [0, 1] or uint8")
    if picture.ndim != 4 or picture.shape[1] not in (1, 3) or not picture.numel():
        raise UserError(f"metrics: {LABELS[which]} has shape {tuple(picture.shape)}; give (B, 1, H, W) or "
                        "(B, 3, H, W) with pixels")
    levels = picture.to(precision(picture.device))
    if picture.dtype != torch.uint8:
        levels = _snapped(levels * PEAK, picture.dtype)
    if levels.shape[1] == 3:
        levels = luma(levels, TOOLBOX_LUMA)
        levels = whole(levels) if picture.dtype == torch.uint8 else levels
    return levels


def whole(levels: Tensor) -> Tensor:
    """Nearest whole levels in 0..255, halves upwards."""
    return (levels + 0.5).floor().clamp(0, PEAK)


def _snapped(levels: Tensor, stored: torch.dtype) -> Tensor:
    """Levels with those that are whole but for the rounding of ``stored`` made whole; the gradient is kept."""
    near = levels.detach().round()
    away = near - levels.detach()
    return levels + torch.where(away.abs() <= PEAK * torch.finfo(stored).eps, away, 0)


def check_range(picture: Tensor, which: str) -> None:
    """Check that floats lie in [0, 1]. Waits for the device.

    Raises:
        UserError: they do not, or are NaN.
    """
    if picture.is_floating_point():
        low, high = (float(bound) for bound in torch.aminmax(picture.detach()))
        if not (low >= -1e-4 and high <= 1 + 1e-4):
            raise UserError(f"metrics: {LABELS[which]} has values in [{low:.4g}, {high:.4g}]; give floats in [0, 1] "
                            "or uint8")


def check_sizes(a: Tensor, b: Tensor, f: Tensor) -> None:
    """Check that a batch's pictures have one size and device.

    Raises:
        UserError: they differ.
    """
    for which, picture in (("a", a), ("b", b)):
        mine, wanted = ((x.shape[0], *x.shape[2:]) for x in (picture, f))
        if mine != wanted:
            raise UserError(f"metrics: {LABELS[which]} is {tuple(picture.shape)}, the fused image {tuple(f.shape)}; "
                            "resize or register them first")
        if picture.device != f.device:
            raise UserError(f"metrics: {LABELS[which]} is on {picture.device}, the fused image on {f.device}; "
                            "move them to one device")
