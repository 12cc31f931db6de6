"""Focus stacks and exposure brackets of 2 to 9 pictures, simulated by models of a lens and a sensor.

Both are scenarios (see `data/scenarios.py`) with a third argument, the number of pictures, marked by the attribute
``stacks``. Shape letters: B samples, N pictures, S side in pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from data.objects import follow_edges, object_masks
from data.regions import (
    MAX_REACH,
    chance,
    convolve_each,
    disk_spread,
    gaussian_spread,
    region_mask,
    smooth_field,
    uniform,
)
from data.registry import SCENARIOS
from data.sample import MEF, MFF, Sample, stack_of
from data.scenarios import MILD_JITTER, grey

_SPREADS = (0.0, 0.8, 1.8, 3.2, 5.0)  # standard deviations in pixels of the blurs that are interpolated
_SHARP = 0.6  # standard deviation in pixels at which the sharpness is 1/e
_BREATHING = 0.01
_TERRACES = 3
_GRAIN = 0.005  # of the full range
_THIN, _THIN_CONTRAST = 11, 0.03  # side in pixels of the surroundings, difference of grey from them
_LEAST = 1e-3
_READ_NOISE, _SHOT_NOISE = (0.0005, 0.004), (0.002, 0.012)  # of the sensor's full range


@SCENARIOS.register("defocus")
def defocus_damage(x: Tensor, generator: torch.Generator, count: int = 2) -> Sample:
    """A focus stack of near objects in front of a background.

    A near layer (objects from the next photograph, or regions of this one whose borders follow its edges) covers a
    background, whose depth varies in stacks of three and more. Each picture blurs each layer according to its
    distance from the focal plane, with a disk or a Gaussian of up to 5 pixels standard deviation. The near layer is
    blurred together with its opacity, so that it spreads over the background when out of focus. In half of the
    samples the frame breathes: its scale grows by up to 1 % from the far to the near plane. Each picture has its own
    grain, of up to .5 % of the range; ``clean`` is without. Target: all in focus. Masks are sharpness relative to the
    sharpest picture at each pixel; a spread layer hides what is behind it.

    Args:
        x: photographs, (B, 3, S, S) in [0, 1].
        count: N, pictures in a stack.
    """
    batch = x.shape[0]
    near, opacity = _near_layer(x, generator)
    reach = uniform(batch, 2.0, _SPREADS[-1], generator)
    depth = _background_depth(x, generator, count)
    kind = chance(batch, 0.5, generator)
    far_levels = _blur_levels(x, kind)
    near_levels = _blur_levels(torch.cat([near * opacity, opacity], dim=1), kind)
    planes = _planes(batch, count, generator)

    pictures, sharpness = [], []
    for plane in planes:
        behind = reach * (plane - depth).abs()
        before = reach * (plane - 1).abs()
        spread = _at_level(near_levels, before.expand_as(depth))
        colour, hidden = spread[:, :3], spread[:, 3:]
        pictures.append((colour + (1 - hidden) * _at_level(far_levels, behind)).clamp(0, 1))
        sharp_far, sharp_near = ((-(blur / _SHARP).square()).exp() for blur in (behind, before))
        sharpness.append(opacity * sharp_near + (1 - opacity) * (1 - hidden) * sharp_far)
    breathes = chance(batch, 0.5, generator)
    growth = uniform(batch, 0, _BREATHING, generator) * breathes
    target = opacity * near + (1 - opacity) * x
    clean, masks = _breathe(torch.stack(pictures), torch.stack(sharpness), 1 + growth * planes)
    pictures = (clean + _grain(clean, generator)).clamp(0, 1)
    return stack_of(pictures, masks, target, clean=clean, truth=(~breathes).flatten().to(x))


def _near_layer(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The near layer (B, 3, S, S) and its opacity (B, 1, S, S): pasted objects or regions of the photograph."""
    batch, size = x.shape[0], x.shape[-1]
    things = object_masks(batch, 2, size, generator, height=(0.3, 1.0)).amax(dim=1, keepdim=True)
    region = region_mask(batch, size, generator, border=(3.0, 8.0))
    pasted = chance(batch, 0.5, generator)
    opacity = torch.where(pasted, things, follow_edges(region, grey(x)))
    return torch.where(pasted, x.roll(1, dims=0).flip(-1), x), opacity


