"""Pictures moved by known amounts are found to a fraction of a pixel; what is not there is not believed."""

import itertools
import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.demo import PHOTOGRAPHS, exposures, infrared_visible, load_photograph
from data.simulate import to_bytes
from utils.errors import MissingFileError, UserError
from utils.pictures.alignment import Alignment, AlignRule, Calibration, align_arrays, find_alignment
from utils.pictures.alignment.apply import common_area
from utils.pictures.alignment.geometry import (
    centre,
    corners,
    coverage,
    moved,
    resizing,
    similarity,
    translation,
    unit_grey,
)
from utils.pictures.pairs import PairPaths, load_pair, load_stack
from utils.pictures.reading import read_picture
from utils.pictures.writing import write_picture

AUTO = AlignRule("auto")
FILL = AlignRule("auto", margin="fill")


@cache
def scenes():
    """(infrared, visible) and (under, over) of skimage's photographs, (H, W, C) ``uint8``, by name."""
    photographs = {name: load_photograph(name) for name in PHOTOGRAPHS}
    kinds = {"ivf": infrared_visible(photographs), "mef": exposures(photographs)}
    return {kind: {name: tuple(to_bytes(one.reshape(*one.shape[:2], -1)) for one in pair)
                   for name, pair in pairs.items()} for kind, pairs in kinds.items()}


def size_of(pixels):
    return pixels.shape[1], pixels.shape[0]


def matrix_of(size, *, shift=(0.0, 0.0), degrees=0.0, scale=1.0):
    """Pixels of a picture to those of the moved one: about the middle, then shifted by shares of the short side."""
    return similarity(scale, degrees, centre(size), centre(size) + np.array(shift) * min(size))


def move(pixels, matrix):
    """The picture whose pixels lie where the matrix takes them; mirrored where nothing is known."""
    return cv2.warpPerspective(pixels, matrix, size_of(pixels), flags=cv2.INTER_CUBIC,
                               borderMode=cv2.BORDER_REFLECT_101).reshape(pixels.shape)


def error(found, truth):
    """Mean distance of the corners from where they belong, in pixels of the reference."""
    ends = corners(found.size)
    return float(np.hypot(*(moved(np.linalg.inv(truth) @ found.matrix, ends) - ends).T).mean())


def find(reference, picture, align="auto"):
    return find_alignment(unit_grey(reference), unit_grey(picture), align)


MOVES = [{"shift": (0.05, -0.04)}, {"shift": (-0.15, 0.12)}, {"degrees": -9.0}, {"scale": 0.75}, {"scale": 1.3},
         {"shift": (0.1, 0.1), "degrees": 7.0, "scale": 1.15}]


@pytest.mark.parametrize(("name", "move_by"), list(zip(itertools.cycle(["coffee", "astronaut"]), MOVES)))
def test_a_moved_infrared_picture_is_found(name, move_by):
    infrared, visible = scenes()["ivf"][name]
    truth = matrix_of(size_of(visible), **move_by)
    found = find(visible, move(infrared, truth))
    assert found.credible and error(found, truth) < 2
    assert np.abs(np.array(found.shift) - np.array(move_by.get("shift", (0, 0))) * min(found.size)).max() < 1.5
    assert abs(found.scale - move_by.get("scale", 1)) < 0.01 and abs(found.rotation - move_by.get("degrees", 0)) < 0.5


@pytest.mark.parametrize(("name", "move_by"), [
    ("cat", {}), ("coffee", {"shift": (0.04, -0.03)}), ("rocket", {"shift": (0.013, 0.02), "degrees": 1.5})])
def test_exposures_are_found_to_a_third_of_a_pixel(name, move_by):
    under, over = scenes()["mef"][name]
    truth = matrix_of(size_of(over), **move_by)
    found = find(over, move(under, truth))
    assert found.credible and error(found, truth) < 0.3


def test_another_scene_is_not_believed():
    pairs = scenes()["ivf"]
    for first, second in itertools.pairwise([*pairs, "astronaut"]):
        infrared = cv2.resize(pairs[first][0], size_of(pairs[second][1]))[..., None]
        assert not find(pairs[second][1], infrared).credible, (first, second)


