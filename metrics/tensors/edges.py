"""Qabf of batches: the share of the sources' edges that the fused image keeps."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metrics.edges import HALF_PI

from .windows import ratio, root, slide, total

SLOPE, SMOOTH = np.array([-1.0, 0, 1]), np.array([1.0, 2, 1])
SURE = 1.0  # edges weaker than a grey level turn by rounding alone: their direction gives no gradient
EQUAL = 255.0  # VIFB: equal strengths count as 255 times the strength (metrics/edges.py)


def qabf(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Qabf (Xydeas-Petrović, as in VIFB); NaN if both sources are all zero.

    Args:
        a, b, f: (B, 1, H, W), 0..255.

    Returns:
        (B,), 0 to 0.987.
    """
    fused = _edges(f)
    kept, weights = 0.0, 0.0
    for source in (_edges(a), _edges(b)):
        kept = kept + total(_transfer(source, fused) * source[0])
        weights = weights + total(source[0])
    return ratio(kept, weights)


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Edge strength and direction, zeros outside."""
    padded = F.pad(x, (1, 1, 1, 1))
    across, down = slide(padded, SLOPE, SMOOTH), slide(padded, SMOOTH, SLOPE)  # Sobel
    strength = root(across.square() + down.square())
    angle = -torch.atan(ratio(down, across, across != 0, otherwise=-math.inf))
    return strength, torch.where(strength >= SURE, angle, angle.detach())


def _transfer(source: tuple[Tensor, Tensor], fused: tuple[Tensor, Tensor]) -> Tensor:
    """Share of the source's edge that the fused image keeps, at every pixel."""
    (strength, angle), (other, other_angle) = source, fused
    share = ratio(torch.minimum(strength, other), torch.maximum(strength, other), otherwise=0.0)
    share = torch.where(strength == other, other * EQUAL, share)
    turn = 1 - (angle - other_angle).abs() / HALF_PI
    return 0.9994 * 0.9879 * torch.sigmoid(15 * (share - 0.5)) * torch.sigmoid(22 * (turn - 0.8))
