"""Random objects (ellipses, blobs and figures), and regions that follow the edges of a picture.

Batched, without loops over samples; all random numbers come from the generator. Shape letters: B samples, K objects
per sample, S side in pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from data.regions import uniform

_LOBES = 3
_FOLLOW_RADIUS = 4
_FOLLOW_CONTRAST = 1e-3  # variance above which an edge of the picture stops a region


def object_masks(batch: int, things: int, size: int, generator: torch.Generator, *,
                 height: tuple[float, float] = (0.08, 0.45),
                 border: tuple[float, float] = (0.5, 1.5)) -> Tensor:
    """Soft masks of objects: ellipses, blobs and upright figures, a third each.

    Args:
        things: K, objects per sample.
        height: smallest and largest extent, as a share of S.
        border: range of the width of the soft outline in pixels.

    Returns:
        (B, K, S, S) in [0, 1].
    """
    shape = (batch, things, 1, 1)
    steps = (torch.arange(size, device=generator.device) + 0.5) / size
    dx = steps.view(1, 1, 1, -1) - uniform(shape, 0.08, 0.92, generator)
    dy = steps.view(1, 1, -1, 1) - uniform(shape, 0.08, 0.92, generator)
    kind = uniform(shape, 0, 3, generator).floor()
    turn = torch.where(kind == 2, uniform(shape, -0.2, 0.2, generator), uniform(shape, 0, math.pi, generator))
    half = uniform(shape, *height, generator) / 2
    cos, sin = turn.cos(), turn.sin()
    u, v = (cos * dx + sin * dy) / half, (cos * dy - sin * dx) / half  # the object lies in |v| <= 1
    distance = torch.where(kind == 2, _figure(u, v, generator), _blob(u, v, kind == 1, generator))
    width = uniform(shape, *border, generator)
    return torch.sigmoid(-distance * half * size / width * 2)


def _blob(u: Tensor, v: Tensor, lobed: Tensor, generator: torch.Generator) -> Tensor:
    """Approximate signed distance from an ellipse, with random lobes where ``lobed``; in units of its height."""
    shape = lobed.shape
    flat = uniform(shape, 0.35, 1.0, generator)
    radius = ((u / flat).square() + v.square()).sqrt()
    angle = torch.atan2(v, u / flat)
    outline = torch.ones_like(radius)
    for lobe in range(1, _LOBES + 1):
        phase = uniform(shape, 0, 2 * math.pi, generator)
        outline = outline + uniform(shape, 0, 0.35 / lobe, generator) * lobed * torch.cos((lobe + 1) * angle + phase)
    return (radius - 0.8 * outline) * flat.sqrt()


def _figure(u: Tensor, v: Tensor, generator: torch.Generator) -> Tensor:
    """Approximate signed distance from a standing or walking figure (head, trunk, two legs); in half heights."""
    shape = (*u.shape[:2], 1, 1)
    stride, lean = uniform(shape, 0.05, 0.35, generator), uniform(shape, -0.1, 0.1, generator)
    stout = uniform(shape, 0.8, 1.25, generator)
    head = ((u - lean).square() + (v + 0.82).square()).sqrt() - 0.16
    trunk = (((u - lean / 2) / (0.27 * stout)).square() + ((v + 0.22) / 0.46).square()).sqrt()
    parts = [head, (trunk - 1) * 0.27]
    for side in (-1, 1):
        hip, foot = side * 0.1 * stout, side * stride
        along = ((v - 0.1) / 0.88).clamp(0, 1)
        near = hip + (foot - hip) * along
        beyond = v - (0.1 + 0.88 * along)
        parts.append(((u - near).square() + beyond.square()).sqrt() - 0.11 * stout)
    return torch.stack(parts).amin(dim=0)


def follow_edges(region: Tensor, g: Tensor) -> Tensor:
    """Move the border of a region to nearby edges of a picture, by a guided filter and a steeper step.

    Source: He, Sun, Tang, Guided Image Filtering, TPAMI 2013.

    Args:
        region: (B, 1, S, S) in [0, 1].
        g: grey picture, (B, 1, S, S) in [0, 1].

    Returns:
        (B, 1, S, S) in [0, 1].
    """
    for _ in range(2):  # the first pass moves the border part of the way
        mean_g, mean_r = _mean(g), _mean(region)
        slope = (_mean(g * region) - mean_g * mean_r) / ((_mean(g * g) - mean_g.square()).clamp(min=0)
                                                        + _FOLLOW_CONTRAST)
        region = _mean(slope) * g + _mean(mean_r - slope * mean_g)
        region = torch.sigmoid(12 * (region - 0.5))
    return (1.01 * region - 0.005).clamp(0, 1)


def _mean(x: Tensor) -> Tensor:
    """Mean over the part of a square around each pixel that lies inside the picture."""
    return F.avg_pool2d(x, 2 * _FOLLOW_RADIUS + 1, stride=1, padding=_FOLLOW_RADIUS, count_include_pad=False)
