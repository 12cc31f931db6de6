"""Applies the full-resolution head to large pictures part by part, with the result of the whole and bounded memory.

The coarser bands need the whole picture, but only at an eighth of its resolution. The pictures are therefore
processed twice: first to compute the input of the coarser bands and, after these are decided, for the finer bands and
the fused picture. A pixel of a fine band depends on pixels within ``REACH``, so each part is processed with a margin
of that width. Parts start at multiples of 8 pixels, so that their pyramids are parts of the whole pyramid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.corrections import FINE_BANDS
from models.head_parts import Coarse, Handover, HRDecomposition, Spread, Told

STRIDE = 2**FINE_BANDS
REACH = 88  # pixels, the sum of all filter radii; a multiple of STRIDE
LARGEST = 5 * 2**20  # pixels of all pictures processed at once; each takes about 200 bytes
AREA = LARGEST // 2  # the same for a part; smaller, so that the allocator reuses memory between parts


@dataclass(frozen=True)
class Part:
    """A rectangle of a picture with a margin.

    Attributes:
        rows, columns: the rectangle.
        seen_rows, seen_columns: the rectangle with a margin of up to ``REACH`` pixels on every side.
    """

    rows: slice
    columns: slice
    seen_rows: slice
    seen_columns: slice

    def seen(self, x: Tensor, stride: int = 1) -> Tensor:
        """The part of (..., H / stride, W / stride) with its margin."""
        return x[..., _scaled(self.seen_rows, stride), _scaled(self.seen_columns, stride)]

    def own(self, x: Tensor, stride: int = 1) -> Tensor:
        """The rectangle without the margin, cut from a result of :meth:`seen`."""
        top, left = (seen.start for seen in (self.seen_rows, self.seen_columns))
        rows, columns = (slice(side.start - start, side.stop - start)
                         for side, start in ((self.rows, top), (self.columns, left)))
        return x[..., _scaled(rows, stride), _scaled(columns, stride)]

    def place(self, whole: Tensor, stride: int = 1) -> Tensor:
        """The rectangle as a view of (..., H / stride, W / stride)."""
        return whole[..., _scaled(self.rows, stride), _scaled(self.columns, stride)]


def _scaled(pixels: slice, stride: int) -> slice:
    return slice(pixels.start // stride, -(-pixels.stop // stride))


def split(height: int, width: int, area: int, reach: int = REACH) -> list[Part]:
    """Split a picture into parts of about ``area`` pixels each, including margins.

    Args:
        height, width: multiples of ``STRIDE``.
    """
    side = max(int(area**0.5) - 2 * reach, 2 * reach)
    return [Part(rows, columns, _around(rows, height, reach), _around(columns, width, reach))
            for rows in _pieces(height, side) for columns in _pieces(width, side)]


def _pieces(length: int, side: int) -> Iterator[slice]:
    step = -(-length // -(-length // side))
    step += -step % STRIDE
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _around(pixels: slice, length: int, reach: int) -> slice:
    return slice(max(pixels.start - reach, 0), min(pixels.stop + reach, length))


def wants_parts(pictures: Sequence[Tensor]) -> bool:
    """Whether pictures (B, 3, H, W) are too large to process at once and have sides that can be split."""
    height, width = pictures[0].shape[-2:]
    return sum(x[:, 0].numel() for x in pictures) > LARGEST and height % STRIDE == 0 and width % STRIDE == 0


def fuse_in_parts(head, pictures: Sequence[Tensor], told: Told, *, components: bool = True,
                  shares: bool = False) -> HRDecomposition:
    """Fuse large pictures part by part.

    Args:
        head: a ``FusionHead`` without maps.
        pictures: (B, 3, H, W) in [0, 1], H and W multiples of ``STRIDE``.
        told: roles and task.
        components: whether to compute the components of a pair.
        shares: whether to compute the overall weights of the pictures.

    Returns:
        The fused picture, the components and the overall weights, without the weights of the bands.
    """
    height, width = pictures[0].shape[-2:]
    network = told.focus is not None and len(pictures) > 2  # of the choice, which needs more memory for a pixel
    area = AREA // 2 if network else AREA
    parts = split(height, width, area // sum(len(x) for x in pictures))
    coarse = head.settle(_gather(head, pictures, told, parts), told)
    components = components and len(pictures) == 2
    spread = coarse.spread((height, width)) if components or shares else None
    names = ("fused", "common", "unique1", "unique2") if components else ("fused",)
    results = {name: torch.empty_like(pictures[0], dtype=torch.float32) for name in names}
    if shares:
        results["shares"] = results["fused"].new_empty(len(pictures[0]), len(pictures), height, width)
    for part in parts:
        seen = [part.seen(x) for x in pictures]
        out = head.mix(seen, head.see(seen, told), _part_of(coarse, part), told, components=components, shares=shares,
                       spread=spread and Spread(part.seen(spread.total), part.seen(spread.norm)))
        for name, result in results.items():
            part.place(result).copy_(part.own(getattr(out, name)))
    return HRDecomposition(*(results.get(name) for name in ("common", "unique1", "unique2", "fused")),
                           shares=results.get("shares"))


def _gather(head, pictures: Sequence[Tensor], told: Told, parts: list[Part]) -> Handover:
    """Collect the input of the coarser bands for the whole picture."""
    height, width = pictures[0].shape[-2:]
    whole: dict[str, Tensor] = {}
    for part in parts:
        handover = head.see([part.seen(x) for x in pictures], told).handover()
        for name, value in vars(handover).items():
            if value is None:
                continue
            if name not in whole:
                whole[name] = value.new_empty(*value.shape[:-2], height // STRIDE, width // STRIDE)
            part.place(whole[name], STRIDE).copy_(part.own(value, STRIDE))
    return Handover(**whole)


def _part_of(coarse: Coarse, part: Part) -> Coarse:
    """The part of the coarser bands needed by the finer bands of a part."""
    names = ("fused", "deep", "decision", "votes", "regions", "surroundings", "exposed")
    whole = {name: getattr(coarse, name) for name in names}
    return replace(coarse, **{name: None if x is None else part.seen(x, STRIDE) for name, x in whole.items()})
