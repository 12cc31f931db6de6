"""Warm targets: objects that are obvious to a thermal camera, whatever their appearance in visible light."""

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
    """Mean grey around each pixel, excluding masked pixels.

    Args:
        g: grey, (B, 1, S, S).
        mask: objects to exclude, (B, 1, S, S) in [0, 1].

    Returns:
        (B, 1, S, S); approaches the mean of the whole picture deep inside large objects.
    """
    outside = 1 - mask
    whole = (g * outside).mean(dim=(-2, -1), keepdim=True) / outside.mean(dim=(-2, -1), keepdim=True).clamp(min=1e-3)
    kernels = gaussian_spread(g.new_full((g.shape[0], 1, 1, 1), _SURROUNDINGS_SIGMA))
    near, weight = convolve_each(torch.cat([g * outside, outside], dim=1), kernels).split(1, dim=1)
    return (near + 0.02 * whole) / (weight + 0.02)


def cold_noise(batch: int, size: int, generator: torch.Generator) -> Tensor:
    """Noise of an uncooled thermal camera: grain, streaks along rows or columns, weak cloudy texture.

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
    """Paint objects into the visible picture: darker than, as bright as, or brighter than their surroundings.

    Each case has a third of the samples. The texture is that of the next photograph in the batch.
    """
    batch = x.shape[0]
    kind = uniform(batch, -1, 2, generator).floor()  # -1, 0, 1
    offset = kind * uniform(batch, 0.1, 0.6, generator) + uniform(batch, -0.05, 0.05, generator)
    texture = x.roll(1, dims=0).flip(-1)
    texture = uniform(batch, 0.1, 0.5, generator) * (texture - grey(texture).mean(dim=(-2, -1), keepdim=True))
    return torch.lerp(x, (around + offset + texture).clamp(0, 1), mask)


@SCENARIOS.register("targets")
def target_damage(x: Tensor, generator: torch.Generator) -> Sample:
    """Objects that are bright in the infrared picture and of any brightness in the visible one.

    Infrared: cold, low-contrast surroundings with grain, streaks and clouds; up to three objects raised by
    U(0.25, 0.8). Visible: the photograph, dimmed in half of the samples, with the objects darker than, as bright as
    or brighter than their surroundings. Target: the visible picture with each object raised to its infrared contrast.
    Where white limits this and the visible contrast of an object is larger than the reachable one, it is kept: a dark
    object on snow is visible as well. ``clean`` of the infrared picture is without noise.
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
    """Raise warm objects in the visible picture by ``contrast`` above their surroundings, never darkening them.

    Args:
        visible: (B, 3, S, S) in [0, 1].
        warm: the objects, (B, 1, S, S) in [0, 1].
        around: grey of their surroundings, (B, 1, S, S).
        contrast: their contrast with the surroundings in the infrared picture, (B, 1, S, S) >= 0.

    Returns:
        (B, 3, S, S), and the share of the contrast already present in the visible picture, (B, 1, S, S).
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
