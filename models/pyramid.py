"""Laplacian pyramids and the salience rule, as small pure functions.

A pyramid is a list of ``levels`` bands, finest first, and a base. Its sum is the picture for any choice of filter, so
only the *mixing* determines the fused picture. The salience rule weights each band of each image by its local energy,

    E = boxmean(mean over channels of |band|) + floor,    w = softmax over images of (gain * ln E),

which for two images is ``sigmoid(gain * (ln E1 - ln E2))``.

Shape letters: N images of one scene, B pictures per batch, C channels, H x W pixels of the level. All functions keep
device and dtype and accept any H, W >= 1.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.tracing import is_exporting

LEVELS = 5
WINDOW = 5
GAIN = 8.0
FLOOR = 0.002
EXPOSURE_CENTRE = 0.5
EXPOSURE_WIDTH = 0.2
EXPOSURE_FLOOR = 0.01
EXPOSURE_LEVELS = 6


def shrink(image: Tensor) -> Tensor:
    """Binomial 1-4-6-4-1 blur with replicated border, then every second pixel.

    Args:
        image: (B, C, H, W), float.

    Returns:
        (B, C, ceil(H / 2), ceil(W / 2)).
    """
    padded = F.pad(image, (2, 2, 2, 2), mode="replicate")
    return _binomial_of_second_rows(_binomial_of_second_rows(padded).mT).mT.contiguous()


def _binomial_of_second_rows(padded: Tensor) -> Tensor:
    """1-4-6-4-1 mean along the rows at every second row; (..., H + 4, W) -> (..., ceil(H / 2), W).

    Computed from sums of slices: a depthwise convolution takes five times the time and memory on a CPU.
    """
    if is_exporting():  # slices of unknown sizes take the exporter minutes
        taps = padded.new_tensor([1 / 16, 1 / 4, 0.375, 1 / 4, 1 / 16]).view(1, 1, 5, 1)
        return F.conv2d(padded.flatten(0, 1).unsqueeze(1), taps, stride=(2, 1)).squeeze(1).unflatten(
            0, padded.shape[:2])
    inside = padded.shape[-2] - 4
    one, two, three, four, five = (padded[..., tap:tap + inside:2, :] for tap in range(5))
    return (one + five) / 16 + (two + four) / 4 + three * 0.375


def enlarge(image: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear enlargement of (B, C, h, w) to ``size`` = (H, W), pixel areas aligned."""
    return F.interpolate(image, size=tuple(size), mode="bilinear", align_corners=False)


def enlarge_stack(stack: Tensor, size: Sequence[int]) -> Tensor:
    """:func:`enlarge` for N images of B scenes: (N, B, C, h, w) -> (N, B, C, H, W)."""
    return enlarge(stack.flatten(0, 1), size).unflatten(0, stack.shape[:2])


def gaussian_pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """A picture and its ``levels`` halvings by :func:`shrink`: (B, C, H, W) -> ``levels + 1`` tensors, finest first."""
    pictures = [image]
    for _ in range(levels):
        pictures.append(shrink(pictures[-1]))
    return pictures


def collapse_pyramid(pyramid: Sequence[Tensor]) -> Tensor:
    """Sum of a pyramid: the inverse of :func:`build_pyramids`, up to rounding."""
    image = pyramid[-1]
    for band in reversed(pyramid[:-1]):
        image = enlarge(image, band.shape[-2:]) + band
    return image


def build_pyramids(images: Sequence[Tensor], levels: int = LEVELS) -> list[Tensor]:
    """Laplacian pyramids of N images of one scene, built in one pass.

    Args:
        images: N tensors (B, C, H, W) of equal shape, float.
        levels: number of bands; a level of one pixel is kept as it is.

    Returns:
        ``levels`` bands, finest first, then the bases: ``levels + 1`` tensors (N, B, C, h, w).

    Raises:
        ValueError: no image, shapes differ, or ``levels`` is not positive.
    """
    if levels < 1:
        raise ValueError(f"build_pyramids: levels={levels}; give at least 1")
    if not images:
        raise ValueError("build_pyramids: no image given; give at least one")
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) != 1:
        raise ValueError(f"build_pyramids: shapes {sorted(shapes)} differ; give images of one shape")
    gaussian, bands = laplacian_pyramids(torch.stack(tuple(images)), levels)
    return [*bands, gaussian[-1]]


