"""`--prefer`: in a band around near objects the wanted side wins, thin ones included; elsewhere nothing changes."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.fuse import main
from app.overlap import winning_maps
from data import simulate
from data.demo import load_photograph
from utils.errors import UserError
from utils.pictures.picture import Picture

BLUR = 5.0
FAST = ["--model", "SaliencePyramid"]


@cache
def occlusion() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """A bright object and a pole, blurred together with their opacity, before a dark scene.

    Returns:
        The pictures, near in focus and far in focus; the truth; the opacity (H, W).
    """
    back = load_photograph("rocket")
    size = back.shape[:2]
    front = 0.55 + 0.45 * cv2.resize(load_photograph("cat"), size[::-1])
    outlines = [simulate.ellipse((0.5, 0.6), (0.2, 0.3)), [(0.2, 0.1), (0.215, 0.1), (0.215, 0.95), (0.2, 0.95)]]
    opacity = np.maximum(*(simulate.soft_region(outline, size, 0.7) for outline in outlines))
    cover = opacity[..., None]
    near = cover * front + (1 - cover) * simulate.disk_blur(back, BLUR)
    far = (simulate.disk_blur(front * cover, BLUR)
           + (1 - simulate.disk_blur(opacity, BLUR)[..., None]) * back)
    truth = cover * front + (1 - cover) * back
    return [simulate.to_bytes(one) for one in (near, far)], simulate.to_bytes(truth), opacity


def share_of_near(fused: np.ndarray, where: np.ndarray) -> float:
    """How much of the near picture there is in the result, by least squares: 1 is near, 0 is far."""
    near, far = (one.astype(float)[where] for one in occlusion()[0])
    return float(((fused[where] - far) * (near - far)).sum() / ((near - far) ** 2).sum())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What the command makes of it, by side."""
    folder = tmp_path_factory.mktemp("overlap")
    for name, picture in zip(("1.png", "2.png"), occlusion()[0]):
        cv2.imwrite(str(folder / name), picture[..., ::-1])
    results = {}
    for side in ("none", "near", "far"):
        out = folder / f"{side}.png"
        asked = ["--prefer", side] if side != "none" else []
        assert main([str(folder / "1.png"), str(folder / "2.png"), "--task", "MFF", "-o", str(out), *FAST,
                     *asked]) == 0
        results[side] = cv2.imread(str(out))[..., ::-1].astype(float)
    return results


def distances() -> tuple[np.ndarray, np.ndarray]:
    """Distance from the near objects outside of them, and from their outline inside."""
    inside = occlusion()[2] >= 0.5
    return tuple(cv2.distanceTransform(one.astype(np.uint8), cv2.DIST_L2, 5) for one in (~inside, inside))


def test_the_wanted_side_wins_around_the_outline(results: dict[str, np.ndarray]) -> None:
    outside, inside = distances()
    around, within = (outside > 0) & (outside <= BLUR), (inside > 0) & (inside <= BLUR)
    shares = {side: (share_of_near(fused, around), share_of_near(fused, within)) for side, fused in results.items()}
    assert min(shares["near"]) > 0.97 and max(shares["far"]) < 0.15
    assert shares["none"][0] < 0.9 and shares["none"][1] > 0.9


def test_elsewhere_the_result_stays(results: dict[str, np.ndarray]) -> None:
    outside, inside = distances()
    elsewhere = np.maximum(outside, inside) > 4 * BLUR
    for side in ("near", "far"):
        moved = np.abs(results[side] - results["none"])[elsewhere]
        assert (moved > 8).mean() < 0.005


def test_equal_steps_and_slopes_change_nothing() -> None:
    picture = Picture(occlusion()[1])
    assert not winning_maps([picture, picture], "near").any()
    flat = np.full((64, 96, 3), 128, np.uint8)
    sharp = np.random.default_rng(0).integers(0, 256, flat.shape, dtype=np.uint8)
    columns = np.arange(96) * 5 // 96
    slope = [Picture(np.where(columns[None, :, None] == number, sharp, flat)) for number in range(5)]
    assert not winning_maps(slope, "near").any() and not winning_maps(slope, "far").any()
    jump = [slope[0], slope[4], *(Picture(flat) for _ in range(3))]  # from the first to the second of five: a slope
    assert not winning_maps(jump, "near").any()
    jump = [slope[0], Picture(flat), slope[1], Picture(flat), Picture(flat)]
    near, far = winning_maps(jump, "near"), winning_maps(jump, "far")
    assert near[0].max() > 0.9 and far[2].max() > 0.9 and not near[1:].any() and not far[:2].any()


def test_where_there_is_no_order_or_no_focus_it_is_a_users_mistake(tmp_path: Path, capsys) -> None:
    for number, level in enumerate((40, 200)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.random.default_rng(0).integers(level, level + 40, (48, 64, 3)))
    files = [str(tmp_path / "0.png"), str(tmp_path / "1.png")]
    fast = ["-o", str(tmp_path / "x.png"), "--prefer", "near", "--model", "Average"]
    assert main([*files, *fast]) == 2
    assert "has no depth; --prefer; give --task MFF" in capsys.readouterr().err
    with pytest.raises(UserError, match="a folder has no order; --prefer; give the files"):
        main([str(tmp_path), *fast])
    assert not (tmp_path / "x.png").exists()
