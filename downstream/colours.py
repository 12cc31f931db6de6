"""Colours of classes."""

import torch
from torch import Tensor

from data.labels import IGNORED

_BITS = 8


def class_colours() -> Tensor:
    """Colours of the ids 0 to 255, (256, 3) in [0, 1], as in PASCAL VOC.

    Bits 0, 1 and 2 of an id are the highest bits of red, green and blue, the next three the second highest, and so on:
    0 is black. 255, unlabelled, is light grey.
    """
    ids, colours = torch.arange(256), torch.zeros(256, 3, dtype=torch.int64)
    for bit in range(_BITS):
        colours[:, bit % 3] |= (ids >> bit & 1) << (_BITS - 1 - bit // 3)
    colours[IGNORED] = 224
    return colours / 255


def in_colours(ids: Tensor) -> Tensor:
    """Convert class ids (B, H, W) to a picture (B, 3, H, W) in [0, 1]."""
    return class_colours().to(ids.device)[ids.long()].permute(0, 3, 1, 2)