def gaussian_pyramids(stack: Tensor, levels: int) -> list[Tensor]:
    """Gaussian pyramids of N images of B scenes: (N, B, C, H, W) -> ``levels + 1`` tensors, finest first."""
    return [level.unflatten(0, stack.shape[:2]) for level in gaussian_pyramid(stack.flatten(0, 1), levels)]


def laplacian_pyramids(stack: Tensor, levels: int) -> tuple[list[Tensor], list[Tensor]]:
    """(N, B, C, H, W) -> :func:`gaussian_pyramids`, and the ``levels`` bands between its levels, finest first."""
    gaussian = gaussian_pyramids(stack, levels)
    bands = [fine - enlarge_stack(coarse, fine.shape[-2:]) for fine, coarse in pairwise(gaussian)]
    return gaussian, bands


def blend(stack: Tensor, weights: Tensor, levels: int) -> Tensor:
    """Mix of N images whose weights grow smoother with the coarseness of the band (Burt and Adelson 1983).

    Args:
        stack: (N, B, C, H, W).
        weights: (N, B, 1, H, W), summing to 1 over N.
        levels: bands; coarser structure is mixed as one.

    Returns:
        (B, C, H, W).
    """
    gaussian, bands = laplacian_pyramids(stack, levels)
    return collapse_pyramid([mix(*level) for level in zip([*bands, gaussian[-1]],
                                                          gaussian_pyramids(weights, levels))])


def box_mean(image: Tensor, window: int) -> Tensor:
    """Mean over ``window`` x ``window`` pixels (odd), replicate border; (B, C, H, W) -> same shape."""
    margin = window // 2
    padded = F.pad(image, (margin, margin, margin, margin), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(padded, (window, 1), stride=1), (1, window), stride=1)


def band_energy(band: Tensor, window: int = WINDOW, floor: float = FLOOR) -> Tensor:
    """Local energy of a band, one map for all channels.

    Args:
        band: (..., C, H, W) of images in [0, 1].
        window: side of the box mean, odd, in pixels of this level.
        floor: energy that counts as no structure; keeps the logarithm finite and suppresses noise.

    Returns:
        (..., 1, H, W), at least ``floor``.
    """
    magnitude = band.abs().mean(dim=-3, keepdim=True)
    return box_mean(magnitude.flatten(0, -4), window).view_as(magnitude) + floor


def band_logits(bands: Tensor, gain: float | Tensor = GAIN, window: int = WINDOW,
                floor: float = FLOOR) -> Tensor:
    """``gain * ln E`` of each image's band: (N, B, C, h, w) -> (N, B, 1, h, w).

    A learned head adds its corrections before :func:`mixing_weights`. With two images, the logit of the first is the
    difference ``logits[0] - logits[1]``.
    """
    return gain * band_energy(bands, window, floor).log()


def mixing_weights(logits: Tensor) -> Tensor:
    """Softmax over the N images (dimension 0): weights in [0, 1] that sum to 1 at each pixel."""
    return logits.softmax(dim=0)


def mix(bands: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over the N images: (N, B, C, h, w) by (N, B, 1 or C, h, w) -> (B, C, h, w)."""
    return (bands * weights).sum(dim=0)


def average_base(bases: Tensor) -> Tensor:
    """Plain mean of the N bases: (N, B, C, h, w) -> (B, C, h, w)."""
    return bases.mean(dim=0)


def exposure_logits(bases: Tensor, centre: float = EXPOSURE_CENTRE, width: float = EXPOSURE_WIDTH,
                    floor: float = EXPOSURE_FLOOR) -> Tensor:
    """Logarithm of how well each base is exposed: ``ln(exp(-(m - centre)^2 / (2 width^2)) + floor)``.

    Args:
        bases: (N, B, C, h, w) of images in [0, 1]; m is their mean over channels.
        floor: share kept by the worst exposed image; bounds the logit where all images are far from mid grey.

    Returns:
        (N, B, 1, h, w); :func:`mixing_weights` of it are the normalised weights.
    """
    mean = bases.mean(dim=-3, keepdim=True)
    return ((-(mean - centre).square() / (2 * width**2)).exp() + floor).log()
