"""Damage by other sensors and by bad light: thermal, sensor noise, glare. See `data/scenarios.py` for the terms."""

import torch
from torch import Tensor

from data.regions import (
    chance,
    convolve_each,
    gaussian_spread,
    random_curve,
    region_mask,
    smooth_field,
    uniform,
)
from data.registry import SCENARIOS
from data.sample import IVF, Sample
from data.scenarios import (
    MILD_JITTER,
    contrast_damage,
    exposure_damage,
    grey,
    masks_of,
    pair_of,
    some_grey,
    swap_some,
)

_CALM_SIGMA = 4.0
_KNOTS = 5


def calm(image: Tensor, sigma: float | Tensor) -> Tensor:
    """Gaussian blur; sigma one number or (B, 1, 1, 1)."""
    sigma = sigma if isinstance(sigma, Tensor) else image.new_full((image.shape[0], 1, 1, 1), sigma)
    return convolve_each(image, gaussian_spread(sigma))


def things(g: Tensor, generator: torch.Generator) -> Tensor:
    """Things of a photograph that may be warm: where a smooth region and a band of its grey values meet.

    Args:
        g: grey, (B, 1, S, S).

    Returns:
        (B, 1, S, S) in [0, 1], about a tenth of the picture; the borders follow the photograph's edges.
    """
    batch, size = g.shape[0], g.shape[-1]
    region = region_mask(batch, size, generator, area=(0.08, 0.3), cells=(3, 5), border=(3.0, 6.0))
    soft = calm(g, 1.2)
    weight = region / region.sum(dim=(-2, -1), keepdim=True).clamp(min=1)
    middle = (weight * soft).sum(dim=(-2, -1), keepdim=True)
    spread = (weight * (soft - middle).square()).sum(dim=(-2, -1), keepdim=True).sqrt() + 0.02
    side = torch.where(chance(batch, 0.5, generator), 1.0, -1.0)
    return region * torch.sigmoid(side * (soft - middle) / spread * 8)


