"""Warm targets: things that a thermal camera sees at once, whatever they look like in visible light."""

import torch
from torch import Tensor

from data.objects import object_masks
from data.regions import chance, convolve_each, gaussian_spread, smooth_field, uniform
from data.registry import SCENARIOS
from data.sample import IVF, Sample
from data.scenarios import MILD_JITTER, grey, masks_of, pair_of, some_grey, swap_some
from data.sensing import calm, thermal_view

_THINGS = 3
_SURROUNDINGS_SIGMA = 5.0
_WHITE = 0.97


def surroundings(g: Tensor, mask: Tensor) -> Tensor:
    """Mean grey around each pixel without what the mask covers.

    Args:
        g: grey, (B, 1, S, S).
        mask: things to leave out, (B, 1, S, S) in [0, 1].

    Returns:
        (B, 1, S, S); deep inside of large things the mean of the whole picture takes over.
    """
    outside = 1 - mask
    whole = (g * outside).mean(dim=(-2, -1), keepdim=True) / outside.mean(dim=(-2, -1), keepdim=True).clamp(min=1e-3)
    kernels = gaussian_spread(g.new_full((g.shape[0], 1, 1, 1), _SURROUNDINGS_SIGMA))
    near, weight = convolve_each(torch.cat([g * outside, outside], dim=1), kernels).split(1, dim=1)
    return (near + 0.02 * whole) / (weight + 0.02)


def cold_noise(batch: int, size: int, generator: torch.Generator) -> Tensor:
    """What an uncooled thermal camera adds: grain, streaks along rows or columns, weak cloudy texture.

    Returns:
        (B, 1, S, S), signed.
    """
    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, 1, *shape, generator=generator, device=generator.device)

    grain = calm(normal(size, size), uniform(batch, 0.3, 0.9, generator)) * uniform(batch, 0, 0.05, generator)
    streaks = torch.where(chance(batch, 0.5, generator), normal(1, size), normal(size, 1).expand(-1, -1, -1, size))
    streaks = streaks * uniform(batch, 0, 0.03, generator) * chance(batch, 0.5, generator)
    clouds = smooth_field(batch, size, generator, cells=(4, 5)) * uniform(batch, 0, 0.03, generator)
    return grain + streaks + clouds


def _paint(x: Tensor, mask: Tensor, around: Tensor, generator: torch.Generator) -> Tensor:
    """The visible picture with things in it: darker, as bright as, or brighter than what is around them.

    A third of the samples each. The texture is that of the next photograph of the batch.
    """
    batch = x.shape[0]
    kind = uniform(batch, -1, 2, generator).floor()  # -1, 0, 1
    offset = kind * uniform(batch, 0.1, 0.6, generator) + uniform(batch, -0.05, 0.05, generator)
    texture = x.roll(1, dims=0).flip(-1)
    texture = uniform(batch, 0.1, 0.5, generator) * (texture - grey(texture).mean(dim=(-2, -1), keepdim=True))
    return torch.lerp(x, (around + offset + texture).clamp(0, 1), mask)


@SCENARIOS.register("targets")
def target_damage(x: Tensor, generator: torch.Generator) -> Sample:
    """Things that are bright in the infrared picture and of any brightness in the visible one.

    Infrared: the surroundings as weak, cold heat with grain, streaks and clouds; up to three things lifted by
    U(0.25, 0.8). Visible: the photograph, dimmed in half of the samples, with the things darker than, as bright as
    or brighter than their surroundings. Target: the visible picture with each thing raised to the infrared's
    contrast with its surroundings. Where white leaves no room for that, a thing whose visible contrast is larger
    than what can be reached keeps it: dark on snow is seen as well. ``clean`` of the infrared is without noise.
    """
    batch, size = x.shape[0], x.shape[-1]
    x = some_grey(x, 0.4, generator)
    night = torch.where(chance(batch, 0.5, generator), uniform(batch, 0.2, 0.7, generator), 1.0)
    x = night * x
    things = object_masks(batch, _THINGS, size, generator)
    shown = torch.rand(batch, _THINGS, 1, 1, generator=generator, device=x.device) < 0.6
    shown[:, 0] = True
    warm = (things * shown).amax(dim=1, keepdim=True)
    around = surroundings(grey(x), warm)
    visible = _paint(x, warm, around, generator)

    heat, slope = thermal_view(grey(x), generator)
    softness, lift = uniform(batch, 0.4, 1.5, generator), uniform(batch, 0.25, 0.8, generator)
    inner = uniform(batch, 0, 0.08, generator) * smooth_field(batch, size, generator, cells=(4, 5))
    cold = surroundings(heat, warm)
    hot = (cold + lift + inner).clamp(0, 1)
    clean = calm(torch.lerp(heat, hot, warm), softness).clamp(0, 1)
    infrared = (clean + cold_noise(batch, size, generator) * (1 - 0.7 * warm)).clamp(0, 1)

    target, seen = _lifted(visible, warm, around, hot - cold)
    slope, ones = calm(slope, 2.0), torch.ones_like(seen)
    masks = masks_of(torch.lerp(0.5 * slope, ones, warm), torch.lerp(ones, seen, warm))
    sample = pair_of(infrared.expand_as(x), visible, masks, target, clean1=clean.expand_as(x), clean2=visible)
    sample.warm = warm
    sample.infrared.fill_(1)
    return swap_some(sample, generator)


def _lifted(visible: Tensor, warm: Tensor, around: Tensor, contrast: Tensor) -> tuple[Tensor, Tensor]:
    """The visible picture with warm things raised by ``contrast`` above what is around them, never darkened.

    Args:
        visible: (B, 3, S, S) in [0, 1].
        warm: the things, (B, 1, S, S) in [0, 1].
        around: grey of their surroundings, (B, 1, S, S).
        contrast: what they exceed their surroundings by in the infrared picture, (B, 1, S, S) >= 0.

    Returns:
        (B, 3, S, S), and the share of the contrast that the visible picture shows by itself, (B, 1, S, S).
    """
    g = grey(visible)
    reach = torch.minimum(contrast, (_WHITE - around).clamp(min=0))
    own = calm(g - around, 1.5)
    keeps = (-own > reach) & (reach < 0.5 * contrast)
    raised = torch.where(keeps, 0.0, (around + reach - g).clamp(min=0))
    seen = torch.where(keeps, own.abs(), own.clamp(min=0)) / contrast.clamp(min=0.05)
    return (visible + warm * raised).clamp(0, 1), seen.clamp(0, 1)


target_damage.jitter_low = MILD_JITTER
target_damage.task = IVF
