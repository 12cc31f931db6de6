"""Damage that looks like the tasks: focus, exposure and lost contrast; and none. (Thermal, glare: `data/sensing.py`.)

A scenario maps photographs x (B, 3, S, S) in [0, 1] and a generator to a ``Sample``. All samples are computed in one
batch on the device of x, with random numbers from the generator. docs/SCENARIOS.md shows pictures.

Masks define what each image *keeps*. Linear damage has the form x_i = m_i x + (1 - m_i) n_i, where n_i does not show
the photograph (blurred, black, white) and m_i is the mask. For other damage (exposure, thermal, glare), the visibility
v_i is the local slope of the image with respect to the photograph's grey values, that is, the gain of a small contrast
of the scene; the masks are m_i = v_i / max(v1, v2). In both cases max(m1, m2) = 1 at every pixel, so that
common + unique1 + unique2 = target.
"""

import torch
from torch import Tensor

from data.regions import (
    chance,
    defocus,
    level_at,
    region_mask,
    smooth_field,
    soften,
    uniform,
)
from data.registry import SCENARIOS
from data.sample import MEF, MFF, Sample
from utils.pictures.colour import TORCHVISION_LUMA, luma

MILD_JITTER = 0.6  # smallest factor of brightness, contrast and saturation; these scenarios add their own damage
_SLOPE_STEP = 0.02
_LEAST_VISIBILITY = 1e-3


def grey(x: Tensor) -> Tensor:
    """Grey of RGB, (B, 3, H, W) -> (B, 1, H, W)."""
    return luma(x, TORCHVISION_LUMA)


