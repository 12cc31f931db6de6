"""Training losses of the decomposition (docs/METHOD.md, section 4), as means over the batch."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.decomposition import Decomposition
from models.protocol import Truth
from models.registry import LOSSES


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)  # the result is cached, and autograd rejects tensors made in inference mode
def _blur_matrix(length: int, size: int, sigma: float, device: torch.device) -> Tensor:
    """Gaussian of ``size`` taps with a reflecting border as a matrix (length, length)."""
    x = torch.arange(size, dtype=torch.float64) - size // 2
    taps = torch.exp(-(x**2) / (2 * sigma**2))
    source = (torch.arange(length).view(-1, 1) + torch.arange(size) - size // 2).abs()
    source = torch.where(source < length, source, 2 * (length - 1) - source)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    matrix.scatter_add_(1, source, (taps / taps.sum()).expand(length, -1))
    return matrix.float().to(device)


class _BandedProduct(torch.autograd.Function):
    """``rows @ x @ columns.T`` for banded square matrices, on a CPU block by block along the bands.

    Args (of ``apply``):
        x: (N, H, W) float32.
        rows, columns: (H, H) and (W, W), zero where the indices differ by more than ``reach``.
    """

    BLOCK = 32

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor, columns: Tensor, reach: int) -> Tensor:
        ctx.save_for_backward(rows, columns)
        ctx.reach = reach
        return _BandedProduct.product(x, rows, columns, reach)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, columns = ctx.saved_tensors
        return _BandedProduct.product(grad, rows.T, columns.T, ctx.reach), None, None, None

    @staticmethod
    def product(x: Tensor, rows: Tensor, columns: Tensor, reach: int) -> Tensor:
        if not x.is_cpu:
            return rows @ (x @ columns.T)
        x = x.contiguous()
        half, out = torch.empty_like(x), torch.empty_like(x)
        for block, near in _BandedProduct.blocks(x.shape[2], reach):
            torch.mm(x.flatten(0, 1)[:, near], columns[block, near].T, out=half.flatten(0, 1)[:, block])
        for block, near in _BandedProduct.blocks(x.shape[1], reach):
            torch.bmm(rows[block, near].expand(len(x), -1, -1), half[:, near], out=out[:, block])
        return out

    @staticmethod
    def blocks(length: int, reach: int) -> list[tuple[slice, slice]]:
        """Slices of the result, each with the slice of the input that it depends on."""
        starts = range(0, length, _BandedProduct.BLOCK)
        stops = [min(start + _BandedProduct.BLOCK, length) for start in starts]
        return [(slice(start, stop), slice(max(start - reach, 0), min(stop + reach, length)))
                for start, stop in zip(starts, stops)]


def gaussian_blur(x: Tensor, size: int = 11, sigma: float = 1.5) -> Tensor:
    """Separable Gaussian with a reflecting border, (B, C, H, W) -> (B, C, H, W), float32.

    Computed as two matrix products, which include the border. At training sizes they are several times faster than a
    depthwise convolution, especially in the backward pass.
    """
    with torch.autocast(x.device.type, enabled=False):
        rows = _blur_matrix(x.shape[-2], size, sigma, x.device)
        columns = _blur_matrix(x.shape[-1], size, sigma, x.device)
        return _BandedProduct.apply(x.float().flatten(0, 1), rows, columns, size // 2).view(x.shape)


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity per pixel and channel (Wang et al. 2004).

    Gaussian window of 11 x 11 with sigma 1.5, reflecting border, K1 = 0.01, K2 = 0.03, range 1.

    Args:
        x, y: (B, C, H, W) in [0, 1], H and W of at least 6.

    Returns:
        (B, C, H, W), at most 1.
    """
    c1, c2 = 0.01**2, 0.03**2
    mx, my, squares, product = (gaussian_blur(moment) for moment in (x, y, x * x + y * y, x * y))
    mean_product, mean_squares = mx * my, mx * mx + my * my
    top = (2 * mean_product + c1) * (2 * (product - mean_product) + c2)
    bottom = (mean_squares + c1) * (squares - mean_squares + c2)
    return top / bottom


def dssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural dissimilarity, mean of clip((1 - SSIM) / 2, 0, 1); a scalar."""
    return ((1 - ssim_map(x, y)) / 2).clamp(0, 1).mean()


@LOSSES.register("CUDLoss")
class CUDLoss(nn.Module):
    """Loss of common and unique decomposition with masked reconstruction.

    ``20 L1(common) + 10 L1(unique1) + 10 L1(unique2) + 100 L1(fused) + 50 DSSIM(fused) + 2 L1(recon)``. L1 is the
    mean absolute difference over the batch, all pixels and channels. The published code sums over the batch; with the
    mean, gradient clipping and the mix with stage 2 do not depend on the batch size. Source: docs/METHOD.md, section 4.
    """

    takes = Decomposition

    def __init__(self, *, common: float = 20.0, unique: float = 10.0, fused: float = 100.0,
                 dssim: float = 50.0, recon: float = 2.0) -> None:
        super().__init__()
        self.common, self.unique, self.fused, self.dssim, self.recon = common, unique, fused, dssim, recon

    def forward(self, out: Decomposition, sample: Truth) -> dict[str, Tensor]:
        """Weighted terms under their published names, and ``total_loss``.

        Args:
            out: the network's output; without ``recon`` its term is omitted.
            sample: the wanted decomposition.
        """
        common, unique1, unique2 = sample.common, sample.unique1, sample.unique2  # an error for stacks, which have none
        fused, target = out.fused.float(), sample.target
        terms = {
            "self_supervised_common_mix": self.common * F.l1_loss(out.common.float(), common),
            "self_supervised_upper_mix": self.unique * F.l1_loss(out.unique1.float(), unique1),
            "self_supervised_lower_mix": self.unique * F.l1_loss(out.unique2.float(), unique2),
            "self_supervised_fusion_mix":
                self.fused * F.l1_loss(fused, target) + self.dssim * dssim(fused, target),
        }
        if out.recon is not None:
            terms["self_supervised_recon"] = self.recon * F.l1_loss(out.recon.float(), target)
        terms["total_loss"] = sum(terms.values())
        return terms
