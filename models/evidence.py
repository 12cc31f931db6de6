"""What a band cannot see by itself: which picture has the stronger edges, and which is sharper over a whole region.

A band's own energy says little where the band is empty (a flat wall, sharp in one picture only) and nothing about
the other bands of an edge. Two more measures look across bands and further around; `models/highres.py` lets the
network say how far each of them is to be trusted.

- edges: mean size of the grey gradient in 3 x 3 pixels of the full resolution, all scales of the picture included;
- region: mean energy of the three finest bands in 15 x 15 pixels of the half resolution, 30 of the picture.

Shape letters: B pairs, l level of the pyramid (0 the finest).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models import pyramid

KINDS = 2  # edges, region
EDGE_WINDOW = 3
REGION_WINDOW = 15
REGION_BANDS = 3


def gather_evidence(bands: Sequence[Tensor], grey: Tensor, levels: int) -> list[Tensor]:
    """Logarithms of both measures at every level.

    Args:
        bands: of the two pictures' pyramids, finest first, (2, B, C, h, w).
        grey: of the two pictures, (2, B, 1, H, W) in [0, 1].
        levels: bands L of the pyramid.

    Returns:
        L + 1 tensors (2, B, KINDS, h, w), for the bands and the base.
    """
    edges = pyramid.gaussian_pyramid(_edge_energy(grey.flatten(0, 1)).log(), levels)
    region = _region_energy([band.flatten(0, 1) for band in bands[:REGION_BANDS]]).log()
    regions = [pyramid.enlarge(region, grey.shape[-2:]), *pyramid.gaussian_pyramid(region, levels - 1)]
    return [torch.cat(both, dim=1).unflatten(0, grey.shape[:2]) for both in zip(edges, regions)]


def _edge_energy(grey: Tensor) -> Tensor:
    """(B, 1, H, W) -> the same, at least the pyramid's floor."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return pyramid.box_mean((dx.square() + dy.square()).sqrt(), EDGE_WINDOW) + pyramid.FLOOR


def _region_energy(bands: list[Tensor]) -> Tensor:
    """Bands (B, C, h, w), finest first -> (B, 1, h, w) in half resolution."""
    sizes = [band.abs().mean(dim=1, keepdim=True) for band in bands]
    half = sizes[1].shape[-2:]
    total = F.avg_pool2d(sizes[0], 2, ceil_mode=True) + sum(pyramid.enlarge(size, half) for size in sizes[1:])
    return pyramid.box_mean(total, REGION_WINDOW) + pyramid.FLOOR