def test_noise_and_pictures_without_edges_are_not_believed():
    rng = np.random.default_rng(0)
    noise = rng.random((2, 120, 160), np.float32)
    assert not find_alignment(*noise).credible
    assert not find_alignment(np.full_like(noise[0], 0.5), noise[1]).credible
    assert not find_alignment(np.zeros((40, 200), np.float32), np.zeros((40, 200), np.float32)).credible


def test_a_sheared_and_a_tilted_picture_need_more_than_a_similarity():
    over = scenes()["mef"]["coffee"][1]
    middle = centre(size_of(over))
    shear = translation(*middle) @ np.array([[1, 0.05, 0], [0.01, 0.97, 0], [0, 0, 1]]) @ translation(*-middle)
    tilt = translation(*middle) @ np.array([[1, 0, 0], [0, 1, 0], [1.2e-4, 5e-5, 1]]) @ translation(*-middle)
    for truth, fitting in ((shear, "affine"), (tilt, "homography")):
        picture = move(over, truth)
        assert error(find(over, picture, fitting), truth) < 0.5
        assert error(find(over, picture, "auto"), truth) > 1.5


def test_translation_finds_nothing_else():
    over = scenes()["mef"]["cat"][1]
    found = find(over, move(over, matrix_of(size_of(over), shift=(0.06, 0.02), degrees=0.3)), "translation")
    assert found.credible and np.allclose(found.matrix[:, :2], np.eye(3)[:, :2], rtol=0, atol=1e-12)


def test_aligned_pictures_are_handed_back_untouched():
    infrared, visible = scenes()["ivf"]["coffee"]
    aligned = align_arrays([infrared, visible], AUTO, "ab")
    assert aligned.pixels[0] is infrared and aligned.pixels[1] is visible and aligned.doubts == []


def test_what_is_cut_is_common_and_lies_where_the_reference_lies():
    under, over = scenes()["mef"]["cat"]
    truth = matrix_of(size_of(over), shift=(0.08, -0.05), degrees=3.0)
    black_outside = cv2.warpPerspective(under, truth, size_of(under), flags=cv2.INTER_CUBIC)
    first, second = align_arrays([black_outside, over], AUTO, "ab").pixels
    assert first.shape == second.shape and first.shape[0] * first.shape[1] > 0.7 * over.shape[0] * over.shape[1]
    assert first.shape[0] <= over.shape[0] - 15 and first.shape[1] <= over.shape[1] - 24  # 5 and 8 % of 300 rows
    place = cv2.matchTemplate(over, second, cv2.TM_SQDIFF)
    column, row = cv2.minMaxLoc(place)[2]
    assert np.array_equal(second, over[row:row + second.shape[0], column:column + second.shape[1]])
    expected = under[row:row + first.shape[0], column:column + first.shape[1]]
    assert np.abs(first.astype(int) - expected).mean() < 2.5


def test_filling_keeps_the_size_and_takes_the_reference_where_nothing_is_shown():
    infrared, visible = scenes()["ivf"]["coffee"]
    truth = matrix_of(size_of(visible), shift=(0.1, 0.0))
    first, second = align_arrays([move(infrared, truth), visible], FILL, "ab").pixels
    assert second is visible and first.shape == infrared.shape
    edge = np.s_[:, -30:]
    assert np.array_equal(first[edge][..., 0], cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY)[edge])
    assert np.abs(first[:, 60:-60].astype(int) - infrared[:, 60:-60]).mean() < 3
    deeper = align_arrays([move(infrared, truth), visible.astype(np.uint16) * 257], FILL, "ab").pixels[0]
    assert deeper.dtype == np.uint8 and np.abs(deeper.astype(int) - first).max() <= 1


