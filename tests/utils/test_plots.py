"""Contact sheets: every picture is there with its aspect kept, any type, bounded, and the headings are drawn."""

import numpy as np
import pytest

from utils.plots import ContactSheet, contact_sheet, thumbnail

RED, GREEN = (255, 0, 0), (0, 255, 0)


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (60, 80)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def area(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width of what has exactly this colour."""
    rows, columns = np.nonzero((sheet == colour).all(-1))
    return rows.max() - rows.min() + 1, columns.max() - columns.min() + 1


def test_pictures_keep_their_aspect():
    """A 60 x 80 picture in a cell of 120 becomes 90 x 120; a tall one is 1.25 cells high at most."""
    sheet = contact_sheet([[flat(RED), flat(GREEN, (200, 50))]], ["pair"], ["wide", "tall"], cell=120)
    assert area(sheet, RED) == (90, 120)
    assert area(sheet, GREEN) == (150, 38)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3


def test_columns_stand_under_each_other():
    """Cells have one width: column 2 begins at the same place in every row, whatever the shapes."""
    rows = [[flat(GREEN), flat(RED)], [flat(GREEN, (80, 60)), flat(RED)]]
    sheet = contact_sheet(rows, ["a", "b"], ["one", "two"], cell=100)
    assert area(sheet, RED)[1] == 100


@pytest.mark.parametrize("picture", [
    np.full((20, 30), 128, np.uint8),
    np.full((20, 30, 1), 128 * 257, np.uint16),
    np.full((20, 30, 3), 128 / 255, np.float32),
    np.full((20, 30, 3), 128 / 255, np.float64),
])
def test_every_type_is_shown_the_same(picture):
    """8 bit, 16 bit and unit floats of one grey value give one thumbnail."""
    small = thumbnail(picture, 30)
    assert small.shape == (20, 30, 3)
    assert (small == 128).all()


def test_values_out_of_range_are_clipped():
    """Overshoot and not-a-number do not wrap around."""
    assert (thumbnail(np.full((8, 8), 1.2), 16) == 255).all()
    assert (thumbnail(np.full((8, 8), -0.2), 16) == 0).all()
    assert (thumbnail(np.full((8, 8), np.nan), 16) == 0).all()


def test_missing_pictures_leave_their_place():
    """None keeps the column's place, a frame in it."""
    sheet = contact_sheet([[None, flat(RED)]], ["pair"], ["common", "fused"], cell=100)
    assert area(sheet, RED) == (75, 100)


def test_rows_beyond_the_cap_are_told():
    """A thousand rows: the sheet stays small, takes rows one at a time, and its foot says what is missing."""
    rows = ([flat(RED)] for _ in range(1000))
    sheet = contact_sheet(rows, (f"pair {n}" for n in range(1000)), ["one"], cell=64, max_rows=5)
    whole = contact_sheet([[flat(RED)]] * 5, [f"pair {n}" for n in range(5)], ["one"], cell=64, max_rows=5)
    assert sheet.shape[0] == whole.shape[0] + 26
    assert (sheet[-40:-14] < 200).any(), "the note is drawn"


def test_text_is_drawn_and_fits():
    """Headings, title and captions leave ink; a very long name is shortened and does not widen the sheet."""
    plain = contact_sheet([[flat(RED)]], [""], [""], cell=200)
    named = contact_sheet([[flat(RED)]], ["x" * 500], ["fused" * 40], cell=200)
    assert named.shape == plain.shape
    assert (named != plain).any()
    broken = contact_sheet([[flat(RED)]], ["a\nb\udcff"], ["fused\r\n"], cell=200, title="run\n1")
    assert (broken == contact_sheet([[flat(RED)]], ["a\ufffdb\ufffd"], ["fused\ufffd\ufffd"], cell=200,
                                    title="run\ufffd1")).all()


def test_a_row_of_the_wrong_length_is_refused():
    """The message names the row and both counts."""
    with pytest.raises(ValueError, match=r"'pair'.*1 pictures for 2 columns"):
        ContactSheet(["a", "b"]).add("pair", [flat(RED)])
    with pytest.raises(ValueError, match="is not a picture"):
        thumbnail(np.zeros((4, 4, 2), np.uint8))
