"""Metrics of grey levels and of neighbouring pixels: EN, MI, SD, CC, SCD, AG, SF.

Arguments are grey levels (B, 1, H, W) in 0..255; results are (B,). Definitions: docs/METRICS.md.
"""

import torch
from torch import Tensor

from metrics.information import LN2

from .inputs import precision, whole
from .windows import ratio, root, total

NO_SPREAD = 1e-12  # variance in levels² that rounding may leave of a constant picture


def _entropy(codes: Tensor, count: int) -> Tensor:
    """Entropy in bits of each row of codes in 0..count-1: (B, n) to (B,)."""
    offsets = torch.arange(len(codes), device=codes.device)[:, None] * count
    counts = torch.bincount((codes + offsets).flatten(), minlength=len(codes) * count).view(len(codes), count)
    return torch.special.entr(counts.to(precision(codes.device)) / codes.shape[1]).sum(1) / LN2


def _codes(levels: Tensor) -> Tensor:
    return whole(levels.detach()).flatten(1).long()


def en(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """EN: entropy of the fused image, bits. A histogram: no gradient."""
    return _entropy(_codes(f), 256)


def mi(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """MI: I(A, F) + I(B, F), nats. A histogram: no gradient."""
    fused, bits = _codes(f), 0.0
    for source in (_codes(a), _codes(b)):
        bits = bits + _entropy(source, 256) + _entropy(fused, 256) - _entropy(source * 256 + fused, 65536)
    return bits * LN2


def sd(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """SD: standard deviation over all pixels."""
    return root(_spread(_centred(f), _centred(f)))


def _centred(x: Tensor) -> Tensor:
    return x - x.mean((1, 2, 3), keepdim=True)


def _spread(x: Tensor, y: Tensor) -> Tensor:
    """Covariance over each picture of two batches without their means."""
    return total(x * y) / x[0].numel()


def _pearson(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's r of each picture; NaN, with no gradient, where one is constant."""
    x, y = _centred(x), _centred(y)
    of_x, of_y = _spread(x, x), _spread(y, y)
    return ratio(_spread(x, y), root(of_x) * root(of_y), (of_x > NO_SPREAD) & (of_y > NO_SPREAD))


def cc(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """CC: mean of r(A, F) and r(B, F); NaN if one is constant."""
    return (_pearson(a, f) + _pearson(b, f)) / 2


def scd(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """SCD: r(F - B, A) + r(F - A, B); NaN if F differs from a source by a constant, or a source is constant."""
    return _pearson(f - b, a) + _pearson(f - a, b)


def ag(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """AG: average gradient, divided by (H - 1)(W - 1)."""
    (dx,), (dy,) = (torch.gradient(f, dim=side) for side in (-1, -2))
    return total(root((dx * dx + dy * dy) / 2)) / ((f.shape[-1] - 1) * (f.shape[-2] - 1))


def sf(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """SF: spatial frequency; both sums divided by the number of pixels."""
    return root(sum(total(f.diff(dim=side).square()) for side in (-1, -2)) / f[0].numel())
