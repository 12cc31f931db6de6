"""Brightness of exposures: near to a blend of the well-exposed pictures, and shadows that stay visible.

Mixing band by band adds the dark bands of a bright picture to the base of a dark one, which gives values that no
picture shows: black where the bright picture shows what is in the shadow, white veils where the dark one has the
texture. The strongest band of all pictures is also harder than the scene. This rule corrects the fused picture at 1/8
of the resolution,

    anchor + .12 tanh((fused - anchor) / .12), and at least half of the local blend,

and gives the pictures of the finer bands .35 of the weights of those blends. The anchor is the blend of the pictures by
well-exposedness (Mertens et al. 2007), in pyramids down to 1/256 (Burt and Adelson 1983); the local blend is the same
without pyramids, so that it stays between the pictures at each pixel. The weights follow the edges of the mean picture
(guided filter, He et al. 2013). The order of the pictures does not matter. (Ours: not part of the published method.)

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
LIMIT = 0.12  # largest distance from the anchor
SHADOW, SOFTNESS = 0.5, 0.02  # share of the local blend that stays, and how far below the transition reaches
FINE = 0.35  # share of the exposure weights in those of the finer bands


def exposure_weights(pictures: Tensor, there: Tensor | None = None) -> Tensor:
    """Weights of well-exposed pictures, smooth between edges; (N, B, 3, h, w) -> (N, B, 1, h, w), summing to 1 over N.

    Args:
        pictures: the whole pictures in [0, 1], at 1/8 of the resolution.
        there: (N, B, 1, 1, 1) bool, which pictures a scene has; None: all.
    """
    grey = luma(pictures)
    logits = pyramid.exposure_logits(grey)
    weights = pyramid.mixing_weights(logits if there is None else logits.masked_fill(~there, -torch.inf))
    guide = mean_of(grey, there).expand_as(grey)
    smooth = guided_filter(guide.flatten(0, 1), weights.flatten(0, 1), RADIUS, EPSILON).view_as(weights)
    smooth = smooth.clamp(min=LEAST) if there is None else smooth.clamp(min=LEAST) * there
    return smooth / smooth.sum(dim=0)


def keep_light(fused: Tensor, pictures: Tensor, weights: Tensor) -> Tensor:
    """Bring the brightness of a fused picture near to that of its well-exposed sources.

    Args:
        fused: (B, 3, h, w).
        pictures: (N, B, 3, h, w).
        weights: from :func:`exposure_weights`.
    """
    anchor = pyramid.blend(pictures, weights, LEVELS)
    fused = anchor + LIMIT * torch.tanh((fused - anchor) / LIMIT)
    missing = (SHADOW * pyramid.mix(pictures, weights) - fused).clamp(min=0)
    return fused + missing - SOFTNESS * torch.tanh(missing / SOFTNESS)


def soften(weights: Tensor, light: Tensor, exposures: Tensor) -> Tensor:
    """Weights of a finer band, or of a part of it, with their share of the exposure weights.

    Args:
        weights: (N, B, 1, H, W).
        light: from :func:`exposure_weights`.
        exposures: which scenes are exposures, (B, 1, 1, 1) bool; the others do not change.
    """
    return weights.lerp(pyramid.enlarge_stack(light, weights.shape[-2:]), FINE * exposures.to(weights))
