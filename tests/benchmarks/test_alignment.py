"""What the benchmark of alignment counts: distances in pixels, what was believed, pairs of different places."""

import numpy as np
import pytest

from benchmarks import alignment
from data import simulate
from utils.pictures.alignment.geometry import enlargement, translation

SIZE = (301, 201)


def test_a_shift_is_the_same_everywhere_and_a_scale_is_largest_at_the_corners() -> None:
    assert alignment.errors(translation(3, 4), np.eye(3), SIZE) == pytest.approx((5, 5))
    assert alignment.errors(translation(3, 4), translation(3, 4), SIZE) == pytest.approx((0, 0))
    about_the_centre = translation(150, 100) @ np.diag([1.01, 1.01, 1]) @ translation(-150, -100)
    over, ends = alignment.errors(about_the_centre, np.eye(3), SIZE)
    assert ends == pytest.approx(0.01 * np.hypot(150, 100)) and 0.5 * ends < over < 0.7 * ends
    magnified = enlargement(2, 2)  # an error of 2 pixels of the moved picture is 1 of the reference
    assert alignment.errors(translation(2, 0) @ magnified, magnified, SIZE)[1] == pytest.approx(1)


def test_a_row_counts_found_refused_and_falsely_believed() -> None:
    tally = alignment.Tally()
    for over, ends, believed, own in ((1, 1, True, 0.5), (2, 3, False, None), (3, 9, True, 1.5), (4, 9, False, None)):
        tally.add((over, ends), believed=believed, own=own)
    assert tally.row("a", "b") == "| a | b | 2.50 | 6.00 | 25 % | 50 % | 25 % | 1.00 | 4 |"
    others = alignment.Tally()
    others.add((1, 1))
    assert others.row("a") == "| a | 1.00 | 1.00 | 100 % |  |  |  | 1 |"
    assert alignment.HEADING.count("|") == others.row("a", "b", "c").count("|")


def test_moving_and_finding_are_each_others_inverse() -> None:
    rng = np.random.default_rng(0)
    truth = alignment.Range("", 0.05, 3, 1.1).draw(SIZE, rng)
    y, x = np.mgrid[:201, :301]
    smooth = (0.5 + 0.25 * np.sin(x / 20) + 0.25 * np.cos(y / 15)).astype(np.float32)
    back = alignment.move(alignment.move(smooth, truth), np.linalg.inv(truth))
    assert np.abs(back - smooth)[60:-60, 60:-60].max() < 0.01


def test_noise_is_drawn_and_none_leaves_the_picture() -> None:
    grey, rng = np.full((200, 200), 0.5, np.float32), np.random.default_rng(0)
    assert alignment.noisy(grey, 0, rng) is grey
    assert alignment.noisy(grey, 0.04, rng).std() == pytest.approx(0.04, rel=0.02)


def test_strangers_are_of_different_places_and_are_not_believed() -> None:
    rng = np.random.default_rng(0)  # below 96 pixels nothing is aligned, which is quick
    scenes = [("kind", place, *(simulate.to_bytes(rng.random((64, 80, 1))) for _ in range(2))) for place in "aab"]
    assert alignment.strangers(scenes, 3, rng).startswith("0 of 3 pairs of different places believed; highest")
    assert alignment.strangers(scenes, 99, rng).startswith("0 of 4 pairs")  # a-b twice, b-a twice