def _background_depth(x: Tensor, generator: torch.Generator, count: int) -> Tensor:
    """Depth of the background, (B, 1, S, S): 0 is far, 1 is the depth of the near layer.

    Half of the samples have a smooth depth on a slope (flat for two pictures). The others have terraces whose borders
    follow edges, and in front of them thin structures of the photograph; for two pictures each is near or far.
    """
    batch, size = x.shape[0], x.shape[-1]
    field = smooth_field(batch, size, generator, cells=(2, 3))
    ramp = torch.linspace(-1, 1, size, device=generator.device).view(1, 1, -1, 1)
    smooth = 0.4 + uniform(batch, 0, 0.5, generator) * ramp + 0.2 * field
    where, *steps = [follow_edges(region_mask(batch, size, generator, border=(3.0, 8.0)), grey(x))
                     for _ in range(1 + _TERRACES)]
    terraces = torch.where(_thin(x, generator) * where > 0.5, 0.8, 0.6 * torch.stack(steps).mean(dim=0))
    if count == 2:
        smooth, terraces = torch.zeros_like(smooth), (terraces > 0.5).to(x)
    else:
        terraces = terraces + 0.05 * field
    return torch.where(chance(batch, 0.5, generator), terraces, smooth).clamp(0, 1 if count == 2 else 0.8)