def some_grey(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Convert a random ``share`` of the photographs to grey."""
    return torch.where(chance(x.shape[0], share, generator), grey(x).expand_as(x), x)


def masks_of(visible1: Tensor, visible2: Tensor) -> tuple[Tensor, Tensor]:
    """Masks from visibilities (B, 1, H, W) >= 0: each divided by the larger of the two."""
    visible1, visible2 = visible1 + _LEAST_VISIBILITY, visible2 + _LEAST_VISIBILITY
    best = torch.maximum(visible1, visible2)
    return visible1 / best, visible2 / best


def swap_some(sample: Sample, generator: torch.Generator) -> Sample:
    """Swap the first and second image in a random half of the samples."""
    swap = chance(sample.x1.shape[0], 0.5, generator)
    for one, two in (("x1", "x2"), ("mask1", "mask2"), ("clean1", "clean2")):
        first, second = getattr(sample, one), getattr(sample, two)
        setattr(sample, one, torch.where(swap, second, first))
        setattr(sample, two, torch.where(swap, first, second))
    sample.infrared = torch.where(swap.flatten() & (sample.infrared > 0), 3 - sample.infrared, sample.infrared)
    return sample


def pair_of(x1: Tensor, x2: Tensor, masks: tuple[Tensor, Tensor], target: Tensor, *, truth: bool = False,
            clean1: Tensor | None = None, clean2: Tensor | None = None) -> Sample:
    """Make a ``Sample`` from which a full-resolution head may learn; with ``truth``, also pixel by pixel."""
    ones = target.new_ones(target.shape[0])
    return Sample(x1, x2, *masks, target, ones if truth else None, ones, clean1, clean2)


@SCENARIOS.register("focus")
def focus_damage(x: Tensor, generator: torch.Generator) -> Sample:
    """Two focus settings: x1 is sharp inside a region, x2 outside; the rest is out of focus.

    With the region's soft mask s, m1 = min(1, 2 s) and m2 = min(1, 2 - 2 s): both images are sharp on the border
    line, so that the photograph can be recovered at every pixel.
    """
    s = region_mask(x.shape[0], x.shape[-1], generator)
    mask1, mask2 = (2 * s).clamp(max=1), (2 - 2 * s).clamp(max=1)
    x1 = torch.lerp(defocus(x, generator), x, mask1)
    x2 = torch.lerp(defocus(x, generator), x, mask2)
    return pair_of(x1, x2, (mask1, mask2), x, truth=True)


def tone_curve(x: Tensor, strength: Tensor) -> Tensor:
    """S-shaped tone curve of a sensor: x mixed with x^2 (3 - 2 x) by ``strength`` in [0, 1]."""
    return torch.lerp(x, x * x * (3 - 2 * x), strength)


@SCENARIOS.register("exposure")
def exposure_damage(x: Tensor, generator: torch.Generator) -> Sample:
    """Two exposures of the whole scene, with a camera's tone curve and 8-bit quantisation.

    Under: x^U(1, 2) U(0.1, 0.5). Over: x^U(0.5, 1) U(1.2, 3) + U(0, 0.15), clipped. The visibility is the slope of
    the map from scene to image, averaged over the channels, including clipping.
    """
    batch = x.shape[0]
    gamma1, gain1 = uniform(batch, 1, 2, generator), uniform(batch, 0.1, 0.5, generator)
    gamma2, gain2 = uniform(batch, 0.5, 1, generator), uniform(batch, 1.2, 3, generator)
    lift, strength = uniform(batch, 0, 0.15, generator), uniform(batch, 0, 0.6, generator)

    def under(scene: Tensor) -> Tensor:
        return tone_curve(gain1 * scene.clamp(0, 1) ** gamma1, strength)

    def over(scene: Tensor) -> Tensor:
        return tone_curve((gain2 * scene.clamp(0, 1) ** gamma2 + lift).clamp(max=1), strength)

    masks = masks_of(_slope(under, x), _slope(over, x))
    x1, x2 = ((image * 255).round() / 255 for image in (under(x), over(x)))
    return swap_some(pair_of(x1, x2, masks, x), generator)


def _slope(curve, x: Tensor) -> Tensor:
    """Slope of an increasing curve at x by finite differences, averaged over the channels; (B, 1, H, W)."""
    rise = curve(x + _SLOPE_STEP) - curve(x - _SLOPE_STEP)
    return (rise / (2 * _SLOPE_STEP)).mean(dim=1, keepdim=True)


def lose_contrast(x: Tensor, region: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Reduce the contrast in a region: too dark, too bright, or strongly blurred with an offset; one kind per sample.

    Inside, a share k = U(0.05, 0.5) of the photograph is mixed with black, with white, or (blurred first) with grey.

    Returns:
        The damaged image, and the share of the photograph that is left at each pixel: k inside, or 0 where it was
        also blurred.
    """
    batch = x.shape[0]
    k, offset = uniform(batch, 0.05, 0.5, generator), uniform(batch, 0, 1, generator)
    kind = uniform(batch, 0, 3, generator).floor()
    blurred = defocus(x, generator, sigma=(2.0, 5.0))
    offset = torch.where(kind == 0, 0.0, torch.where(kind == 1, 1.0, offset))
    inside = k * torch.where(kind == 2, blurred, x) + (1 - k) * offset
    kept = torch.where(kind == 2, 0.0, k)
    return torch.lerp(x, inside, region), 1 - region * (1 - kept)


@SCENARIOS.register("contrast")
def contrast_damage(x: Tensor, generator: torch.Generator) -> Sample:
    """Regional loss of contrast: the images lose disjoint regions; 70 % of the samples are grey."""
    x = some_grey(x, 0.7, generator)
    batch, size = x.shape[0], x.shape[-1]
    field, width = smooth_field(batch, size, generator), uniform(batch, 0.7, 6.0, generator)
    high, low = (soften(side, level_at(side, 1 - uniform(batch, 0.2, 0.45, generator)), width)
                 for side in (field, -field))
    # The difference of the two, clipped at 0, keeps the soft borders disjoint: no pixel is lost in both images.
    x1, kept1 = lose_contrast(x, (high - low).clamp(min=0), generator)
    x2, kept2 = lose_contrast(x, (low - high).clamp(min=0), generator)
    return pair_of(x1, x2, (kept1, kept2), x)


@SCENARIOS.register("clean")
def undamaged(x: Tensor, generator: torch.Generator) -> Sample:
    """No damage: both images are the photograph, half of them brightened by x^U(0.3, 1). Teaches a head nothing."""
    gamma = torch.where(chance(x.shape[0], 0.5, generator), uniform(x.shape[0], 0.3, 1, generator), 1.0)
    x, ones = x ** gamma, torch.ones_like(x[:, :1])
    return Sample(x, x.clone(), ones, ones.clone(), x.clone())


for _damage in (focus_damage, exposure_damage, contrast_damage, undamaged):
    _damage.jitter_low = MILD_JITTER
focus_damage.task, exposure_damage.task = MFF, MEF
