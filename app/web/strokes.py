"""The painted mask: brush strokes from the page, drawn as maps of the places where each picture must win."""

from collections.abc import Sequence
from typing import Annotated

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from utils.errors import UserError

ERASER = -1
_LONGEST = 4_000_000  # characters of all strokes
Share = Annotated[float, Field(ge=-1, le=2)]


class Stroke(BaseModel):
    """One stroke; later ones cover earlier ones.

    Attributes:
        picture: index of the picture that must win, in the order of the upload, or ``ERASER``.
        radius: of the brush, as a share of the picture's width.
        points: (x, y) as shares of width and height.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    picture: int = Field(ge=ERASER, lt=255)
    radius: float = Field(gt=0, le=0.5)
    points: list[tuple[Share, Share]] = Field(min_length=1, max_length=20_000)


_STROKES = TypeAdapter(Annotated[list[Stroke], Field(max_length=5_000)])


def read_strokes(text: str) -> list[Stroke]:
    """The strokes of the page's JSON; none for an empty text.

    Raises:
        UserError: not what the page sends.
    """
    if not text:
        return []
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"{len(text)} characters")
        return _STROKES.validate_json(text)
    except (ValidationError, ValueError) as error:
        raise UserError("the painted mask cannot be read; clear it and paint it again") from error


def draw_maps(strokes: Sequence[Stroke], order: Sequence[int], size: tuple[int, int],
              softness: float) -> np.ndarray | None:
    """Where each picture must win.

    Args:
        strokes: in the order of painting.
        order: for each picture to fuse, its place in the upload.
        size: (width, height) of the fused picture.
        softness: width of the soft border, as a share of the picture's width; 0: a hard one.

    Returns:
        (N, H, W) float32 in [0, 1], summing to at most 1 over N: 1 inside the strokes, falling to 0 within half of the
        border on both sides of their edge. None if nothing is painted.
    """
    width, height = size
    label = np.zeros((height, width), np.uint8)  # 0: nothing, i + 1: picture i of the upload
    for stroke in strokes:
        points = np.round(np.array(stroke.points) * (width, height) - 0.5).astype(np.int32)
        thickness = max(1, round(2 * stroke.radius * width))
        cv2.polylines(label, [points], False, stroke.picture + 1, thickness)
        cv2.circle(label, points[0].tolist(), thickness // 2, stroke.picture + 1, cv2.FILLED)
    if not label.any():
        return None
    maps = np.stack([label == place + 1 for place in order]).astype(np.float32)
    window = 2 * round(softness * width / 4) + 1  # two box means: a border of 2 (window - 1) pixels
    for index in range(len(maps) if window > 1 else 0):
        maps[index] = cv2.blur(cv2.blur(maps[index], (window, window)), (window, window))
    return maps.clip(0, 1)