def _thin(x: Tensor, generator: torch.Generator) -> Tensor:
    """Thin structures of photographs, brighter or darker than their surroundings, (B, 1, S, S) in {0, 1}."""
    g = grey(x)
    excess = g - F.avg_pool2d(g, _THIN, 1, _THIN // 2, count_include_pad=False)
    return (torch.where(chance(x.shape[0], 0.5, generator), excess, -excess) > _THIN_CONTRAST).to(x)


def _planes(batch: int, count: int, generator: torch.Generator) -> Tensor:
    """Focal depths from 0 to 1 in equal steps and random order, (N, B, 1, 1, 1)."""
    order = torch.rand(count, batch, generator=generator, device=generator.device).argsort(dim=0)
    return (order / (count - 1)).view(count, batch, 1, 1, 1)


def _blur_levels(x: Tensor, disk: Tensor) -> Tensor:
    """A picture with each blur of ``_SPREADS``, (levels, B, C, S, S); ``disk`` (B, 1, 1, 1) bool, else Gaussian."""
    levels = [x]
    for sigma in _SPREADS[1:]:
        spread = x.new_full((x.shape[0], 1, 1, 1), sigma)
        kernels = torch.where(disk, disk_spread((2 * spread).clamp(max=MAX_REACH - 1)), gaussian_spread(spread))
        levels.append(convolve_each(x, kernels))
    return torch.stack(levels)


def _grain(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Grain of a developed photograph for pictures (N, B, 3, S, S): the same strength and size in a stack."""
    normal = torch.randn(pictures.shape, generator=generator, device=pictures.device)
    coarse = 2 * F.avg_pool2d(normal.flatten(0, 1), 3, 1, 1).view_as(normal)  # 2/3 of the fine grain's strength
    batch = pictures.shape[1]
    return uniform(batch, 0, _GRAIN, generator) * torch.where(chance(batch, 0.5, generator), coarse, normal)


def _at_level(levels: Tensor, sigma: Tensor) -> Tensor:
    """The picture blurred by ``sigma`` (B, 1, S, S) at each pixel, interpolated between the two nearest levels."""
    result = torch.zeros_like(levels[0])
    for index, level in enumerate(levels):
        below = _SPREADS[index - 1] if index else -1.0
        above = _SPREADS[index + 1] if index + 1 < len(_SPREADS) else 2 * _SPREADS[-1]
        here = _SPREADS[index]
        share = torch.minimum((sigma - below) / (here - below), (above - sigma) / (above - here)).clamp(0, 1)
        result = result + share * level
    return result


def _breathe(pictures: Tensor, sharpness: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Scale pictures and masks about their centre.

    Args:
        pictures: (N, B, 3, S, S).
        sharpness: (N, B, 1, S, S).
        scale: (N, B, 1, 1, 1); 1 keeps the frame unchanged.
    """
    both = torch.cat([pictures, sharpness], dim=2).flatten(0, 1)
    size = both.shape[-1]
    steps = (torch.arange(size, device=both.device) * 2 + 1) / size - 1
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.stack([x, y], dim=-1) / scale.view(-1, 1, 1, 1)
    grown = F.grid_sample(both, grid, mode="bicubic", padding_mode="border", align_corners=False)
    both = torch.where(scale.view(-1, 1, 1, 1) == 1, both, grown).unflatten(0, pictures.shape[:2])
    return both[:, :, :3].clamp(0, 1), masks_of_all(both[:, :, 3:].clamp(min=0))


def masks_of_all(visible: Tensor) -> Tensor:
    """Masks from visibilities (N, B, 1, S, S) >= 0: each divided by the largest of the N."""
    visible = visible + _LEAST
    return visible / visible.amax(dim=0, keepdim=True)


@SCENARIOS.register("bracket")
def bracket_damage(x: Tensor, generator: torch.Generator, count: int = 2) -> Sample:
    """An exposure bracket of a scene whose dynamic range exceeds that of one picture.

    The linearised photograph is multiplied by a light field, smooth or with borders that follow its edges, 1 to 2.5
    stops brighter and darker. Shutter times cover that range in equal steps. Each picture: light times shutter, shot
    and read noise, clipping at full well, a camera curve (gamma 1.8 to 2.6, then an S-curve of random strength) and
    8-bit quantisation. Target: the photograph through the same curve, well exposed everywhere. ``clean`` is without
    noise. A mask is the slope of the curve (0 where clipped) times the closeness to a good exposure, divided by the
    largest.

    Args:
        x: photographs, (B, 3, S, S) in [0, 1].
        count: N, pictures in a bracket.
    """
    batch = x.shape[0]
    strength, gamma = uniform(batch, 0, 0.8, generator), uniform(batch, 1.8, 2.6, generator)

    def response(light: Tensor) -> Tensor:
        """The camera curve: light (.., B, C, S, S) >= 0 -> [0, 1]."""
        y = light.clamp(1e-6, 1) ** (1 / gamma)
        return torch.lerp(y, y * y * (3 - 2 * y), strength)

    photograph = x.clamp(min=1e-3) ** 2.2
    stops = uniform(batch, 1.0, 2.5, generator) * _light(x, generator)
    light = photograph * torch.exp2(stops)
    shutters = _shutters(stops, count, generator)
    exposed = light * torch.exp2(shutters)
    noisy = exposed + _sensor_noise(exposed, generator)
    pictures, clean = ((response(each) * 255).round() / 255 for each in (noisy, exposed))
    slope = (response(exposed * 1.1) - response(exposed / 1.1)).mean(dim=2, keepdim=True)
    fit = (-((shutters + stops) / 1.5).square()).exp()
    return stack_of(pictures, masks_of_all(slope * fit), response(photograph), clean=clean)


def _light(x: Tensor, generator: torch.Generator) -> Tensor:
    """A light field, approximately in [-1, 1], (B, 1, S, S): smooth, or a bright region along edges (a window)."""
    batch, size = x.shape[0], x.shape[-1]
    smooth = smooth_field(batch, size, generator, cells=(2, 4)).clamp(-2, 2) / 2
    region = follow_edges(region_mask(batch, size, generator, cells=(2, 4), border=(3.0, 8.0)), grey(x))
    return torch.where(chance(batch, 0.5, generator), smooth, 2 * region - 1 + 0.2 * smooth)


def _shutters(stops: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Shutter times in stops, covering the range of the light in random order, (N, B, 1, 1, 1)."""
    batch = stops.shape[0]
    low, high = (-stops).amin(dim=(1, 2, 3), keepdim=True), (-stops).amax(dim=(1, 2, 3), keepdim=True)
    order = torch.rand(count, batch, generator=generator, device=generator.device).argsort(dim=0)
    return low + (high - low) * (order / (count - 1)).view(count, batch, 1, 1, 1)


def _sensor_noise(exposed: Tensor, generator: torch.Generator) -> Tensor:
    """Read noise, and shot noise proportional to the square root of the light; (N, B, 3, S, S)."""
    batch = exposed.shape[1]
    read, shot = uniform(batch, *_READ_NOISE, generator), uniform(batch, *_SHOT_NOISE, generator)
    normal = torch.randn(exposed.shape, generator=generator, device=exposed.device)
    return normal * (read.square() + shot.square() * exposed.clamp(0, 1)).sqrt()


for _damage in (defocus_damage, bracket_damage):
    _damage.jitter_low = MILD_JITTER
    _damage.stacks = True
defocus_damage.task, bracket_damage.task = MFF, MEF
