"""Temperature as colour over the detail of a fused picture, with a colour bar in degrees."""

from __future__ import annotations

import math

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.pictures.colour import luma
from utils.pictures.depth import from_unit
from utils.pictures.picture import Picture, to_unit
from utils.pictures.thermal.scene import Limits, in_limits

# Colours from cold to hot, evenly spaced, or a map of OpenCV.
_PALETTES: dict[str, tuple[tuple[int, int, int], ...] | int] = {
    "iron": ((0, 0, 12), (34, 0, 110), (110, 0, 150), (180, 20, 130), (224, 64, 40), (244, 120, 0), (252, 176, 10),
             (255, 226, 80), (255, 255, 235)),
    "white-hot": ((0, 0, 0), (255, 255, 255)),
    "black-hot": ((255, 255, 255), (0, 0, 0)),
    "rainbow": ((0, 0, 110), (0, 60, 230), (0, 190, 230), (0, 200, 70), (210, 220, 0), (255, 140, 0), (225, 0, 0),
                (255, 190, 190)),
    "turbo": cv2.COLORMAP_TURBO,
}
PALETTES = tuple(_PALETTES)

_LEVELS = 256
# Size of the detail: share of the short side, and least pixels. Of 1/100, 1/40 and 1/15 on five real files, the first
# loses outlines, and the last draws halos.
_DETAIL, _LEAST_DETAIL = 1 / 40, 2.0
_PAPER, _INK = (16, 16, 16), (235, 235, 235)
_LINES, _TEXT = 28, 11  # text lines in the height of a picture, and the smallest text in pixels


def coloured(fused: np.ndarray, celsius: np.ndarray, limits: Limits, palette: str) -> np.ndarray:
    """Show temperatures as colour, with the detail of a fused picture.

    The detail is the luma of the fused picture without its blurred version. It is added to the palette's colours, so
    that their mean over a small area is that of the colour bar.

    Args:
        fused: (H, W, 1 or 3), uint8 or uint16.
        celsius: (H, W) degrees Celsius; where it is NaN, the fused picture is kept.
        limits: temperatures of the palette's first and last colour.
        palette: one of `PALETTES`.

    Returns:
        (H, W, 3) of the type of ``fused``.
    """
    unit = to_unit(Picture(fused))
    light = luma(unit)[0] if len(unit) == 3 else unit[0]
    sigma = max(_LEAST_DETAIL, _DETAIL * min(light.shape))
    detail = light - cv2.GaussianBlur(light, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    steps = np.round(in_limits(celsius, limits) * (_LEVELS - 1)).astype(np.intp)
    shown = np.where(np.isfinite(celsius), colours(palette).T[:, steps] + detail, unit)
    return from_unit(shown, 8 * fused.dtype.itemsize)


def colours(palette: str) -> np.ndarray:
    """The 256 colours of a palette from cold to hot, (256, 3) float32 in [0, 1]."""
    found = _PALETTES[palette]
    if isinstance(found, int):
        ramp = np.arange(_LEVELS, dtype=np.uint8)[:, None]
        return cv2.applyColorMap(ramp, found)[:, 0, ::-1].astype(np.float32) / 255
    stops = np.array(found, np.float32) / 255
    places = np.linspace(0, len(stops) - 1, _LEVELS)
    return np.stack([np.interp(places, np.arange(len(stops)), channel) for channel in stops.T], 1).astype(np.float32)


def with_bar(picture: np.ndarray, limits: Limits, palette: str) -> np.ndarray:
    """Append a colour bar with its degrees to the right of a picture.

    Args:
        picture: (H, W, 3), uint8 or uint16; its pixels keep their positions.
        limits, palette: as in :func:`coloured`.

    Returns:
        (H, W + width of the bar, 3) of the same type.
    """
    height = picture.shape[0]
    size = min(max(_TEXT, round(height / _LINES)), height // 5)
    font = ImageFont.load_default(size)
    marks = {mark: _written(mark, limits) for mark in ticks(limits, most=max(2, height // (3 * size)))}
    widest = math.ceil(max(font.getlength(text) for text in [*marks.values(), "°C"]))
    page = Image.new("RGB", (3 * size + widest, height), _PAPER)
    draw = ImageDraw.Draw(page)
    top, bottom = 2 * size, height - size  # of the bar
    ramp = cv2.resize(colours(palette)[::-1, None], (size, bottom - top), interpolation=cv2.INTER_LINEAR)
    page.paste(Image.fromarray(np.round(ramp * 255).astype(np.uint8)), (size, top))
    draw.text((size, top - size // 2), "°C", fill=_INK, font=font, anchor="ls")
    for mark, text in marks.items():
        y = bottom - 0.5 - (mark - limits[0]) / (limits[1] - limits[0]) * (bottom - top - 1)
        draw.line([(2 * size, y), (2 * size + size // 4, y)], fill=_INK)
        draw.text((2.5 * size, y), text, fill=_INK, font=font, anchor="lm")
    bar = np.asarray(page)
    return np.hstack([picture, bar if picture.dtype == np.uint8 else bar.astype(np.uint16) * 257])


def ticks(limits: Limits, most: int) -> list[float]:
    """Round temperatures within the limits, at steps of 1, 2 or 5 times a power of ten; ``most`` or fewer."""
    low, high = limits
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)][:most]


def _written(mark: float, limits: Limits) -> str:
    """A temperature with as many digits as its scale needs."""
    return f"{mark:.0f}" if limits[1] - limits[0] > 4 else f"{mark:.1f}"
