"""Brightness of exposures: each place close to a blend of its well-exposed pictures, and shadows that stay visible.

Mixing band by band adds the dark bands of a bright picture to the base of a dark one, which gives values that no
picture shows: black where the bright picture shows what is in the shadow, white veils where the dark one has the
texture. This rule corrects the fused picture at 1/8 of the resolution, before the finest bands are added:

    anchor + limit tanh((fused - anchor) / limit), then at least half of the local blend

The anchor is the blend of the pictures by well-exposedness (Mertens et al. 2007), in pyramids down to 1/256 (Burt and
Adelson 1983); the local blend is the same without pyramids, so that it stays between the pictures at each pixel. The
weights follow the edges of the mean picture (guided filter, He et al. 2013). The order of the pictures does not matter.
(Ours: not part of the published method.)

Shape letters: N pictures of one scene, B scenes.
"""

import torch
from torch import Tensor

from models import pyramid
from models.corrections import mean_of
from models.focus import guided_filter
from utils.pictures.colour import luma

LEVELS = 5  # of the anchor's pyramid
RADIUS, EPSILON = 8, 0.01  # guided filter: pixels at 1/8 of the resolution, variance
LEAST = 1e-4  # weight of a picture, so that the sum is positive
LIMIT = 0.2  # largest distance from the anchor
SHADOW, SOFTNESS = 0.5, 0.02  # share of the local blend that stays, and how far below the transition reaches


def exposure_weights(pictures: Tensor, there: Tensor | None = None) -> Tensor:
    """Weights of well-exposed pictures, smooth between edges; (N, B, 3, h, w) -> (N, B, 1, h, w), summing to 1 over N.

    Args:
        pictures: in [0, 1].
        there: (N, B, 1, 1, 1) bool, which pictures a scene has; None: all.
    """
    grey = luma(pictures)
    logits = pyramid.exposure_logits(grey)
    weights = pyramid.mixing_weights(logits if there is None else logits.masked_fill(~there, -torch.inf))
    guide = mean_of(grey, there).expand_as(grey)
    smooth = guided_filter(guide.flatten(0, 1), weights.flatten(0, 1), RADIUS, EPSILON).view_as(weights)
    smooth = smooth.clamp(min=LEAST) if there is None else smooth.clamp(min=LEAST) * there
    return smooth / smooth.sum(dim=0)


def keep_light(fused: Tensor, pictures: Tensor, there: Tensor | None = None) -> Tensor:
    """Bring the brightness of a fused picture near to that of its well-exposed sources.

    Args:
        fused: (B, 3, h, w).
        pictures: the whole pictures, (N, B, 3, h, w) in [0, 1], at 1/8 of the resolution.
        there: (N, B, 1, 1, 1) bool, which pictures a scene has; None: all.
    """
    weights = exposure_weights(pictures, there)
    anchor = pyramid.blend(pictures, weights, LEVELS)
    fused = anchor + LIMIT * torch.tanh((fused - anchor) / LIMIT)
    missing = (SHADOW * pyramid.mix(pictures, weights) - fused).clamp(min=0)
    return fused + missing - SOFTNESS * torch.tanh(missing / SOFTNESS)
