"""Evidence beyond a single band: which picture has stronger edges, and which is sharper over a region.

The energy of a band is not informative where the band is empty (a flat wall, sharp in only one picture), and does not
cover the other bands of an edge. Two further measures combine bands and larger areas; the head (`models/head.py`)
learns how far to trust each of them.

- edges: mean magnitude of the grey gradient over 3 x 3 pixels at full resolution, covering all scales;
- region: mean energy of the three finest bands over 15 x 15 pixels at half resolution (30 x 30 of the picture).

Shape letters: N pictures of one scene, B scenes, l level of the pyramid (0 the finest).
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
        bands: bands of the pictures' pyramids, finest first, (N, B, C, h, w).
        grey: grey of the pictures, (N, B, 1, H, W) in [0, 1].
        levels: bands L of the pyramid.

    Returns:
        L + 1 tensors (N, B, KINDS, h, w), for the bands and the base.
    """
    edges = pyramid.gaussian_pyramid(_edge_energy(grey.flatten(0, 1)).log(), levels)
    region = _region_energy([band.flatten(0, 1) for band in bands[:REGION_BANDS]]).log()
    regions = [pyramid.enlarge(region, grey.shape[-2:]), *pyramid.gaussian_pyramid(region, levels - 1)]
    return [torch.cat(both, dim=1).unflatten(0, grey.shape[:2]) for both in zip(edges, regions)]


def _edge_energy(grey: Tensor) -> Tensor:
    """Edge measure, (B, 1, H, W) -> (B, 1, H, W), at least the pyramid's floor."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return pyramid.box_mean((dx.square() + dy.square()).sqrt(), EDGE_WINDOW) + pyramid.FLOOR


def _region_energy(bands: list[Tensor]) -> Tensor:
    """Region measure, bands (B, C, h, w), finest first -> (B, 1, h, w) at half resolution."""
    sizes = [band.abs().mean(dim=1, keepdim=True) for band in bands]
    half = sizes[1].shape[-2:]
    total = F.avg_pool2d(sizes[0], 2, ceil_mode=True) + sum(pyramid.enlarge(size, half) for size in sizes[1:])
    return pyramid.box_mean(total, REGION_WINDOW) + pyramid.FLOOR
