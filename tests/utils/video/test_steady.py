"""Steady frames: still areas flicker no more than the plain mean of the sources, and what moves leaves no ghost."""

from itertools import pairwise

import numpy as np
import pytest

from models.fuser import Fuser
from models.registry import MODELS
from tests.clips import clip, disk_mask
from utils.pictures.colour import grey_levels
from utils.video.steady import LOOK_BACK, Steady

SIZE = (96, 128)


@pytest.fixture(scope="module")
def head() -> Fuser:
    return Fuser.from_pretrained(device="cpu")


def fused_by(fuser: Fuser, infrared: list, visible: list) -> list[np.ndarray]:
    return fuser.batch(list(zip(infrared, visible)), task="IVF")


def steadied(fused: list, infrared: list, visible: list, look_back: int = LOOK_BACK) -> list[np.ndarray]:
    steady = Steady(look_back)
    return [steady(frame, [one, other]) for frame, one, other in zip(fused, infrared, visible)]


def change(frames: list) -> float:
    """Mean absolute difference of consecutive frames, from the third on: the filter is then filled."""
    greys = [grey_levels(frame).astype(float) for frame in frames[2:]]
    return float(np.mean([np.abs(later - earlier).mean() for earlier, later in pairwise(greys)]))


@pytest.mark.parametrize(("disk", "size"), [(0.0, SIZE), (3.0, (192, 256))])
def test_flicker_is_at_most_that_of_the_mean_and_a_tenth(head: Fuser, disk: float, size: tuple) -> None:
    """A still scene with noise, and something that moves before it; the head by itself flickers more."""
    infrared, visible = clip(6, noise=0.02, disk=disk, size=size)
    sources = (change(infrared) + change(visible)) / 2
    average = change(fused_by(Fuser(MODELS.create("Average"), device="cpu"), infrared, visible)) / sources
    fused = fused_by(head, infrared, visible)
    assert change(fused) / sources > 1.1 * average
    assert change(steadied(fused, infrared, visible)) / sources <= 1.1 * average


def test_no_ghost_lasts_longer_than_two_frames() -> None:
    """A disk moves by its own width with each frame: nothing of it is left where it has just been."""
    infrared, visible = clip(6, disk=20)
    fused = [np.maximum(one, other) for one, other in zip(infrared, visible)]
    result = steadied(fused, infrared, visible)
    for number in range(1, 6):
        there = disk_mask(SIZE, 20 * number) > 0
        assert np.abs(fused[number].astype(int) - fused[number - 1])[there].max() > 100
        assert np.abs(result[number].astype(int) - fused[number]).max() <= 1


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_a_flash_of_the_fused_frame_is_gone_after_two(noise: float) -> None:
    """The sources stand still; one fused frame differs. It is spread over three frames, then it is as never seen."""
    infrared, visible = clip(7, noise=noise)
    plain = [np.maximum(one, other) for one, other in zip(infrared, visible)]
    flash = [*plain[:2], (plain[2] // 2 + 100).astype(np.uint8), *plain[3:]]
    differs = [int((one != other).sum()) for one, other in
               zip(steadied(flash, infrared, visible), steadied(plain, infrared, visible))]
    assert [count > 0 for count in differs] == [False, False, True, True, True, False, False]


def test_a_still_clip_is_the_mean_of_the_fused_frames() -> None:
    infrared, visible = ([one] * 4 for one in (clip(1)[0][0], clip(1)[1][0]))
    fused = [np.full((*SIZE, 3), level, np.uint8) for level in (90, 120, 60, 200)]
    levels = [int(frame[5, 5, 0]) for frame in steadied(fused, infrared, visible)]
    assert levels == [90, 105, 90, 127]  # (120 + 60 + 200) / 3 = 126.7
    assert [int(frame[5, 5, 0]) for frame in steadied(fused, infrared, visible, 1)] == [90, 105, 90, 130]
    assert all(one is other for one, other in zip(steadied(fused, infrared, visible, 0), fused))


def test_a_change_of_one_source_alone_closes_the_gate() -> None:
    infrared, visible = clip(3)
    changed = [*infrared[:2], (infrared[2] // 2 + 90).astype(np.uint8)]
    fused = [np.full((*SIZE, 3), level, np.uint8) for level in (50, 50, 200)]
    assert (steadied(fused, changed, visible)[2] >= 199).mean() > 0.95
    assert (steadied(fused, infrared, visible)[2] == 100).all()


def test_motion_of_everything_is_not_taken_for_noise() -> None:
    infrared, visible = clip(5, pan=4)
    fused = [np.maximum(one, other) for one, other in zip(infrared, visible)]
    left = np.abs(steadied(fused, infrared, visible)[4].astype(int) - fused[4])
    assert np.mean(left > 8) < 0.01 and left.mean() < 1


def test_texture_is_not_taken_for_noise() -> None:
    """Before a still, coarse-grained background, something passes that is fainter than the grain."""
    grain = np.random.default_rng(0).integers(60, 160, (*SIZE, 1), dtype=np.uint8)
    disks = [disk_mask(SIZE, 20 + 20 * number)[..., None] > 0.5 for number in range(4)]
    seen = [grain + np.uint8(25) * disk for disk in disks]
    fused = [np.where(disk, np.uint8(250), grain) for disk in disks]
    result = steadied(fused, seen, seen)
    assert max(np.abs(one.astype(int) - other).max() for one, other in zip(result, fused)) <= 1


def test_grey_frames_and_new_sizes() -> None:
    infrared, visible = clip(2)
    steady = Steady()
    grey = grey_levels(visible[0])[..., None]
    assert np.abs(steady(grey, [infrared[0], visible[0]]).astype(int) - grey).max() <= 1
    small = [one[:64, :64] for one in (infrared[1], visible[1])]
    assert np.array_equal(steady(small[1], small), small[1])
    with pytest.raises(ValueError, match="look_back 3; give 0 to 2"):
        Steady(3)
