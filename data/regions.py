"""Random smooth regions, curves and blurs for damage, batched, without loops over samples.

Random functions take a generator and work on its device. Shape letters: B samples, S side in pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_SIGMA = 5.0
MAX_REACH = 15  # radius of a blur in pixels: 3 sigma
_LARGEST_GRID = 6


def uniform(shape: int | tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw U(low, high) of a shape on the generator's device; a number B means (B, 1, 1, 1)."""
    shape = (shape, 1, 1, 1) if isinstance(shape, int) else shape
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def chance(batch: int, share: float, generator: torch.Generator) -> Tensor:
    """True with probability ``share`` for each sample, (B, 1, 1, 1)."""
    return uniform(batch, 0.0, 1.0, generator) < share


def smooth_field(batch: int, size: int, generator: torch.Generator, *, cells: tuple[int, int] = (2, 5)) -> Tensor:
    """Smooth random fields: normal noise on a coarse grid, enlarged bicubically.

    Args:
        cells: smallest and largest number of cells per side (at most 5), drawn for each sample.

    Returns:
        (B, 1, S, S), approximately N(0, 1) at each pixel.
    """
    noise = torch.randn(batch, 1, _LARGEST_GRID, _LARGEST_GRID, generator=generator, device=generator.device)
    count = torch.randint(cells[0], cells[1] + 1, (batch, 1, 1, 1), generator=generator, device=generator.device)
    # A window of `count` cells at a random offset, so that the grid is not visible in the mean over samples.
    width = count / (_LARGEST_GRID - 1)
    corner = torch.rand(2, batch, 1, 1, generator=generator, device=generator.device) * (1 - width.squeeze(-1))
    steps = torch.linspace(0, 1, size, device=generator.device)
    x = 2 * (corner[0] + width.squeeze(-1) * steps.view(1, 1, -1)) - 1
    y = 2 * (corner[1] + width.squeeze(-1) * steps.view(1, -1, 1)) - 1
    grid = torch.stack(torch.broadcast_tensors(x, y), dim=-1)
    return F.grid_sample(noise, grid, mode="bicubic", padding_mode="border", align_corners=True)


def level_at(field: Tensor, share: Tensor) -> Tensor:
    """The quantile ``share`` (B, 1, 1, 1) of each field (B, 1, S, S); returns (B, 1, 1, 1)."""
    step = max(1, field.shape[-1] // 28)
    values = field[..., ::step, ::step].flatten(1).sort(dim=1).values
    index = (share.flatten() * (values.shape[1] - 1)).round().long().clamp(0, values.shape[1] - 1)
    return values.gather(1, index.view(-1, 1)).view(-1, 1, 1, 1)


def soften(field: Tensor, level: Tensor, width: Tensor) -> Tensor:
    """The region above a level of a smooth field, with a soft border about ``width`` pixels wide.

    Field values are divided by the slope of the field, which approximates the distance from the border.

    Returns:
        (B, 1, S, S) in [0, 1]: 0.5 on the border, a logistic step across it.
    """
    across = F.pad(field, (1, 1, 1, 1), mode="replicate")
    dx = (across[..., 1:-1, 2:] - across[..., 1:-1, :-2]) / 2
    dy = (across[..., 2:, 1:-1] - across[..., :-2, 1:-1]) / 2
    slope = (dx.square() + dy.square()).sqrt().clamp(min=2e-3)
    return torch.sigmoid((field - level) / (slope * width))


def region_mask(batch: int, size: int, generator: torch.Generator, *, area: tuple[float, float] = (0.25, 0.75),
                cells: tuple[int, int] = (2, 5), border: tuple[float, float] = (0.7, 3.0)) -> Tensor:
    """Random smooth regions.

    Args:
        area: smallest and largest share of the picture covered by a region.
        cells: as in :func:`smooth_field`.
        border: range of the width of the soft border in pixels.

    Returns:
        (B, 1, S, S) in [0, 1].
    """
    field = smooth_field(batch, size, generator, cells=cells)
    share = 1 - uniform(batch, *area, generator)
    return soften(field, level_at(field, share), uniform(batch, *border, generator))


def gaussian_spread(sigma: Tensor) -> Tensor:
    """Normalised Gaussian kernels, sigma (B, 1, 1, 1) in pixels -> (B, 1, K, K)."""
    squared = _squared_distance(sigma.device)
    kernel = torch.exp(-squared / (2 * sigma.square()))
    return kernel / kernel.sum(dim=(-2, -1), keepdim=True)


def disk_spread(radius: Tensor) -> Tensor:
    """Normalised disks with a soft rim of one pixel, radius (B, 1, 1, 1) in pixels -> (B, 1, K, K): lens blur."""
    kernel = (radius + 0.5 - _squared_distance(radius.device).sqrt()).clamp(0, 1)
    return kernel / kernel.sum(dim=(-2, -1), keepdim=True)


def _squared_distance(device: torch.device) -> Tensor:
    steps = torch.arange(-MAX_REACH, MAX_REACH + 1, device=device, dtype=torch.float32)
    return steps.square().view(-1, 1) + steps.square().view(1, -1)


def convolve_each(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each sample with its own kernel by FFT; borders are replicated.

    Args:
        x: (B, C, H, W).
        kernels: (B, 1, K, K), K = 2 * MAX_REACH + 1, symmetric.

    Returns:
        (B, C, H, W) float32.
    """
    height, width = x.shape[-2:]
    shape = [-(-(side + 2 * MAX_REACH) // 32) * 32 for side in (height, width)]  # sizes with fast transforms
    extra = [full - side - MAX_REACH for full, side in zip(shape, (height, width))]
    with torch.autocast(x.device.type, enabled=False):
        padded = F.pad(x.float(), (MAX_REACH, extra[1], MAX_REACH, extra[0]), mode="replicate")
        spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernels.float(), s=shape)
        spread = torch.fft.irfft2(spectrum, s=shape)
    # The kernel's centre is at MAX_REACH, which shifts the result by the same amount again.
    return spread[..., 2 * MAX_REACH: 2 * MAX_REACH + height, 2 * MAX_REACH: 2 * MAX_REACH + width]


def defocus(x: Tensor, generator: torch.Generator, *, sigma: tuple[float, float] = (1.0, MAX_SIGMA)) -> Tensor:
    """Defocus: a Gaussian of sigma U(1, 5) pixels or the disk with equal spread, drawn for each sample."""
    drawn = uniform(x.shape[0], *sigma, generator)
    disk = disk_spread((2 * drawn).clamp(max=MAX_REACH - 1))  # a disk of radius r has a standard deviation of r/2
    kernels = torch.where(chance(x.shape[0], 0.5, generator), disk, gaussian_spread(drawn))
    return convolve_each(x, kernels).clamp(0, 1)


def random_curve(x: Tensor, knots: Tensor) -> Tensor:
    """Apply a smooth curve through equally spaced knots on [0, 1] to grey values.

    Args:
        x: (B, 1, H, W) in [0, 1].
        knots: (B, K) values of the curve.

    Returns:
        (B, 1, H, W); smoothstep between neighbouring knots.
    """
    count = knots.shape[1]
    place = x.clamp(0, 1) * (count - 1)
    low = place.floor().clamp(max=count - 2)
    t = place - low
    index = low.long().flatten(1)
    start, end = knots.gather(1, index).view_as(x), knots.gather(1, index + 1).view_as(x)
    return start + (end - start) * t * t * (3 - 2 * t)
