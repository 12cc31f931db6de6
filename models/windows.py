"""Applies a network with fixed windows to pictures of any size: split, run in batches, blend.

The padding is the published one (reflection by 16 on every side, then at the right and bottom up to a multiple of 16);
windows and blending are ours. Memory is bounded by a batch of windows and one sum of the results. Arrays are of NumPy
or PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from utils.arrays import as_float32, library_of

if TYPE_CHECKING:
    from utils.arrays import Array

MARGIN = 16
MULTIPLE = 16
# Padding that moves the windows by fractions of their side, and the patches by half a patch: not at all, in both
# directions, down, across.
GRIDS = ((0, 0), (56, 104), (104, 48), (48, 72))


def reflect_index(length: int, before: int, after: int, like: Array) -> Array:
    """Indices of a row of ``length`` pixels, reflected as often as needed without repeating the edge.

    Args:
        like: an array of the kind and device wanted.
    """
    library = library_of(like)
    index = library.arange(-before, length + after, device=like.device)
    if length == 1:
        return library.zeros_like(index)
    period = 2 * (length - 1)
    index = index % period
    return library.where(index < length, index, period - index)


def reflect_pad(x: Array, top: int, bottom: int, left: int, right: int) -> Array:
    """Reflect padding of (..., H, W) by any number of pixels, for pictures of any size."""
    rows = reflect_index(x.shape[-2], top, bottom, x)
    columns = reflect_index(x.shape[-1], left, right, x)
    return x[..., rows, :][..., columns]


def pad_picture(x: Array, shift: tuple[int, int] = (0, 0)) -> Array:
    """The published padding of (..., H, W): ``MARGIN`` on every side, then right and bottom up to a multiple of 16.

    Args:
        shift: additional pixels at the top and left.
    """
    top, left = MARGIN + shift[0], MARGIN + shift[1]
    bottom = MARGIN + (-(x.shape[-2] + top + MARGIN)) % MULTIPLE
    right = MARGIN + (-(x.shape[-1] + left + MARGIN)) % MULTIPLE
    return reflect_pad(x, top, bottom, left, right)


def window_starts(length: int, size: int, overlap: int, step: int = 1) -> list[int]:
    """Evenly spaced starts of windows of ``size`` that cover ``length`` and overlap by about ``overlap``.

    Args:
        length, size: multiples of ``step``.
        step: all starts are multiples of this.
    """
    if length <= size:
        return [0]
    count = -(-(length - size) // (size - overlap)) + 1
    return [round(i * (length - size) / (count - 1) / step) * step for i in range(count)]


def _ramp(size: int, overlap: int, like: Array) -> Array:
    """Weights of a window along one axis: a smooth rise over the overlap, 1 inside, never 0."""
    library = library_of(like)
    position = library.arange(size, dtype=library.float32, device=like.device) + 0.5
    if overlap == 0:
        return library.ones_like(position)
    edge = library.minimum(position, size - position)
    return library.sin(library.pi / 2 * (edge / overlap).clip(None, 1)) ** 2


def _batches(items: list, count: int) -> Iterator[list]:
    for start in range(0, len(items), count):
        yield items[start : start + count]


def run_windows(
    run: Callable[[Array], Array],
    image: Array,
    *,
    size: int = 224,
    overlap: int = 64,
    batch: int = 16,
    shift: tuple[int, int] = (0, 0),
    stride: int = 1,
) -> Array:
    """Apply a network to a picture of any size.

    Args:
        run: (B, C, h, w) -> (B, K, h / stride, w / stride); h and w are multiples of 16, at most ``size``.
        image: (C, H, W).
        size, overlap: side of the windows and smallest overlap of neighbours, in pixels.
        batch: windows per call of ``run``.
        shift: additional padding at the top and left, which shifts the window and patch grid; multiples of
            ``stride``.
        stride: pixels of the picture per pixel of the result, a divisor of 16.

    Returns:
        (K, ceil(H / stride), ceil(W / stride)), float32, on the device of ``image``.
    """
    height, width = image.shape[-2:]
    padded = pad_picture(image, shift)
    rows, columns = padded.shape[-2:]
    h, w = min(size, rows), min(size, columns)
    corners = [(y, x) for y in window_starts(rows, h, overlap, stride)
               for x in window_starts(columns, w, overlap, stride)]
    if len(corners) == 1:
        total = as_float32(run(padded[None])[0])
    else:
        total = _blend(run, padded, corners, (h, w), overlap, batch, stride)
    top, left = ((MARGIN + side) // stride for side in shift)
    return total[:, top : top - (-height // stride), left : left - (-width // stride)]


def run_grids(run: Callable[[Array], Array], image: Array, *, grids: int = 1, **windows: int) -> Array:
    """The mean of :func:`run_windows` over positions of the windows and patches.

    Borders of patches and of windows lie elsewhere in each, so that a network's steps there fade, as does what it makes
    of a window's other contents. Four grids take four to six times the time of one: moved windows are more.

    Args:
        run, image: as in :func:`run_windows`.
        grids: number of positions, 1 to 4.
        **windows: further arguments of :func:`run_windows`.
    """
    total = run_windows(run, image, shift=GRIDS[0], **windows)
    for shift in GRIDS[1:grids]:
        total += run_windows(run, image, shift=shift, **windows)
    return total / grids


def _blend(run: Callable[[Array], Array], image: Array, corners: list[tuple[int, int]], window: tuple[int, int],
           overlap: int, batch: int, stride: int) -> Array:
    """Weighted mean of the results of the windows, (K, H / stride, W / stride)."""
    library = library_of(image)
    size = [side // stride for side in window]
    weight = _ramp(size[0], overlap // stride, image)[:, None] * _ramp(size[1], overlap // stride, image)
    total = norm = None
    for group in _batches(corners, batch):
        out = run(library.stack([image[:, y : y + window[0], x : x + window[1]] for y, x in group]))
        if total is None:
            sides = [side // stride for side in image.shape[-2:]]
            total, norm = (library.zeros((*channels, *sides), dtype=library.float32, device=image.device)
                           for channels in ((out.shape[1],), ()))
        for (y, x), result in zip(group, as_float32(out)):
            place = (..., slice(y // stride, y // stride + size[0]), slice(x // stride, x // stride + size[1]))
            total[place] += weight * result
            norm[place] += weight
    total /= norm
    return total
