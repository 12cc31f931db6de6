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
    """Gaussian blur; sigma in pixels is a number or (B, 1, 1, 1)."""
    sigma = sigma if isinstance(sigma, Tensor) else image.new_full((image.shape[0], 1, 1, 1), sigma)
    return convolve_each(image, gaussian_spread(sigma))


def things(g: Tensor, generator: torch.Generator) -> Tensor:
    """Objects of a photograph that may be warm: the intersection of a smooth region and a band of grey values.

    Args:
        g: grey, (B, 1, S, S).

    Returns:
        (B, 1, S, S) in [0, 1], about a tenth of the picture; borders follow the edges of the photograph.
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
    """Thermal view of the surroundings: a random smooth curve of the grey values with low contrast and slow drifts.

    Returns:
        (B, 1, S, S), and the magnitude of its slope with respect to the photograph's grey values, at most 1.
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
    """The visible image at night (gain U(0.15, 0.7), darker in places) or in haze; warm objects are nearly invisible.

    Returns:
        (B, 3, S, S), and the share of the photograph's contrast left at each pixel, (B, 1, S, S).
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
    """A thermal and a visible camera at night or in haze.

    Thermal: grey, a random smooth curve of the grey values (since paint is unrelated to heat), low in contrast and
    slightly soft, with some objects raised to warm. Visible: darkened or hazy, with those objects nearly invisible.
    Target: the undamaged photograph with the objects raised to their warmth, never darkened, with colour and detail
    kept. On the objects the mask of the thermal image is 1.
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
    slope = calm(slope, 2.0)  # the slope of the curve jumps between pixels, visibility does not
    masks = masks_of(torch.lerp(slope, torch.ones_like(slope), warm), left)
    sample = pair_of(thermal.expand_as(x), visible, masks, target)
    sample.infrared.fill_(1)
    return swap_some(sample, generator)


def _one_of_two(x: Tensor, generator: torch.Generator) -> Sample:
    """Lost contrast in half of the samples, two exposures in the other half."""
    first, second = contrast_damage(x, generator), exposure_damage(x, generator)
    which = chance(x.shape[0], 0.5, generator)
    names = ("x1", "x2", "mask1", "mask2", "target")
    x1, x2, mask1, mask2, target = (torch.where(which, getattr(first, name), getattr(second, name))
                                    for name in names)
    return pair_of(x1, x2, (mask1, mask2), target)


@SCENARIOS.register("sensor")
def sensor_damage(x: Tensor, generator: torch.Generator) -> Sample:
    """Weak sensor noise, to be rejected, on pairs with lost contrast or two exposures.

    Read noise U(0.005, 0.04), and shot noise proportional to the square root of the brightness; blurred to grains of
    up to a pixel; in only one image in two of three samples. Masks, target, clean1 and clean2 are those of the pair
    without noise.
    """
    sample = _one_of_two(x, generator)
    batch = x.shape[0]
    spared = uniform(batch, 0, 3, generator).floor()  # image without noise: 0 first, 1 second, 2 neither
    noisy = []
    for index, clean in enumerate((sample.x1, sample.x2)):
        grains = calm(torch.randn(x.shape, generator=generator, device=x.device),
                      uniform(batch, 0.3, 0.7, generator))
        level = uniform(batch, 0.005, 0.04, generator) * (0.5 + clean.sqrt())
        noisy.append((clean + (spared != index) * level * grains).clamp(0, 1))
    return Sample(*noisy, sample.mask1, sample.mask2, sample.target, None, sample.head, sample.x1, sample.x2)


def glare_of(batch: int, size: int, generator: torch.Generator) -> Tensor:
    """Light of two lamps scattered in a lens: a saturated core, a halo, a veil and a horizontal streak.

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
    """Glare of lamps, to be rejected: it affects the first image but not the second (dimmed or thermal-like).

    The visibility of the first image is 1 where glare does not clip it and 0 in the saturated core; that of the
    second is its contrast. clean1 is the first image without glare.
    """
    batch = x.shape[0]
    x = some_grey(x, 0.5, generator)
    glare = glare_of(batch, x.shape[-1], generator)
    glare = glare * torch.lerp(torch.ones_like(x), uniform((batch, 3, 1, 1), 0.7, 1.0, generator), 0.8)
    gain = uniform(batch, 0.3, 0.8, generator)
    heat, slope = thermal_view(grey(x), generator)
    blind = chance(batch, 0.5, generator)  # the second camera sees heat instead of visible light
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
