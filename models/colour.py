"""Which channels of two pictures are fused, and whose colour the result has."""

from collections.abc import Sequence

import torch
from torch import Tensor

from utils.errors import UserError
from utils.pictures.colour import luma
from utils.pictures.ycbcr import rgb_to_ycbcr

COLORS = ("ycbcr", "rgb", "gray")
TASKS = ("IVF", "MEF", "MFF")


def known_word(kind: str, word: str | None, known: tuple[str, ...]) -> str | None:
    """The word as it is spelt in ``known``, whatever its case; None stays None.

    Raises:
        UserError: it is not one of them.
    """
    if word is None:
        return None
    spelt = {name.lower(): name for name in known}.get(str(word).lower())
    if spelt is None:
        raise UserError(f"fuse: {kind} {word!r} is unknown; known: {', '.join(known)}")
    return spelt


def default_color(task: str | None, *pictures: Tensor) -> str:
    """How pictures are fused when nobody says: grey pictures as they are, infrared with visible as ycbcr, else rgb.

    Args:
        task: one of ``TASKS``. Not given: grey with colour is taken for infrared with visible.
        *pictures: (C, H, W), one channel exactly if the picture is grey.
    """
    colours = {x.shape[0] for x in pictures}
    if colours == {1}:
        return "gray"
    if task == "IVF" or (task is None and colours == {1, 3}):
        return "ycbcr"
    return "rgb"


def as_rgb(x: Tensor) -> Tensor:
    """Three channels of a picture (C, H, W)."""
    return x.expand(3, -1, -1) if x.shape[0] == 1 else x


def as_grey(x: Tensor) -> Tensor:
    """One channel of a picture (C, H, W): its luma."""
    return x if x.shape[0] == 1 else luma(x)


def merge_chroma(pictures: Sequence[Tensor], task: str | None = None) -> Tensor:
    """Cb and Cr of the result, (2, H, W) centred on 0.5.

    Grey pictures add none. Of infrared and visible, both in colour, those of the visible, which is the second. Of
    any other pictures, for each pixel and channel the mean weighted by the distance from grey, so that a dark or
    burnt place does not fade the colour that its partner shows (Prabhakar et al., DeepFuse, arXiv 1712.07384).

    Args:
        pictures: each (C, H, W) in [0, 1], C 1 or 3, at least one of them with 3.
        task: one of ``TASKS``.
    """
    coloured = [rgb_to_ycbcr(x)[1:] for x in pictures if x.shape[0] == 3]
    if len(coloured) == 1 or task == "IVF":
        return coloured[-1]
    offsets = torch.stack(coloured) - 0.5
    weights = offsets.abs()
    return (weights * offsets).sum(0) / weights.sum(0).clamp(min=1e-6) + 0.5
