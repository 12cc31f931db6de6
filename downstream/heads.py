"""Segmentation heads for maps of strides 4, 8, 16 and 32.

They use GroupNorm instead of BatchNorm, so that results do not depend on batch size or number of devices.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

_GROUPS = 8
_DROPOUT = 0.1
POOLS = (1, 2, 3, 6)


def conv(channels: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution, GroupNorm and ReLU at constant size. ``width`` is a multiple of 8."""
    return nn.Sequential(nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
                         nn.GroupNorm(_GROUPS, width), nn.ReLU())


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Resize bilinearly to the height and width of another map."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class PyramidHead(nn.Module):
    """A light head: feature pyramid (Lin et al. 2017) with enlarged and summed levels, a convolution and a classifier.

    Args:
        channels: channels of the four maps, finest first.
        classes: number of classes.
        width: internal channels.
    """

    def __init__(self, channels: Sequence[int], classes: int, *, width: int = 128) -> None:
        super().__init__()
        self.pyramid = FeaturePyramidNetwork(list(channels), width)
        self.mix = conv(width, width, 3)
        self.drop = nn.Dropout2d(_DROPOUT)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (B, classes, h, w) of the finest map's size."""
        levels = list(self.pyramid({str(level): x for level, x in enumerate(maps)}).values())
        x = sum((resize(level, levels[0]) for level in levels[1:]), levels[0])
        return self.classify(self.drop(self.mix(x)))


class UperHead(nn.Module):
    """The published head: UPerNet (Xiao et al. 2018, arXiv 1807.10221), with pooled context on the coarsest map.

    Args:
        channels: channels of the four maps, finest first.
        classes: number of classes.
        width: internal channels; published: 128.
    """

    def __init__(self, channels: Sequence[int], classes: int, *, width: int = 128) -> None:
        super().__init__()
        *finer, coarsest = channels
        self.pools = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(pool), conv(coarsest, width, 1))
                                   for pool in POOLS)
        self.context = conv(coarsest + len(POOLS) * width, width, 3)
        self.laterals = nn.ModuleList(conv(count, width, 1) for count in finer)
        self.smooth = nn.ModuleList(conv(width, width, 3) for _ in finer)
        self.mix = conv(len(channels) * width, width, 3)
        self.drop = nn.Dropout2d(_DROPOUT)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (B, classes, h, w) of the finest map's size."""
        *finer, coarsest = maps
        x = self.context(torch.cat([coarsest, *(resize(pool(coarsest), coarsest) for pool in self.pools)], dim=1))
        levels = [x]
        for lateral, smooth, level in zip(reversed(self.laterals), reversed(self.smooth), reversed(finer)):
            level = lateral(level)
            x = level + resize(x, level)
            levels.append(smooth(x))
        x = torch.cat([resize(level, levels[-1]) for level in reversed(levels)], dim=1)
        return self.classify(self.drop(self.mix(x)))
