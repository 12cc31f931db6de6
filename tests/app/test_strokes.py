"""The painted mask: strokes are drawn where they were painted, later ones cover earlier ones, borders are soft."""

import json

import numpy as np
import pytest

from app.web.strokes import ERASER, Stroke, draw_maps, read_strokes
from utils.errors import UserError


def disk(x: float, y: float, radius: float, size: tuple[int, int]) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    return np.hypot(columns - x, rows - y) <= radius


@pytest.mark.parametrize("size", [(200, 100), (101, 233)])
def test_a_stroke_is_drawn_where_it_was_painted(size: tuple[int, int]) -> None:
    """A dot is a disk, a line a band with round ends; to a pixel."""
    width, height = size
    dot = draw_maps([Stroke(picture=0, radius=0.1, points=[(0.5, 0.5)])], (0, 1), size, 0)[0] > 0
    assert dot[disk(width / 2, height / 2, 0.1 * width - 1.5, size)].all()
    assert not dot[~disk(width / 2, height / 2, 0.1 * width + 1.5, size)].any()
    line = draw_maps([Stroke(picture=1, radius=0.05, points=[(0.2, 0.5), (0.8, 0.5)])], (0, 1), size, 0)
    assert not line[0].any() and line[1][height // 2, round(0.2 * width):round(0.8 * width)].all()
    assert abs(line[1][:, width // 2].sum() - 0.1 * width) <= 2.5
    assert abs(line[1][height // 2].sum() - 0.7 * width) <= 3.5


def test_later_strokes_cover_earlier_ones_and_the_eraser_takes_all() -> None:
    strokes = [Stroke(picture=place, radius=0.2, points=[(0.5, 0.5)]) for place in (0, 2, 1)]
    maps = draw_maps(strokes, (2, 0, 1), (100, 100), 0)
    assert maps[2][50, 50] == 1 and maps[:2].sum() == 0  # painted for place 1, which is third in the order
    eraser = Stroke(picture=ERASER, radius=0.4, points=[(0.5, 0.5)])
    assert draw_maps([*strokes, eraser], (0, 1, 2), (100, 100), 0) is None
    assert draw_maps([], (0, 1), (100, 100), 0.1) is None


def test_the_border_is_as_soft_as_asked() -> None:
    """Exactly 1 inside and 0 outside of a border of 20 pixels around the edge; two neighbours sum to 1 between them."""
    left = Stroke(picture=0, radius=0.25, points=[(0, -0.5), (0, 1.5)])
    row = draw_maps([left], (0, 1), (200, 100), 0.1)[0][50]
    assert row[:40] == pytest.approx(1, abs=1e-6) and not row[61:].any()
    assert (np.diff(row[41:61]) < 0).all() and row[50] == pytest.approx(0.5, abs=0.06)
    right = Stroke(picture=1, radius=0.25, points=[(0.5, -0.5), (0.5, 1.5)])
    both = draw_maps([left, right], (0, 1), (200, 100), 0.1)[:, 50]
    assert both.sum(axis=0)[:130] == pytest.approx(1, abs=1e-5) and both.sum(axis=0).max() < 1 + 1e-5


@pytest.mark.parametrize("text", [
    "no JSON", "{}", '[{"picture": 0}]', json.dumps([{"picture": 0, "radius": 9, "points": [[0, 0]]}]),
    json.dumps([{"picture": 0, "radius": 0.1, "points": []}]), json.dumps([{"picture": 0, "radius": 0.1,
                                                                           "points": [[1e9, 0]]}]),
    json.dumps([{"picture": 0, "radius": 0.1, "points": [[0, 0]], "more": 1}]), " " * 5_000_000])
def test_what_the_page_does_not_send_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="the painted mask cannot be read; clear it and paint it again"):
        read_strokes(text)


def test_strokes_are_read() -> None:
    assert read_strokes("") == []
    assert read_strokes('[{"picture": -1, "radius": 0.1, "points": [[0.5, 1.2], [0, 0]]}]') == [
        Stroke(picture=ERASER, radius=0.1, points=[(0.5, 1.2), (0, 0)])]
