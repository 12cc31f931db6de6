"""TCK and TCV: a warm target's contrast, kept, lost, turned, and seen in either polarity."""

import math

import numpy as np
import pytest
from scipy import ndimage

from metrics import compute

NAMES = ["TCK", "TCV"]
TARGET = (slice(40, 60), slice(30, 38))  # 20 x 8 pixels, a person


def picture(target: int, ground: int = 60) -> np.ndarray:
    """A flat ground with one target."""
    image = np.full((100, 120), ground, np.uint8)
    image[TARGET] = target
    return image


INFRARED = picture(220)  # contrast 160 levels


@pytest.mark.parametrize(("fused", "kept", "seen"), [
    (220, 1.0, 1.0),  # the infrared picture itself
    (140, 0.5, 0.5),  # half of the contrast
    (60, 0.0, 0.0),  # gone
    (20, -0.25, 0.25),  # darker than the ground: seen, but not warm
    (255, 1.2, 1.2),  # (255 - 60) / 160 = 1.22, clipped
])
def test_contrast_of_one_target(fused, kept, seen):
    values = compute(NAMES, INFRARED, picture(60), picture(fused))
    assert values == pytest.approx({"TCK": kept, "TCV": seen})


def test_on_snow_a_dark_person_is_seen_as_well_as_the_visible_picture_shows_it():
    snow = picture(10, ground=230)  # contrast -220, stronger than the infrared's
    assert compute(NAMES, INFRARED, snow, snow) == pytest.approx({"TCK": -1.0, "TCV": 1.0})
    white_on_white = picture(240, ground=230)
    assert compute(NAMES, INFRARED, snow, white_on_white) == pytest.approx({"TCK": 10 / 160, "TCV": 10 / 220})


def test_the_mean_is_over_targets_and_small_or_faint_ones_do_not_count():
    infrared, fused = INFRARED.copy(), picture(220)
    infrared[10:22, 90:100] = 220
    fused[10:22, 90:100] = 60  # the second target is lost
    infrared[80:84, 80:86] = 255  # 24 pixels: too small
    assert compute(["TCK"], infrared, picture(60), fused)["TCK"] == pytest.approx(0.5)
    infrared[84, 80] = 255  # the 25th
    assert compute(["TCK"], infrared, picture(60), fused)["TCK"] == pytest.approx(1 / 3)
    faint = picture(180, ground=150)
    assert math.isnan(compute(["TCK"], faint, faint, faint)["TCK"])


def test_the_ring_leaves_other_bright_pixels_out():
    beside = INFRARED.copy()
    beside[40:60, 40:48] = 220  # a second person two pixels away: their rings hold only ground
    assert compute(["TCK"], beside, picture(60), beside)["TCK"] == pytest.approx(1.0)
    gone = beside.copy()
    gone[40:60, 40:48] = 60
    assert compute(["TCK"], beside, picture(60), gone)["TCK"] == pytest.approx(0.5)


@pytest.mark.parametrize(("steps", "inside", "kept"), [
    (2, True, 1.0), (3, True, 0.8), (5, False, 0.8), (6, False, 1.0)])
def test_the_ring_lies_three_to_six_pixels_around(steps, inside, kept):
    """A halo of the fused picture counts within the ring alone: not up to two pixels away, not beyond six."""
    target = INFRARED == 220
    around = ndimage.binary_dilation(target, iterations=steps)
    fused = INFRARED.copy()
    fused[around & ~target if inside else ~around] = 220
    got = compute(["TCK"], INFRARED, picture(60), fused)["TCK"]
    assert got == pytest.approx(1.0) if kept == 1.0 else 0.5 < got < kept


def test_only_the_brightest_three_percent_are_targets():
    infrared = INFRARED.copy()
    infrared[70:100, :20] = 170  # 5 % of the picture: warm ground
    fused = INFRARED.copy()
    assert compute(["TCK"], infrared, picture(60), fused)["TCK"] == pytest.approx(1.0)
    infrared[70:100, 10:20] = 60  # 2.5 %: with the person they are 3.8 %
    assert compute(["TCK"], infrared, picture(60), fused)["TCK"] == pytest.approx(1.0)
    infrared[80:100, :10] = 60  # 0.8 %: a target, which is lost
    assert compute(["TCK"], infrared, picture(60), fused)["TCK"] == pytest.approx(0.5)


@pytest.mark.parametrize(("gap", "kept"), [(5, 0.0), (8, 0.5)])
def test_a_ring_of_less_than_ten_pixels_is_none(gap, kept):
    """A target in a frame that is lost; what the frame's gap leaves of the ring is four pixels, or sixteen."""
    infrared = np.full((100, 120), 60, np.uint8)
    infrared[40:60, 40:60] = 220
    infrared[45:55, 45:55] = 60
    infrared[50 - gap // 2:50 - gap // 2 + gap, 55:60] = 60
    infrared[48:53, 48:53] = 220
    fused = np.full_like(infrared, 60)
    fused[48:53, 48:53] = 220
    assert compute(["TCK"], infrared, fused, fused)["TCK"] == pytest.approx(kept)