def thermal_view(g: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Surroundings as heat: a random smooth curve of the grey values, weak, with slow drifts.

    Returns:
        (B, 1, S, S), and the size of its slope in the photograph's grey values, at most 1.
    """
    batch, size = g.shape[0], g.shape[-1]
    knots = uniform((batch, _KNOTS), 0, 1, generator)
    contrast, cool = uniform(batch, 0.15, 0.6, generator), uniform(batch, 0.05, 0.3, generator)
    drift = 0.04 * smooth_field(batch, size, generator, cells=(2, 3))
    step = 0.02
    up, down = random_curve(g + step, knots), random_curve(g - step, knots)
    heat = cool + contrast * random_curve(g, knots) + drift
    return heat.clamp(0, 1), (contrast * (up - down).abs() / (2 * step)).clamp(max=1)


def dim_view(x: Tensor, warm: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The visible image at night (gain U(0.15, 0.7), darker in places) or in haze; warm things nearly lost.

    Returns:
        (B, 3, S, S), and what is left of the photograph's contrast at each pixel, (B, 1, S, S).
    """
    batch, size = x.shape[0], x.shape[-1]
    places = torch.sigmoid(1.5 * smooth_field(batch, size, generator))
    night = uniform(batch, 0.15, 0.7, generator) * (0.4 + 0.6 * places)
    through = uniform(batch, 0.25, 0.6, generator) + 0.4 * places
    air = torch.where(chance(batch, 0.5, generator), 0.0, uniform(batch, 0.6, 0.85, generator))
    left = torch.where(air == 0, night, through.clamp(max=1))
    left = left * (1 - warm * uniform(batch, 0.3, 0.85, generator))
    lost_to = torch.where(air == 0, 0.0, air)
    return left * x + (1 - left) * lost_to, left


@SCENARIOS.register("thermal")
def thermal_damage(x: Tensor, generator: torch.Generator) -> Sample:
    """A thermal camera beside one for visible light, at night or in haze.

    Thermal: grey; a random smooth curve of the grey values (paint says little about heat), low in contrast, a
    little soft; some things lifted to warm. Visible: darkened or hazed, those things nearly lost. The target is
    the undamaged photograph with the things lifted: brighter by what they lack to their warmth, never darker,
    their colour and detail kept. On the things the thermal image keeps everything.
    """
    batch = x.shape[0]
    x = some_grey(x, 0.5, generator)
    g = grey(x)
    warm, base = things(g, generator), calm(g, _CALM_SIGMA)
    heat, slope = thermal_view(g, generator)
    warmth = uniform(batch, 0.65, 0.95, generator)
    detail = uniform(batch, 0.2, 0.6, generator) * (g - base)
    softness = uniform(batch, 0.4, 1.3, generator)
    thermal = calm(torch.lerp(heat, warmth + detail, warm), softness).clamp(0, 1)
    visible, left = dim_view(x, warm, generator)
    target = (x + 0.85 * warm * (warmth - base).clamp(min=0)).clamp(0, 1)
    slope = calm(slope, 2.0)  # a curve's slope jumps from pixel to pixel, what can be seen does not
    masks = masks_of(torch.lerp(slope, torch.ones_like(slope), warm), left)
    sample = pair_of(thermal.expand_as(x), visible, masks, target)
    sample.infrared.fill_(1)
    return swap_some(sample, generator)


def _one_of_two(x: Tensor, generator: torch.Generator) -> Sample:
    """Lost contrast in half of the samples, two exposures in the others."""
    first, second = contrast_damage(x, generator), exposure_damage(x, generator)
    which = chance(x.shape[0], 0.5, generator)
    names = ("x1", "x2", "mask1", "mask2", "target")
    x1, x2, mask1, mask2, target = (torch.where(which, getattr(first, name), getattr(second, name))
                                    for name in names)
    return pair_of(x1, x2, (mask1, mask2), target)


@SCENARIOS.register("sensor")
def sensor_damage(x: Tensor, generator: torch.Generator) -> Sample:
    """Light sensor noise to be rejected, over pairs with lost contrast or of two exposures.

    Read noise U(0.005, 0.04) and shot noise that grows with the root of the brightness; blurred to grains of up to
    a pixel; in one image only in two of three samples. Masks, target and clean1, clean2 are those of the pair
    without noise: noise is part of nothing.
    """
    sample = _one_of_two(x, generator)
    batch = x.shape[0]
    spared = uniform(batch, 0, 3, generator).floor()  # 0: first image, 1: second, 2: none is spared
    noisy = []
    for index, clean in enumerate((sample.x1, sample.x2)):
        grains = calm(torch.randn(x.shape, generator=generator, device=x.device),
                      uniform(batch, 0.3, 0.7, generator))
        level = uniform(batch, 0.005, 0.04, generator) * (0.5 + clean.sqrt())
        noisy.append((clean + (spared != index) * level * grains).clamp(0, 1))
    return Sample(*noisy, sample.mask1, sample.mask2, sample.target, None, sample.head, sample.x1, sample.x2)


def glare_of(batch: int, size: int, generator: torch.Generator) -> Tensor:
    """Light of two lamps that a lens spreads: a saturated core, a halo, a veil and a horizontal streak.

    Returns:
        (B, 1, S, S) >= 0, to be added to an image.
    """
    steps = torch.linspace(0, 1, size, device=generator.device)
    light = torch.zeros(batch, 1, size, size, device=generator.device)
    for _ in range(2):
        cx, cy = uniform(batch, 0.05, 0.95, generator), uniform(batch, 0.05, 0.95, generator)
        radius = uniform(batch, 0.02, 0.1, generator)
        dx, dy = steps.view(1, 1, 1, -1) - cx, steps.view(1, 1, -1, 1) - cy
        distance = (dx.square() + dy.square()).sqrt() / radius
        core = torch.sigmoid((1 - distance) * 6)
        halo = uniform(batch, 0.3, 0.9, generator) / (1 + distance.square())
        streak = uniform(batch, 0, 0.5, generator) * torch.exp(-(dy / (0.4 * radius)).square() - (dx / 0.3).square())
        light = light + core + halo + streak
    return light


@SCENARIOS.register("glare")
def glare_damage(x: Tensor, generator: torch.Generator) -> Sample:
    """Glare of lamps to be rejected: the first image looks into it, the second (dimmed or thermal-like) does not.

    The visibility of the first is 1 where the glare leaves it unclipped and 0 in the saturated core; of the second
    its contrast. clean1 is the first image without glare.
    """
    batch = x.shape[0]
    x = some_grey(x, 0.5, generator)
    glare = glare_of(batch, x.shape[-1], generator)
    glare = glare * torch.lerp(torch.ones_like(x), uniform((batch, 3, 1, 1), 0.7, 1.0, generator), 0.8)
    gain = uniform(batch, 0.3, 0.8, generator)
    heat, slope = thermal_view(grey(x), generator)
    blind = chance(batch, 0.5, generator)  # to visible light: the second camera sees heat
    second = torch.where(blind, heat.expand_as(x), gain * x)
    seen = torch.where(blind, slope, gain.expand_as(slope))
    veil = 1 / (1 + glare.mean(dim=1, keepdim=True))
    first = 1 - (1 - x) * torch.exp(-1.5 * glare)
    masks = masks_of(((1 - first) / (1 - x + 1e-3)).mean(dim=1, keepdim=True) * veil, seen)
    sample = pair_of(first, second, masks, x, clean1=x, clean2=second)
    sample.infrared = 2 * blind.flatten().long()
    return swap_some(sample, generator)


for _damage in (thermal_damage, sensor_damage, glare_damage):
    _damage.jitter_low = MILD_JITTER
thermal_damage.task = IVF
