"""VIF of batches: visual information fidelity of the fused image to both sources, summed."""

import torch
from torch import Tensor

from metrics.perceptual import SCALES, VIF_NOISE

from .windows import covariance, ratio, slide, total

DULL = 1e-10  # variance that counts as none


def vif(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """VIF (Sheikh, pixel domain, four scales); NaN if a source is constant.

    The calibrated metric recomputes variances below 1e-6 without cancellation. Here they are used as they are: in
    float64 the difference is far below 1e-4.

    Args:
        a, b, f: (B, 1, H, W), 0..255.

    Returns:
        (B,), 0 to about 2.
    """
    kept, given = [0.0, 0.0], [0.0, 0.0]
    pictures = [a, b, f]
    for scale, window in enumerate(SCALES):
        if scale:
            pictures = [slide(x, window.taps)[..., ::2, ::2] for x in pictures]
        *means, mean_f = (slide(x, window.taps) for x in pictures)
        *sources, fused = pictures
        var_f = covariance(fused, fused, mean_f, mean_f, window.taps).clamp(min=0)
        for number, (source, mean) in enumerate(zip(sources, means)):
            var_x = covariance(source, source, mean, mean, window.taps).clamp(min=0)
            cov = covariance(source, fused, mean, mean_f, window.taps)
            kept_map, given_map = _information(var_x, var_f, cov)
            kept[number] = kept[number] + total(kept_map)
            given[number] = given[number] + total(given_map)
    return sum(ratio(above, below) for above, below in zip(kept, given))


def _information(var_x: Tensor, var_f: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """Information of a source that F keeps, and that of the source, at every position of one scale."""
    var_x = torch.where(var_x < DULL, 0, var_x)
    follows = (var_x > 0) & (var_f >= DULL) & (cov >= 0)
    gain = torch.where(follows, cov / (var_x + DULL), 0)
    rest = torch.where(var_f < DULL, 0, var_f - gain * cov).clamp(min=DULL)
    return torch.log(1 + gain * gain * var_x / (rest + VIF_NOISE)), torch.log(1 + var_x / VIF_NOISE)