def test_other_values_of_a_picture_go_with_its_pixels():
    """Temperatures, linear in the grey values, of a picture that is moved, cropped or filled."""
    infrared, visible = scenes()["ivf"]["coffee"]
    size = infrared.shape[1], infrared.shape[0]
    known = Calibration(Alignment(translation(7.5, -4.25), size, size, confidence=1.0), Path("rig.json"))
    celsius = 20 + 10 * unit_grey(infrared)
    for margin in ("crop", "fill"):
        aligned = align_arrays([infrared, visible], AlignRule(margin=margin, calibration=known), ["ir", "vi"])
        carried = aligned.carried(celsius, 0)
        shown = ~np.isnan(carried)
        assert carried.dtype == np.float32 and carried.shape == aligned.pixels[0].shape[:2]
        assert shown.all() if margin == "crop" else 0 < (~shown).sum() < 0.05 * shown.size
        apart = np.abs(carried - (20 + 10 * unit_grey(aligned.pixels[0])))[shown]
        assert np.percentile(apart, 99) < 0.5
        assert celsius.min() <= np.nanmin(carried) <= np.nanmax(carried) <= celsius.max()
    assert align_arrays([infrared, visible], AlignRule(), ["ir", "vi"]).carried(celsius, 0) is celsius


@pytest.mark.parametrize("resize", ["first", "second"])
def test_a_smaller_field_is_found_inside_a_larger_one(resize):
    """The infrared picture shows 60 % of each side, at a third of the resolution."""
    infrared, visible = scenes()["ivf"]["astronaut"]
    field = infrared[90:90 + 288, 150:150 + 288]
    small = cv2.resize(field, (96, 96), interpolation=cv2.INTER_AREA)[..., None]
    aligned = align_arrays([small, visible], AlignRule("auto", resize), "ab")
    first, second = aligned.pixels
    assert first.shape[:2] == second.shape[:2]
    grid = 288 if resize == "second" else 96
    assert 0.9 * grid < min(first.shape[:2]) and max(first.shape[:2]) <= grid + 3
    found = next(one for one in aligned.alignments if one is not None)
    truth = resizing((288, 288), (96, 96)) @ translation(-150, -90)
    assert error(found, truth if resize == "second" else np.linalg.inv(truth)) < (6 if resize == "second" else 2)


def test_two_sizes_of_one_field_need_no_search():
    visible = scenes()["ivf"]["coffee"][1]
    half = cv2.resize(visible, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    first, second = align_arrays([half, visible], AlignRule("none", "first"), "ab").pixels
    assert np.array_equal(first, half) and second.shape == half.shape
    assert np.abs(second.astype(int) - half).mean() < 1
    with pytest.raises(ValueError, match="pictures of one size"):
        align_arrays([half, visible], AlignRule("auto"), "ab")


def test_a_bracket_goes_to_its_middle_exposure_and_a_focus_series_to_its_middle_picture():
    under, over = scenes()["mef"]["cat"]
    middle = to_bytes((under.astype(np.float32) + over) / 510)
    truth = {0: matrix_of(size_of(over), shift=(0.02, 0.01)), 1: matrix_of(size_of(over), shift=(-0.03, 0.0))}
    aligned = align_arrays([move(over, truth[0]), move(under, truth[1]), middle], AUTO, "abc")
    assert aligned.alignments[2] is None and all(error(aligned.alignments[one], truth[one]) < 0.3 for one in truth)
    breathing = [move(over, matrix_of(size_of(over), scale=scale)) for scale in (0.98, 1.0, 1.02)]
    aligned = align_arrays([breathing[1], breathing[2], breathing[0]], AUTO, "abc", order=(2, 0, 1))
    assert aligned.alignments[0] is None
    assert [aligned.alignments[one].scale for one in (1, 2)] == pytest.approx([1.02, 0.98], abs=0.001)
    assert len({one.shape for one in aligned.pixels}) == 1


def test_the_common_area_holds_no_zero():
    size = 90, 70
    for seed in range(20):
        rng = np.random.default_rng(seed)
        matrix = matrix_of(size, shift=rng.uniform(-0.2, 0.2, 2), degrees=rng.uniform(-20, 20), scale=1.1)
        shown = coverage(size, matrix, size)
        rows, columns = common_area(shown)
        assert shown[rows, columns].all() and shown[rows, columns].size > 0.4 * shown.sum()
    assert common_area(np.ones((5, 6), np.uint8)) == (slice(0, 5), slice(0, 6))


def test_a_map_is_kept_and_serves_a_pair_that_shows_nothing(tmp_path):
    infrared, visible = scenes()["ivf"]["coffee"]
    truth = matrix_of(size_of(visible), shift=(0.05, 0.0), degrees=2.0)
    found = find(visible, move(infrared, truth))
    Calibration(found, tmp_path / "rig.json").write()
    kept = Calibration.read(tmp_path / "rig.json")
    assert np.array_equal(kept.kept.matrix, found.matrix) and kept.kept.record() == found.record()
    night = np.full_like(visible, 3)
    rule = AlignRule(calibration=kept)
    first, second = align_arrays([move(infrared, truth), night], rule, "ab").pixels
    expected = align_arrays([move(infrared, truth), visible], AUTO, "ab").pixels[0]
    assert np.array_equal(first, expected) and (second == 3).all()
    with pytest.raises(UserError, match=r"rig\.json was made from pictures of .*make a map for them"):
        align_arrays([infrared[:-8], night], AlignRule(resize="second", calibration=kept), "ab")
    with pytest.raises(UserError, match=r"rig\.json is for pairs, not for 3 pictures"):
        align_arrays([infrared, night, night], rule, "abc")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"matrix": 3}'])
