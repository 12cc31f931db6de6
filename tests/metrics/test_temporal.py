"""Flicker, BiSWE and MS2R have the values that known motion and known changes give."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from metrics.temporal import TemporalScores
from utils.errors import UserError

HEIGHT, WIDTH = 96, 128


def texture(seed: int = 0) -> np.ndarray:
    """(160, 256) smooth enough for an optical flow, levels 40 to 200."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((160, 256)), (0, 0), 2)
    return cv2.normalize(noise, None, 40, 200, cv2.NORM_MINMAX).astype(np.float32)


def view(x: float, picture: np.ndarray | None = None, add: float = 0.0) -> np.ndarray:
    """A camera's view, its left edge at column ``x`` + 16 of the texture."""
    matrix = np.float32([[1, 0, x + 16], [0, 1, 16]])
    seen = cv2.warpAffine(texture() if picture is None else picture, matrix, (WIDTH, HEIGHT),
                          flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    return np.clip(np.rint(seen + add), 0, 255).astype(np.uint8)


def scores(a: list[np.ndarray], b: list[np.ndarray], fused: list[np.ndarray]) -> dict[str, float]:
    video = TemporalScores()
    for frames in zip(a, b, fused):
        video.add(*frames)
    return video.result()


def test_a_still_video_has_no_error_and_no_flicker_is_defined() -> None:
    still = [view(0)] * 4
    found = scores(still, still, still)
    assert found["BiSWE"] == found["MS2R"] == 0 and np.isnan(found["flicker"])


def test_flicker_is_the_change_of_the_fused_frame_over_the_mean_change_of_the_sources() -> None:
    a, b, fused = ([view(0, add=step * number) for number in range(4)] for step in (2, 6, 3))
    assert scores(a, b, fused)["flicker"] == pytest.approx(3 / 4)


def test_biswe_of_a_flash_is_its_height_from_both_sides() -> None:
    """Still sources, and a fused frame that is brighter by 12: 12 to either neighbour, 24 in the middle frame.

    Its neighbours see it from one side. Means over the three inner frames of five.
    """
    still = [view(0)] * 5
    flash = [view(0, add=12.0 * (number == 2)) for number in range(5)]
    assert scores(still, still, flash)["BiSWE"] == pytest.approx((12 + 24 + 12) / 3, abs=1.5)
    step = [view(0, add=12.0 * (number > 0)) for number in range(3)]
    assert scores(still[:3], still[:3], step)["BiSWE"] == pytest.approx(12, abs=1.5)
    assert scores(still[:3], still[:3], step[::-1])["BiSWE"] == pytest.approx(12, abs=1.5)
    colour = [np.repeat(frame[..., None], 3, axis=2) for frame in flash]
    for frame, grey in zip(colour, flash):
        frame[..., 0] = view(0)  # one channel does not flash: two thirds are left
        assert frame.shape == (*grey.shape, 3)
    assert scores(still, still, colour)["BiSWE"] == pytest.approx(2 / 3 * 16, abs=1.5)


def test_motion_that_the_flow_follows_is_no_error() -> None:
    moving = [view(3 * number) for number in range(5)]
    found = scores(moving, moving, moving)
    assert found["BiSWE"] < 2 and found["MS2R"] == 0
    assert np.mean([np.abs(one.astype(float) - other).mean() for one, other in pairwise(moving)]) > 10


def test_biswe_leaves_out_what_the_sources_flows_do_not_agree_on() -> None:
    """One source is new noise in the left half of each frame; there the fused frames may flicker as they like."""
    rng = np.random.default_rng(1)
    still = [view(0)] * 4
    broken, fused = [frame.copy() for frame in still], [frame.copy() for frame in still]
    for number in range(4):
        broken[number][:, :64] = rng.integers(0, 256, (HEIGHT, 64))
        fused[number][:, :40] += np.uint8(25 * (number % 2))
    assert scores(still, still, fused)["BiSWE"] > 5
    assert scores(still, broken, fused)["BiSWE"] < 0.6 * scores(still, still, fused)["BiSWE"]


@pytest.mark.parametrize(("which", "share"), [("both", 1.0), ("one", 0.5)])
def test_ms2r_is_the_difference_of_accelerations(which: str, share: float) -> None:
    """Sources at constant speed; the fused video is faster by 2 pixels in its second step.

    That is 2 of x and 0 of y, so 1 as the mean of both components; half of it if one source does the same.
    """
    even, jumping = [view(-2.0 * number) for number in range(3)], [view(-x) for x in (0.0, 2.0, 6.0)]
    found = scores(even, even if which == "both" else jumping, jumping)["MS2R"]
    assert found == pytest.approx(share * 1.0, abs=0.12)


def test_too_few_frames_give_nan() -> None:
    one, two = scores(*[[view(0)]] * 3), scores(*[[view(0), view(1)]] * 3)
    assert all(np.isnan(value) for value in one.values())
    assert two["flicker"] == 1 and np.isnan(two["BiSWE"]) and np.isnan(two["MS2R"])


def test_frames_that_do_not_fit_are_one_line() -> None:
    video = TemporalScores()
    video.add(view(0), view(0), view(0))
    for frames in ([view(0)[:50]] * 3, [view(0), view(0), view(0)[:50]], [view(0).astype(np.float32)] * 3,
                   [view(0)[:9, :9]] * 3):
        with pytest.raises(UserError, match="give uint8 frames of one size from 16 x 16") as mistake:
            video.add(*frames)
        assert "\n" not in str(mistake.value)


def test_fused_videos_are_scored_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The infrared video has half the frames, the sources an odd side that the fused video lacks."""
    pytest.importorskip("av", reason="videos need PyAV (extra video)")
    from metrics.videos import main
    from tests.clips import clip, write_clip

    infrared, visible = clip(6, size=(97, 128), noise=0.02)
    a = write_clip(tmp_path / "a.mkv", infrared[::2], rate=5, codec="ffv1", form="gray")
    b = write_clip(tmp_path / "b.mkv", visible, rate=10, codec="ffv1", form="bgr0")
    fused = [write_clip(tmp_path / f"{name}.mkv", [frame[:96] for frame in frames], rate=10, codec="ffv1", form="bgr0")
             for name, frames in (("own", visible), ("still", visible[:1] * 6))]
    call = ["--a", str(a), "--b", str(b), "--fused"]
    assert main([*call, *map(str, fused)]) == 0
    head, own, still = capsys.readouterr().out.splitlines()
    assert head.split() == ["video", "flicker", "BiSWE", "MS2R"]
    assert float(still.split()[1]) == float(still.split()[2]) == 0 < float(own.split()[1])
    held = [infrared[number // 2 * 2][:96] for number in range(6)]
    expected = scores(held, [frame[:96] for frame in visible], [frame[:96] for frame in visible])
    assert [float(word) for word in own.split()[1:]] == pytest.approx(list(expected.values()), abs=2e-4)
    with pytest.raises(UserError, match=r"a\.mkv has 128 x 97 pixels, .*small\.mkv 64 x 48; give sources aligned"):
        main([*call, str(write_clip(tmp_path / "small.mkv", clip(1, size=(48, 64))[1]))])
