"""The depth map: the number of the sharp picture, in steps over 16 bits."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from app.depth import depth_map
from benchmarks.stacks import focus_series, motorcycle
from utils.errors import UserError
from utils.pictures.picture import Picture


def test_the_depth_of_a_known_scene_is_found() -> None:
    picture, disparity = (array[::2, ::2].copy() for array in motorcycle())
    series = focus_series(picture, disparity, 5)
    depth = depth_map([Picture(one) for one in series])
    assert set(np.unique(depth)) == {0, 16384, 32768, 49151, 65535}
    planes = np.quantile(disparity, (np.arange(5) + 0.5) / 5)
    truth = np.interp(disparity, planes, np.arange(5))
    assert spearmanr(depth.ravel(), disparity.ravel()).statistic > 0.88
    assert np.mean(np.abs(depth / 65535 * 4 - truth) <= 1) > 0.93


def test_depth_follows_the_order_and_the_first_of_equals() -> None:
    rng = np.random.default_rng(0)
    sharp, flat = (rng.integers(0, 65536, (32, 40, 3)).astype(np.uint16), np.full((32, 40, 3), 9, np.uint16))
    assert np.all(depth_map([Picture(flat), Picture(sharp)]) == 65535)
    assert np.all(depth_map([Picture(sharp), Picture(flat)]) == 0)
    assert np.all(depth_map([Picture(flat), Picture(flat)]) == 0)


def test_more_pictures_than_8_bits_count_are_refused() -> None:
    with pytest.raises(UserError, match="257 pictures; --depth"):
        depth_map([Picture(np.zeros((16, 16, 1), np.uint8))] * 257)