def test_what_is_no_map_is_refused(tmp_path, text):
    (tmp_path / "rig.json").write_text(text)
    with pytest.raises(UserError, match=r"rig\.json: not an alignment map"):
        Calibration.read(tmp_path / "rig.json")
    numbers = {"matrix": np.zeros((3, 3)).tolist(), "size": [4, 4], "moving": [4, 4], "confidence": 1}
    (tmp_path / "rig.json").write_text(json.dumps(numbers))
    with pytest.raises(UserError, match="3 x 3, finite and invertible"):
        Calibration.read(tmp_path / "rig.json")
    with pytest.raises(MissingFileError, match=r"no alignment map .*none\.json"):
        Calibration.read(tmp_path / "none.json")


def written(folder: Path, *pictures) -> PairPaths:
    """A scene on the disk."""
    paths = [write_picture(folder / f"{place}.png", one) for place, one in enumerate(pictures)]
    return PairPaths("s", *paths[:2], tuple(paths[2:]))


def test_pairs_are_aligned_as_they_are_read_and_doubts_are_told(tmp_path):
    infrared, visible = scenes()["ivf"]["coffee"]
    moving = move(infrared, matrix_of(size_of(visible), shift=(0.05, 0.03)))
    pair = load_pair(written(tmp_path / "a", moving, visible), align=FILL)
    assert pair.doubts == () and np.abs(pair.first.pixels[40:-40, 40:-40].astype(int)
                                        - infrared[40:-40, 40:-40]).mean() < 3
    other = cv2.resize(scenes()["ivf"]["rocket"][0], size_of(visible))[..., None]
    strangers = written(tmp_path / "b", other, visible)
    doubtful = load_pair(strangers, align=AUTO)
    assert np.array_equal(doubtful.first.pixels, other)
    assert len(doubtful.doubts) == 1 and "0.png: no credible alignment with" in doubtful.doubts[0]
    stack = load_stack(written(tmp_path / "c", visible, other, visible), task="MFF", align=AUTO)
    assert len(stack.doubts) == 2 and len(stack.pictures) == 3


def test_strangers_of_two_sizes_cannot_be_read(tmp_path):
    visible = scenes()["ivf"]["coffee"][1]
    paths = written(tmp_path, scenes()["ivf"]["astronaut"][0], visible)
    with pytest.raises(UserError, match="no credible alignment"):
        load_pair(paths, align=AlignRule("auto", "second"))
    with pytest.raises(UserError, match=r"differ in size: .* or set resize"):
        load_pair(paths, align=AUTO)


def test_real_pairs_moved_by_up_to_five_percent_are_found(shared_data):
    """RoadScene is itself registered to about a pixel."""
    folder = shared_data / "data/train/irvis"
    if not folder.is_dir():
        pytest.skip("no registered pairs")
    rng, errors = np.random.default_rng(0), []
    for path in sorted((folder / "vi").glob("roadscene*"))[:24:4]:
        visible, infrared = (read_picture(folder / side / path.name).pixels for side in ("vi", "ir"))
        truth = matrix_of(size_of(visible), shift=rng.uniform(-0.05, 0.05, 2))
        found = find(visible, move(infrared, truth))
        errors += [error(found, truth)] if found.credible else []
    assert len(errors) >= 5 and np.median(errors) < 1.5
