"""Training losses of the decomposition (docs/METHOD.md, section 4), as means over the batch."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.defusion import Decomposition
from models.registry import LOSSES


@lru_cache(maxsize=16)
def _blur_matrix(length: int, size: int, sigma: float, device: torch.device) -> Tensor:
    """Gaussian of ``size`` taps with a reflecting border as a linear map (length, length)."""
    x = torch.arange(size, dtype=torch.float64) - size // 2
    taps = torch.exp(-(x**2) / (2 * sigma**2))
    source = (torch.arange(length).view(-1, 1) + torch.arange(size) - size // 2).abs()
    source = torch.where(source < length, source, 2 * (length - 1) - source)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    matrix.scatter_add_(1, source, (taps / taps.sum()).expand(length, -1))
    return matrix.float().to(device)


def gaussian_blur(x: Tensor, size: int = 11, sigma: float = 1.5) -> Tensor:
    """Separable Gaussian with a reflecting border, (B, C, H, W) -> (B, C, H, W), float32.

    Two matrix products: at the sizes of training they are several times faster than a depthwise convolution,
    above all backward, and the border is part of the matrix.
    """
    with torch.autocast(x.device.type, enabled=False):
        rows = _blur_matrix(x.shape[-2], size, sigma, x.device)
        columns = _blur_matrix(x.shape[-1], size, sigma, x.device)
        return rows @ (x.float() @ columns.T)


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity per pixel and channel (Wang et al. 2004).

    Gaussian window of 11 x 11 with sigma 1.5, reflecting border, K1 = 0.01, K2 = 0.03, range 1.

    Args:
        x, y: (B, C, H, W) in [0, 1], H and W of at least 6.

    Returns:
        (B, C, H, W), at most 1.
    """
    c1, c2 = 0.01**2, 0.03**2
    mx, my, mxx, myy, mxy = (gaussian_blur(moment) for moment in (x, y, x * x, y * y, x * y))
    top = (2 * mx * my + c1) * (2 * (mxy - mx * my) + c2)
    bottom = (mx * mx + my * my + c1) * (mxx - mx * mx + myy - my * my + c2)
    return top / bottom


def dssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural dissimilarity, mean of clip((1 - SSIM) / 2, 0, 1); a scalar."""
    return ((1 - ssim_map(x, y)) / 2).clamp(0, 1).mean()


@LOSSES.register("CUDLoss")
class CUDLoss(nn.Module):
    """Loss of common and unique decomposition with masked reconstruction.

    ``20 L1(common) + 10 L1(unique1) + 10 L1(unique2) + 100 L1(fused) + 50 DSSIM(fused) + 2 L1(recon)``. L1 is the
    mean absolute difference over the batch, all pixels and channels. The published code sums over the batch; the
    mean keeps clipping and the mix with stage 2 independent of the batch size.
    """

    def __init__(self, *, common: float = 20.0, unique: float = 10.0, fused: float = 100.0,
                 dssim: float = 50.0, recon: float = 2.0) -> None:
        super().__init__()
        self.common, self.unique, self.fused, self.dssim, self.recon = common, unique, fused, dssim, recon

    def forward(self, out: Decomposition, common: Tensor, unique1: Tensor, unique2: Tensor,
                target: Tensor) -> dict[str, Tensor]:
        """Weighted terms under their published names, and ``total_loss``.

        Args:
            out: the network's output; ``recon`` may be None (its term is then left out).
            common, unique1, unique2: what the decomposition should be, (B, 3, H, W).
            target: the undamaged photograph, (B, 3, H, W).
        """
        fused = out.fused.float()
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
