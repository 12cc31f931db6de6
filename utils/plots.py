"""Contact sheets: many thumbnails on one page, with headings and captions."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.pictures.depth import to_8_bit

MAX_ROWS = 32
CELL = 224

_TALLEST = 1.25       # greatest height of a portrait picture, in cell widths
_MARGIN = 16
_GAP = 6
_CAPTION = 22
_HEADING = 26
_PAPER = (250, 250, 248)
_INK = (34, 34, 38)
_PENCIL = (120, 120, 126)
_FRAME = (224, 224, 222)


class ContactSheet:
    """A contact sheet built row by row. Stores only thumbnails, so that hundreds of pairs fit in memory.

    Args:
        column_titles: one heading per column.
        cell: width of a cell in pixels; pictures keep their aspect ratio and are centred in it.
        title: heading of the sheet.
        max_rows: further rows are only counted; their number is printed on the sheet.
    """

    def __init__(self, column_titles: Sequence[str], *, cell: int = CELL, title: str = "",
                 max_rows: int = MAX_ROWS) -> None:
        if cell < 16 or max_rows < 1:
            raise ValueError(f"ContactSheet: cell={cell}, max_rows={max_rows}; give at least 16 and 1")
        self.column_titles = list(column_titles)
        self.cell, self.title, self.max_rows = cell, title, max_rows
        self.total = 0
        self._rows: list[tuple[str, list[np.ndarray | None]]] = []

    @property
    def full(self) -> bool:
        """Whether further rows are only counted."""
        return len(self._rows) >= self.max_rows

    def add(self, title: str, pictures: Sequence[np.ndarray | None]) -> None:
        """Add a row.

        Args:
            title: caption of the row.
            pictures: one per column, None for an empty cell: (H, W), (H, W, 1) or (H, W, 3) RGB; uint8, uint16
                or float in [0, 1]. Thumbnails are accepted too.

        Raises:
            ValueError: the number of pictures differs from the number of columns.
        """
        if len(pictures) != len(self.column_titles):
            raise ValueError(f"contact sheet, row {title!r}: {len(pictures)} pictures for "
                             f"{len(self.column_titles)} columns; give None where there is none")
        self.total += 1
        if not self.full:
            self._rows.append((title, [None if p is None else thumbnail(p, self.cell) for p in pictures]))

    def render(self) -> np.ndarray:
        """The sheet as (H, W, 3) uint8 RGB."""
        columns = max(len(self.column_titles), 1)
        heights = [max((p.shape[0] for p in row if p is not None), default=self.cell // 2)
                   for _, row in self._rows]
        width = max(2 * _MARGIN + columns * self.cell + (columns - 1) * _GAP, 240)
        top = _MARGIN + (_HEADING + 6 if self.title else 0) + _HEADING
        foot = _HEADING if self.total > len(self._rows) else 0
        height = top + sum(h + _CAPTION + _GAP for h in heights) + foot + _MARGIN
        page = Image.new("RGB", (width, height), _PAPER)
        draw = ImageDraw.Draw(page)
        self._draw_head(draw, width, top)
        y = top
        for (caption, row), row_height in zip(self._rows, heights):
            y = self._draw_row(page, draw, y, row_height, caption, row)
        if foot:
            note = f"the first {len(self._rows)} of {self.total} rows"
            draw.text((_MARGIN, y + 4), note, fill=_PENCIL, font=_font(13))
        return np.asarray(page)

    def _draw_head(self, draw: ImageDraw.ImageDraw, width: int, top: int) -> None:
        if self.title:
            font = _font(18, bold=True)
            draw.text((_MARGIN, _MARGIN), _elide(self.title, font, width - 2 * _MARGIN), fill=_INK, font=font)
        font = _font(13, bold=True)
        for column, title in enumerate(self.column_titles):
            centre = _MARGIN + column * (self.cell + _GAP) + self.cell / 2
            text = _elide(title, font, self.cell)
            draw.text((centre, top - _HEADING + 8), text, fill=_INK, font=font, anchor="ma")

    def _draw_row(self, page: Image.Image, draw: ImageDraw.ImageDraw, y: int, height: int, caption: str,
                  row: Sequence[np.ndarray | None]) -> int:
        """Draw a row at ``y`` and return the position of the next one."""
        font = _font(12)
        draw.text((_MARGIN, y + 4), _elide(caption, font, page.width - 2 * _MARGIN), fill=_PENCIL, font=font)
        y += _CAPTION
        for column, picture in enumerate(row):
            x = _MARGIN + column * (self.cell + _GAP)
            if picture is None:
                draw.rectangle((x, y, x + self.cell - 1, y + height - 1), outline=_FRAME)
                draw.text((x + self.cell / 2, y + height / 2), "none", fill=_PENCIL, font=font, anchor="mm")
                continue
            h, w = picture.shape[:2]
            page.paste(Image.fromarray(picture), (x + (self.cell - w) // 2, y + (height - h) // 2))
        return y + height + _GAP


def contact_sheet(rows: Iterable[Sequence[np.ndarray | None]], row_titles: Iterable[str],
                  column_titles: Sequence[str], *, cell: int = CELL, title: str = "",
                  max_rows: int = MAX_ROWS) -> np.ndarray:
    """A page of thumbnails: one row per pair, one column per kind (inputs, components, fused).

    Args:
        rows: pictures in the form of :meth:`ContactSheet.add`. With a generator, only one row of full-size
            pictures is in memory at a time.
        row_titles, column_titles: captions and headings.
        cell: width of a cell in pixels.
        title: heading of the sheet.
        max_rows: further rows are only counted; their number is printed on the sheet.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    sheet = ContactSheet(column_titles, cell=cell, title=title, max_rows=max_rows)
    for row, row_title in zip(rows, row_titles):
        sheet.add(row_title, row)
    return sheet.render()


def thumbnail(picture: np.ndarray, cell: int = CELL) -> np.ndarray:
    """Fit a picture into ``cell`` x 1.25 ``cell`` (width x height), keeping its aspect ratio; (h, w, 3) uint8 RGB.

    Raises:
        ValueError: not a grey or RGB picture.
    """
    pixels = picture[..., None] if picture.ndim == 2 else picture
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
        raise ValueError(f"thumbnail: shape {picture.shape} is not a picture; give (H, W) or (H, W, 1 or 3)")
    height, width = pixels.shape[:2]
    scale = min(cell / width, _TALLEST * cell / height)
    size = (max(1, min(cell, round(width * scale))), max(1, round(height * scale)))
    enlarging = cv2.INTER_NEAREST if scale >= 3 else cv2.INTER_LINEAR
    method = cv2.INTER_AREA if scale < 1 else enlarging
    small = cv2.resize(_to_bytes(pixels), size, interpolation=method).reshape(size[1], size[0], -1)
    return np.ascontiguousarray(np.broadcast_to(small, (size[1], size[0], 3)))


def _to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Convert uint8, uint16 or float in [0, 1] to 8 bits; NaN becomes black."""
    if pixels.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(to_8_bit(pixels))
    scaled = np.nan_to_num(np.asarray(pixels, np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return np.floor(scaled.clip(0, 1) * 255 + 0.5).astype(np.uint8)


@lru_cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as bundled with matplotlib: covers most alphabets and is the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def _elide(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Shorten a text in the middle until it fits: both ends of a file name help to identify it.

    Line breaks and undecodable bytes are shown as replacement characters.
    """
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2:]
        if font.getlength(short) <= width:
            return short
    return "…"
