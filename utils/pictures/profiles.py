"""Brings the pictures of one scene into one colour space, by their colour profiles (ICC)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from utils.pictures.notes import note_once
from utils.pictures.picture import Picture

_RELATIVE, _BLACK_POINT = 1, 0x2000  # LittleCMS: intent relative colorimetric, flag of black point compensation
_ALIKE = 2 * 257  # profiles whose colours differ by less than two of 255 levels count as one
_STEPS = 9


def in_one_space(pictures: Sequence[Picture]) -> list[Picture]:
    """Convert colour pictures to the colour space of the first one, or of the first that is not infrared.

    A picture without a profile counts as sRGB, as viewers take it. Profiles that mean the same colours convert nothing.
    Grey pictures are returned unchanged. Conversions are noted in the log.
    """
    colour = [one for one in pictures if not one.is_grey]
    first = next((one for one in colour if one.role != "infrared"), None)
    if first is None or all(_profile(one) == _profile(first) for one in colour):
        return list(pictures)
    return [one if one.is_grey or one is first else _converted(one, first) for one in pictures]


def _converted(picture: Picture, first: Picture) -> Picture:
    source, target = _profile(picture), _profile(first)
    if source == target or _mean_the_same(source, target):
        return picture
    try:
        pixels = _transform(picture.pixels, source, target)
    except RuntimeError as error:  # imagecodecs.CmsError
        note_once(f"{picture.path}: colours stay as stored, as its profile or that of {first.path} is damaged "
                  f"({error})", f"damaged profile {picture.path}")
        return picture
    note_once(f"{picture.path}: converted from {_name(source)} to {_name(target)}, the colour space of {first.path}; "
              "further pictures with these profiles likewise", f"profiles {hash(source)} {hash(target)}")
    return replace(picture, pixels=pixels, metadata=replace(picture.metadata, icc=target))


def _profile(picture: Picture) -> bytes | None:
    return picture.metadata.profile_for(3)


@lru_cache(32)
def _mean_the_same(one: bytes | None, other: bytes | None) -> bool:
    """Whether two profiles mean the same colours, on a grid of them; False if one is damaged."""
    steps = np.linspace(0, 65535, _STEPS).astype(np.uint16)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(_STEPS, -1, 3)
    try:
        moved = _transform(grid, one, other)
    except RuntimeError:
        return False
    return int(np.abs(moved.astype(int) - grid).max()) < _ALIKE


def _transform(pixels: np.ndarray, source: bytes | None, target: bytes | None) -> np.ndarray:
    """Convert (H, W, 3) ``uint8`` or ``uint16`` from one profile to another; None is sRGB.

    By imagecodecs' LittleCMS: Pillow's converts 8 bits only.

    Raises:
        RuntimeError: a damaged profile.
    """
    import imagecodecs

    standard = imagecodecs.cms_profile("srgb") if None in (source, target) else b""
    return imagecodecs.cms_transform(pixels, source or standard, target or standard, colorspace="rgb",
                                     outcolorspace="rgb", intent=_RELATIVE, flags=_BLACK_POINT)


def _name(profile: bytes | None) -> str:
    if profile is None:
        return "sRGB"
    from PIL import ImageCms

    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip() or "a profile"
    except (ImageCms.PyCMSError, OSError):
        return "a profile"
