"""Warm targets in the fused picture: at least as bright as in the infrared picture.

The band with the stronger contrast wins in a pyramid, so a dark coat hides a warm person. This rule lifts warm targets
to their infrared brightness,

    fused + share s max(infrared - fused, 0)
    s = sigmoid((infrared - its mean around - .2) / .04) clip((infrared - .4) / .2, 0, 1)
        sigmoid((infrared - ground - max(ground - fused, 0) / 2) / .03),    ground = fused mean around

in luma, with Gaussian means of 40 and 20 pixels standard deviation. The last factor leaves a dark target alone if
lifting would halve its contrast: on snow a person is better dark than white. It assumes that warm is bright. (Ours: not
part of the published method.)

Shape letters: B scenes.
"""

import torch
from torch import Tensor

from models import pyramid
from models.targets import blur
from utils.pictures.colour import luma

WIDE, NEAR = 40.0, 20.0  # standard deviations in pixels
EXCESS, SOFTNESS = 0.2, 0.04
LEAST, SPAN = 0.4, 0.2
MARGIN = 0.03
DARK = 0.5  # value of a target that is darker than its surroundings, against one that is brighter


def surroundings_of(infrared: Tensor, fused: Tensor, stride: int) -> Tensor:
    """Means around each pixel: (B, 3, h, w) twice -> (B, 2, h, w).

    Args:
        infrared, fused: the pictures, reduced by ``stride``.
    """
    return torch.cat([blur(luma(infrared), WIDE / stride), blur(luma(fused), NEAR / stride)], dim=1)


def lift_targets(fused: Tensor, infrared: Tensor, surroundings: Tensor, share: float = 1.0) -> Tensor:
    """Lift the warm targets of a fused picture, or of a part of it.

    Args:
        fused, infrared: (B, 3, H, W) in [0, 1]; an infrared picture of zeros changes nothing.
        surroundings: from :func:`surroundings_of`.
        share: of the missing brightness that is added.
    """
    heat, shown = luma(infrared), luma(fused)
    around, ground = pyramid.enlarge(surroundings, heat.shape[-2:]).split(1, dim=1)
    target = torch.sigmoid((heat - around - EXCESS) / SOFTNESS) * ((heat - LEAST) / SPAN).clamp(0, 1)
    gain = heat - ground - DARK * (ground - shown).clamp(min=0)
    target = pyramid.box_mean(target * torch.sigmoid(gain / MARGIN), 3)
    return fused + share * target * (heat - shown).clamp(min=0)
