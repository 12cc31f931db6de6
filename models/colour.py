"""Selects the channels to fuse, and the colour of the result; for NumPy and PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from utils.arrays import library_of
from utils.errors import UserError
from utils.pictures.colour import luma
from utils.pictures.ycbcr import rgb_to_ycbcr

if TYPE_CHECKING:
    from utils.arrays import Array

COLORS = ("ycbcr", "rgb", "gray")


def known_word(kind: str, word: str | None, known: tuple[str, ...]) -> str | None:
    """The word as spelt in ``known``, matched without regard to case; None is returned unchanged.

    Raises:
        UserError: unknown word.
    """
    if word is None:
        return None
    spelt = {name.lower(): name for name in known}.get(str(word).lower())
    if spelt is None:
        raise UserError(f"fuse: {kind} {word!r} is unknown; known: {', '.join(known)}")
    return spelt


def default_color(task: str | None, *pictures: Array) -> str:
    """The default colour mode: gray for grey pictures, ycbcr for infrared with visible, else rgb.

    Args:
        task: IVF, MEF or MFF. If None, a grey and a colour picture count as infrared and visible.
        *pictures: (C, H, W), with one channel if and only if the picture is grey.
    """
    colours = {x.shape[0] for x in pictures}
    if colours == {1}:
        return "gray"
    if task == "IVF" or (task is None and colours == {1, 3}):
        return "ycbcr"
    return "rgb"


def as_rgb(x: Array) -> Array:
    """Three channels of a picture (C, H, W)."""
    return library_of(x).broadcast_to(x, (3, *x.shape[1:])) if x.shape[0] == 1 else x


def as_grey(x: Array) -> Array:
    """One channel of a picture (C, H, W): its luma."""
    return x if x.shape[0] == 1 else luma(x)


def merge_chroma(pictures: Sequence[Array], task: str | None = None) -> Array:
    """Cb and Cr of the result, (2, H, W) centred on 0.5.

    Grey pictures have no influence. If infrared and visible are both in colour, the chroma of the visible (second)
    picture is used. For other pictures, each pixel and channel is the mean weighted by the distance from grey, so
    that a dark or clipped area does not fade the colour of the other picture (Prabhakar et al., DeepFuse, arXiv
    1712.07384).

    Args:
        pictures: each (C, H, W) in [0, 1], C is 1 or 3, at least one of them with 3.
        task: IVF, MEF or MFF.
    """
    coloured = [rgb_to_ycbcr(x)[1:] for x in pictures if x.shape[0] == 3]
    if len(coloured) == 1 or task == "IVF":
        return coloured[-1]
    offsets = library_of(coloured[0]).stack(coloured) - 0.5
    weights = abs(offsets)
    return (weights * offsets).sum(0) / weights.sum(0).clip(1e-6, None) + 0.5
