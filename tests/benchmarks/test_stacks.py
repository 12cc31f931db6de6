"""Stacks with a known answer: sharp at the plane in focus, blurred by the distance from it; two by two is a tree."""

import cv2
import numpy as np

from benchmarks import stacks
from models.fuser import Fuser
from models.zoo import create_model


def texture(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_focus_series_is_sharp_at_its_plane_and_blurred_by_the_distance_from_it() -> None:
    picture, disparity = texture(), np.zeros((48, 64), np.float32)
    disparity[:, 32:] = 8
    far, near = stacks.focus_series(picture, disparity, 2)
    blurred = np.rint(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 2.0)).astype(np.uint8)
    assert np.array_equal(far, np.where(disparity[..., None] == 0, picture, blurred))
    assert np.array_equal(near, np.where(disparity[..., None] == 8, picture, blurred))


def test_planes_lie_at_even_quantiles() -> None:
    disparity = np.tile(np.arange(64, dtype=np.float32), (48, 1))
    for count in (3, 5, 9):
        series = stacks.focus_series(texture(), disparity, count)
        errors = [np.abs(one.astype(int) - texture()).mean(axis=(0, 2)) for one in series]
        expected = np.quantile(np.arange(64), (np.arange(count) + 0.5) / count)
        assert np.allclose([int(error.argmin()) for error in errors], expected, atol=2)


def test_a_bracket_goes_from_dark_to_bright_around_the_photograph() -> None:
    series = stacks.bracket(np.full((33, 65, 3), 0.5, np.float32), 5)
    centre = [int(picture[16, 32, 0]) for picture in series]  # the uneven light is 0 there
    assert abs(centre[2] - 127.5) < 2
    assert centre == sorted(centre) and centre[0] < 75 and centre[-1] > 200
    assert series[2][16, 0, 0] < 80 and series[2][16, -1, 0] > 200


def test_in_pairs_fuses_two_by_two() -> None:
    pictures = [np.full((16, 16, 3), value, np.uint8) for value in (0, 100, 200)]
    fused = [Fuser(model, device="cpu")(*pictures).fused for model in (
        stacks.InPairs(create_model("Average")), create_model("Average"))]
    assert [int(picture[0, 0, 0]) for picture in fused] == [125, 100]


def test_one_tone_curve_keeps_the_order_of_light_everywhere() -> None:
    photograph = np.repeat(np.random.default_rng(0).random((33, 65, 1), dtype=np.float32), 3, axis=2)
    light = photograph**2.2 * np.exp2(stacks._light(photograph))[..., None]
    shown = stacks.toned(photograph)[np.argsort(light[..., 0], axis=None) // 65,
                                     np.argsort(light[..., 0], axis=None) % 65, 0].astype(int)
    assert (np.diff(shown) >= 0).all() and (shown[0], shown[-1]) == (0, 255)


def test_the_best_picture_at_each_pixel_bounds_what_a_choice_can_reach() -> None:
    truth = texture()
    half = truth.copy()
    half[:, 32:] = 255 - truth[:, 32:]
    other = truth.copy()
    other[:, :32] = 255 - truth[:, :32]
    assert np.array_equal(stacks.best_of(stacks.Stack(truth, [half, other])), truth)


def test_a_table_has_a_row_for_each_method_and_the_bound(capsys, monkeypatch) -> None:
    monkeypatch.setattr(stacks, "COUNTS", (2, 3))
    kind = stacks.Kind("Waves", "MFF", lambda count: [stacks.Stack(texture(), [texture()] * count)] * 2)
    stacks.table(kind, {"first": lambda pictures, task: pictures[0] if task == "MFF" else None})
    title, rule, row, bound = capsys.readouterr().out.strip().splitlines()
    assert title == "| Waves | 2 pictures | 3 pictures |" and rule.count("---") == 3
    assert row.startswith("| first | inf / 1.0000 / 0.0") and bound == f"| {stacks.BEST} | inf | inf |"


def test_programs_that_are_missing_are_left_out_with_the_reason(capsys, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    fuses = stacks.methods("cpu")
    assert "enfuse" not in fuses["MEF"] and "StackMFF V3" not in fuses["MFF"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("left out: ") and "on the PATH" in line for line in lines)
