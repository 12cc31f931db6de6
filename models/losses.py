"""Training losses of the decomposition (METHOD.md, section 4), as means over the batch."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.defusion import Decomposition
from models.registry import LOSSES


@lru_cache(maxsize=8)
def _gaussian(size: int, sigma: float) -> Tensor:
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    window = torch.exp(-(x**2) / (2 * sigma**2))
    return (window / window.sum()).float()


def gaussian_blur(x: Tensor, size: int = 11, sigma: float = 1.5) -> Tensor:
    """Separable Gaussian of ``size`` taps with a reflecting border; (B, C, H, W) -> (B, C, H, W), float32."""
    channels, pad = x.shape[1], size // 2
    taps = _gaussian(size, sigma).to(x.device, x.dtype)
    x = F.pad(x, (pad, pad, pad, pad), mode="reflect")
    x = F.conv2d(x, taps.view(1, 1, 1, -1).expand(channels, 1, 1, size), groups=channels)
    return F.conv2d(x, taps.view(1, 1, -1, 1).expand(channels, 1, size, 1), groups=channels)


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity per pixel and channel (Wang et al. 2004).

    Gaussian window of 11 x 11 with sigma 1.5, reflecting border, K1 = 0.01, K2 = 0.03, range 1.

    Args:
        x, y: (B, C, H, W) in [0, 1], H and W of at least 6.

    Returns:
        (B, C, H, W), at most 1.
    """
    c1, c2 = 0.01**2, 0.03**2
    channels = x.shape[1]
    # One pass for all five moments: the filter is the cost.
    moments = gaussian_blur(torch.cat([x, y, x * x, y * y, x * y], dim=1))
    mx, my, mxx, myy, mxy = moments.split(channels, dim=1)
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
