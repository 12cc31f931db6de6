"""The loss for warm targets: objects bright in infrared should stand out in the fused picture as well.

Shape letters: B pairs, H x W pixels; luma in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

NEAR, WIDE = 8.0, 12.0  # pixels: standard deviations of the surroundings of a target, and of its background
LEAST_HEAT, LEAST_EXCESS = 0.45, 0.12
GUARD = 7  # pixels: gap between a target and its surroundings on each side
WHITE = 0.7  # luma of surroundings above which a target cannot be brighter
FEW = 20.0  # pixels: smaller targets count less


def target_loss(fused: Tensor, infrared: Tensor, visible: Tensor, warm: Tensor | None = None) -> Tensor:
    """Missing contrast of warm targets with their surroundings, (B, 1, H, W) each -> (B,).

    Targets are pixels where the infrared picture is warm and warmer than its background, or those in ``warm``. The
    wanted contrast is at least that of the infrared picture; if the visible picture shows the target dark on bright
    surroundings with a larger contrast, it is that one. The loss is 0 without targets.

    Args:
        fused: luma; the only input that receives gradients.
        infrared, visible: luma of the sources, without noise.
        warm: known targets, in [0, 1].
    """
    with torch.no_grad():
        excess = infrared - blur(infrared, WIDE)
        target = torch.sigmoid((excess - LEAST_EXCESS) / 0.03) * ((infrared - LEAST_HEAT) / 0.15).clamp(0, 1)
        target = target if warm is None else torch.maximum(target, warm)
        outside = 1 - F.max_pool2d((target > 0.3).to(target), GUARD, stride=1, padding=GUARD // 2)
        share = blur(outside, NEAR).clamp(min=1e-3)

    def contrast(image: Tensor) -> tuple[Tensor, Tensor]:
        ground = blur(image * outside, NEAR) / share
        return image - ground, ground

    with torch.no_grad():
        (hot, _), (seen, ground) = contrast(infrared), contrast(visible)
        dark = (ground > WHITE) & (seen < -hot)
        weight = target * (share > 0.05) * (hot > 0.1)
    shown = contrast(fused)[0]
    missing = torch.where(dark, shown - seen, hot - shown).clamp(min=0)
    return (weight * missing).sum(dim=(1, 2, 3)) / (weight.sum(dim=(1, 2, 3)) + FEW)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, 1, H, W), truncated at three standard deviations, border replicated; at half the size."""
    size, sigma = x.shape[-2:], sigma / 2
    x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
    reach = round(3 * sigma)
    steps = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    taps = torch.exp(-steps.square() / (2 * sigma**2))
    taps = taps / taps.sum()
    x = F.conv2d(F.pad(x, (reach, reach, reach, reach), mode="replicate"), taps.view(1, 1, -1, 1))
    x = F.conv2d(x, taps.view(1, 1, 1, -1))
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
