"""Pairs go by stem: what is missing or broken costs its own pair, is named, and shifts nothing."""

import numpy as np
import pytest

from option.schema import TestDataOptions, ValDataOptions
from utils.errors import MissingFileError, UserError
from utils.pictures.names import is_truth, split_stem
from utils.pictures.pairs import PairPaths, find_pairs, load_pair, load_stack, task_of_run
from utils.pictures.reading import ReadingRule
from utils.pictures.writing import write_picture


def options(root, **values):
    return TestDataOptions(dataroot=str(root), **values)


def picture(path, level=128, size=(24, 20), channels=3, dtype=np.uint8):
    pixels = np.full((size[1], size[0], channels), level, dtype)
    pixels[0, 0] = 0
    return write_picture(path, pixels)


def infrared_folders(root, ir=("a", "b", "c"), vi=("a", "b", "c")):
    for stem in ir:
        picture(root / "ir" / f"{stem}.png", channels=1)
    for stem in vi:
        picture(root / "vi" / f"{stem}.jpg")
    return options(root, datashell="IVF", infrare_name="ir", visible_name="vi")


def names(found):
    return [(pair.stem, pair.first.name, pair.second.name) for pair in found.pairs]


def test_infrared_pairs_match_by_stem_across_suffixes(tmp_path):
    found = find_pairs(infrared_folders(tmp_path), "any")
    assert names(found) == [(s, f"{s}.png", f"{s}.jpg") for s in "abc"]
    assert found.problems == [] and found.task == "IVF"


def test_a_missing_file_shifts_nothing_and_is_listed(tmp_path):
    found = find_pairs(infrared_folders(tmp_path, ir="bcd", vi="abc"), "any")
    assert [pair.stem for pair in found.pairs] == ["b", "c"]
    assert len(found.problems) == 2
    assert any("a.jpg: no partner of that stem in" in line for line in found.problems)
    assert any("d.png: no partner of that stem in" in line for line in found.problems)


def test_broken_files_are_listed_and_left_out(tmp_path):
    wanted = infrared_folders(tmp_path, ir="abcde", vi="abcde")
    (tmp_path / "ir" / "a.png").write_bytes(b"")
    (tmp_path / "vi" / "b.jpg").write_text("no picture")
    cut = tmp_path / "vi" / "c.jpg"
    cut.write_bytes(cut.read_bytes()[:-50])
    found = find_pairs(wanted, "any")
    assert [pair.stem for pair in found.pairs] == ["d", "e"]
    assert len(found.problems) == 3
    for name, reason in (("a.png", "empty"), ("b.jpg", "not a picture"), ("c.jpg", "truncated")):
        assert any(name in line and reason in line for line in found.problems)


def test_a_stem_with_two_suffixes_is_listed_not_guessed(tmp_path):
    wanted = infrared_folders(tmp_path)
    picture(tmp_path / "ir" / "b.bmp", channels=1)
    found = find_pairs(wanted, "any")
    assert [pair.stem for pair in found.pairs] == ["a", "c"]
    assert ["stem b is there more than once (b.bmp, b.png)" in line for line in found.problems] == [True]


def test_hidden_and_other_files_are_no_pictures(tmp_path):
    wanted = infrared_folders(tmp_path)
    (tmp_path / "ir" / "._a.png").write_bytes(b"x")
    (tmp_path / "ir" / "readme.txt").write_text("x")
    assert find_pairs(wanted, "any").problems == []


def test_nothing_left_is_an_error_with_the_reasons(tmp_path):
    with pytest.raises(UserError, match=r"no IVF pair in .*ir and .*vi: .*no partner"):
        find_pairs(infrared_folders(tmp_path, ir="ab", vi="cd"), "any")
    with pytest.raises(MissingFileError, match=r"no folder .*thermal"):
        find_pairs(options(tmp_path, datashell="IVF", infrare_name="thermal", visible_name="vi"), "any")
    with pytest.raises(UserError, match="only one of infrare_name and visible_name"):
        find_pairs(options(tmp_path, datashell="IVF", infrare_name="ir"), "any")


@pytest.mark.parametrize("part", [None, "input"])
def test_exposure_scenes_take_the_brightest_and_the_darkest(tmp_path, part):
    folder = tmp_path / (part or "")
    for name, level in (("1", 90), ("2", 240), ("3", 10), ("4", 200)):
        picture(folder / "church" / f"{name}.png", level)
    picture(folder / "alley" / "dark.png", 1000, dtype=np.uint16)
    picture(folder / "alley" / "light.png", 200)
    picture(folder / "lonely" / "one.png")
    (folder / "empty").mkdir()
    found = find_pairs(options(tmp_path, datashell="MEF", part_name=part), "any")
    assert names(found) == [("alley", "light.png", "dark.png"), ("church", "2.png", "3.png")]
    assert len(found.problems) == 2
    assert any("lonely: two or more exposures are needed, there are one.png" in p for p in found.problems)
    assert any("empty: two or more exposures are needed, there are none" in p for p in found.problems)
    assert found.notes == [f"{folder / 'church'}: 2 of 4 pictures not used (1.png, 4.png): the brightest and the "
                           "darkest are the pair"]
    assert [path.name for path in found.pairs[1].others] == ["1.png", "4.png"]


def test_validation_options_name_the_scenes_by_their_own_key(tmp_path):
    for name in "ab":
        picture(tmp_path / "input" / "scene" / f"{name}.png")
    wanted = ValDataOptions(dataroot=str(tmp_path), datashell="MFF", input_name="input")
    assert names(find_pairs(wanted, "any")) == [("scene", "a.png", "b.png")]


@pytest.mark.parametrize("truth", ["gt", "GT_01", "ground_truth", "zz-ref", "01_reference", "all_in_focus"])
def test_a_ground_truth_goes_by_its_name_wherever_it_stands(tmp_path, truth):
    for name in ("near", "yfar", truth):
        picture(tmp_path / "three" / f"{name}.png")
    found = find_pairs(options(tmp_path, datashell="MFF"), "any")
    assert names(found) == [("three", "near.png", "yfar.png")]
    assert found.pairs[0].truth == tmp_path / "three" / f"{truth}.png"
    assert found.problems == [] and found.notes == [f"ground truths by their names, not fused: {truth}.png"]


def test_other_words_are_no_ground_truth(tmp_path):
    for name in ("ref_001_ir", "ref_001_vi"):  # what all files of a scene are called is the scene's name
        picture(tmp_path / f"{name}.png")
    assert names(find_pairs(options(tmp_path, datashell="IVF"), "any")) == [
        ("ref_001", "ref_001_ir.png", "ref_001_vi.png")]
    assert not any(map(is_truth, ("refocused", "lytro-01-A", "gtr", "far", "truthful", "1")))


def test_a_focus_series_gives_its_first_and_last_and_names_the_others(tmp_path):
    for name in ("lytro-01-A", "lytro-01-B", "lytro-01-C"):
        picture(tmp_path / f"{name}.jpg")
    for number in (9, 10, 11, 12):
        picture(tmp_path / "series" / f"{number}.png")
    found = find_pairs(options(tmp_path, datashell="MFF"), "any")
    assert names(found) == [("lytro-01", "lytro-01-A.jpg", "lytro-01-C.jpg"), ("series", "9.png", "12.png")]
    assert "lytro-01: 1 of 3 pictures not used (lytro-01-B.jpg)" in found.notes[0]
    assert "series: 2 of 4 pictures not used (10.png, 11.png)" in found.notes[1]
    assert not found.problems


@pytest.mark.parametrize("folders, task, order", [
    (("over", "under"), "MEF", "over"), (("A", "B"), "MEF", "B"), (("A", "B"), "MFF", "A"),
    (("near", "far"), "MFF", "near"), (("source 1", "source-2"), "MFF", "source 1"), (("Ir", "Vis"), "IVF", "Ir")])
def test_folders_named_as_sides_pair_by_stem(tmp_path, folders, task, order):
    for stem in "123":
        picture(tmp_path / folders[0] / f"{stem}.png", 60)
        picture(tmp_path / folders[1] / f"{stem}.png", 160)
        picture(tmp_path / "GT" / f"{stem}.png", 100)
    by_role = folders[0] not in ("A", "source 1")
    if by_role:
        picture(tmp_path / "old" / "x.png")
    found = find_pairs(options(tmp_path, datashell=task), "any")
    assert [pair.stem for pair in found.pairs] == ["1", "2", "3"]
    other = folders[1 - folders.index(order)]
    for pair in found.pairs:
        assert (pair.first.parent.name, pair.second.parent.name, pair.truth.parent.name) == (order, other, "GT")
        assert pair.first.stem == pair.second.stem == pair.truth.stem == pair.stem
    assert ["old: x.png not used, as" in line for line in found.problems] == [True] * by_role


def test_scenes_that_happen_to_be_called_a_and_b_stay_scenes(tmp_path):
    for scene in "AB":
        picture(tmp_path / scene / "under.png", 20)
        picture(tmp_path / scene / "over.png", 220)
    found = find_pairs(options(tmp_path, datashell="MEF"), "any")
    assert [(pair.stem, pair.first.parent.name, pair.second.parent.name) for pair in found.pairs] == [
        ("A", "A", "A"), ("B", "B", "B")]
    for name in ("A/1", "A/2", "B/1", "B/2", "C/1", "C/2"):
        picture(tmp_path / "letters" / f"{name}.png")
    assert [pair.stem for pair in find_pairs(options(tmp_path / "letters", datashell="MFF"), "any").pairs] == [
        "A", "B", "C"]


def test_flat_pictures_beside_scene_folders_are_read_too(tmp_path):
    for name in ("lytro-01-A", "lytro-01-B", "lytro-02-A", "thumbs/1", "thumbs/2", "lytro-02/1", "lytro-02/2"):
        picture(tmp_path / f"{name}.jpg")
    found = find_pairs(options(tmp_path, datashell="MFF"), "any")
    assert [pair.stem for pair in found.pairs] == ["lytro-01", "lytro-02", "thumbs"]
    assert found.pairs[1].first == tmp_path / "lytro-02" / "1.jpg"
    assert found.problems == [f"{tmp_path}: lytro-02-A.jpg not used, as lytro-02 is a folder, too"]


def test_a_sign_belongs_to_the_word_not_to_the_scene(tmp_path):
    assert [split_stem(stem) for stem in ("room_-2EV", "room_0EV", "room--1.3EV", "street-ir", "_x", "plain")] == [
        ("room", "-2ev"), ("room", "0ev"), ("room", "-1.3ev"), ("street", "ir"), ("_x", ""), ("plain", "")]
    for word, level in (("-2EV", 20), ("0EV", 100), ("+2EV", 220)):
        picture(tmp_path / f"room_{word}.png", level)
    found = find_pairs(options(tmp_path, datashell="MEF"), "any")
    assert names(found) == [("room", "room_+2EV.png", "room_-2EV.png")]


def test_of_pictures_of_two_sizes_those_of_one_are_used(tmp_path):
    """MEFB keeps the originals beside the pair of its benchmark; elsewhere what most pictures have counts."""
    for name, level, size in (("P_A", 30, (24, 20)), ("P_B", 110, (24, 20)), ("DSC_01", 9, (48, 40)),
                              ("DSC_05", 240, (48, 40))):
        picture(tmp_path / "P" / f"{name}.png", level, size)
    for name, level, size in (("1", 5, (60, 50)), ("2", 30, (30, 20)), ("3", 60, (30, 20))):
        picture(tmp_path / "Q" / f"{name}.png", level, size)
    picture(tmp_path / "R" / "1.png", 5, (24, 20))
    picture(tmp_path / "R" / "2.png", 5, (20, 24))
    found = find_pairs(options(tmp_path, datashell="MEF"), "any")
    assert names(found) == [("P", "P_B.png", "P_A.png"), ("Q", "3.png", "2.png")]
    assert "P: DSC_01.png (48 x 40), DSC_05.png (48 x 40) not used" in found.problems[0]
    assert "Q: 1.png (60 x 50) not used" in found.problems[1]
    assert "R: two pictures of one size are needed, there are 1.png (24 x 20), 2.png (20 x 24)" in found.problems[2]


def test_a_turn_by_exif_is_named_where_sizes_differ(tmp_path):
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x112] = 6
    image.new("RGB", (24, 20)).save(tmp_path / "a.jpg")
    image.new("RGB", (24, 20)).save(tmp_path / "b.jpg", exif=exif)
    with pytest.raises(UserError, match=r"a\.jpg is 24 x 20, .*b\.jpg is 20 x 24 after its EXIF turn"):
        load_pair(PairPaths("s", tmp_path / "a.jpg", tmp_path / "b.jpg"))


def test_what_is_there_and_not_read_is_named(tmp_path):
    wanted = infrared_folders(tmp_path, ir="ab", vi="b")
    (tmp_path / "vi" / "a.JXL").write_bytes(b"x")
    picture(tmp_path / "ir" / "day2" / "more" / "c.png")
    (tmp_path / "ir" / "nothing.png").mkdir()
    found = find_pairs(wanted, "any")
    assert [pair.stem for pair in found.pairs] == ["b"]
    assert any("day2: a folder with pictures, not read" in line for line in found.problems)
    assert any("not read, as of another kind: a.JXL" in line for line in found.problems)
    assert len(found.problems) == 3


def test_a_picture_of_less_than_16_pixels_is_refused_by_name(tmp_path):
    for side in (15, 16):
        paths = [picture(tmp_path / f"{name}{side}.png", size=(side, 40)) for name in "ab"]
        if side == 16:
            load_pair(PairPaths("s", *paths))
        else:
            with pytest.raises(UserError, match=r"a15\.png is 15 x 40 .*pictures need 16 x 16 pixels or more"):
                load_pair(PairPaths("s", *paths))


def test_a_stack_holds_every_picture_of_a_scene_and_what_it_shows(tmp_path):
    for name, level in (("1", 90), ("2", 240), ("3", 10)):
        picture(tmp_path / "church" / f"{name}.png", level)
    stack = load_stack(find_pairs(options(tmp_path, datashell="MEF"), "any").pairs[0], task="MEF")
    assert [path.name for path in stack.paths] == ["2.png", "3.png", "1.png"]
    assert [picture.pixels.max() for picture in stack.pictures] == [240, 10, 90]
    assert stack.roles == ("none", "none", "none")
    pair = infrared_folders(tmp_path / "ivf")
    assert load_stack(find_pairs(pair, "any").pairs[0]).roles == ("infrared", "visible")


def test_stack_says_how_many_pictures_of_a_scene_are_read(tmp_path):
    for name in "123":
        picture(tmp_path / "church" / f"{name}.png")
    for name in ("ir", "vi", "vi_raw"):
        picture(tmp_path / "ivf" / "street" / f"{name}.png")
    for stack, count in (("extremes", 2), ("all", 3)):
        given = options(tmp_path, datashell="MFF", stack=stack)
        found = find_pairs(given, "any", stacks=given.whole_stacks)
        church = next(pair for pair in found.pairs if pair.stem == "church")
        assert len(found.load(church).pictures) == len(found.sources(church)) == count
        assert any("1 of 3 pictures not used (2.png)" in line for line in found.notes) == (stack == "extremes")
        street = find_pairs(options(tmp_path / "ivf", datashell="IVF", stack=stack), "any", stacks=given.whole_stacks)
        assert any("not used (vi_raw.png)" in line for line in street.problems)


def test_a_scene_with_a_broken_picture_is_left_out_whole(tmp_path):
    for scene in ("fine", "hurt"):
        for name in ("gt", "near", "zfar"):
            picture(tmp_path / scene / f"{name}.png")
    (tmp_path / "hurt" / "near.png").write_bytes(b"")
    found = find_pairs(options(tmp_path, datashell="MFF"), "any")
    assert [pair.stem for pair in found.pairs] == ["fine"]
    assert "near.png is empty" in found.problems[0] and "hurt: left out" in found.problems[1]


def test_flat_folders_group_by_the_word_at_the_end(tmp_path):
    for name in ("road_01_ir", "road_01_vi", "sea-infrared", "sea-visible", "lost_vi"):
        picture(tmp_path / "ivf" / f"{name}.png")
    found = find_pairs(options(tmp_path / "ivf", datashell="IVF"), "any")
    assert names(found) == [("road_01", "road_01_ir.png", "road_01_vi.png"),
                            ("sea", "sea-infrared.png", "sea-visible.png")]
    assert len(found.problems) == 1 and "lost" in found.problems[0]
    for name in ("FLIR_00002_PreviewData", "FLIR_00002_RGB"):
        picture(tmp_path / "flir" / f"{name}.png")
    assert names(find_pairs(options(tmp_path / "flir", datashell="IVF"), "any")) == [
        ("FLIR_00002", "FLIR_00002_PreviewData.png", "FLIR_00002_RGB.png")]
    picture(tmp_path / "mef" / "room_under.png", 20)
    picture(tmp_path / "mef" / "room_over.png", 220)
    assert names(find_pairs(options(tmp_path / "mef", datashell="MEF"), "any")) == [
        ("room", "room_over.png", "room_under.png")]
    for name in ("lytro-01-A", "lytro-01-B"):
        picture(tmp_path / "mff" / f"{name}.jpg")
    assert names(find_pairs(options(tmp_path / "mff", datashell="MFF"), "any")) == [
        ("lytro-01", "lytro-01-A.jpg", "lytro-01-B.jpg")]


@pytest.mark.parametrize("name, task", [
    ("MultiFocusFusion_x", "MFF"), ("MultiExposureFusion", "MEF"), ("SMEF_1", "MEF"),
    ("VisibleInfrareFusion", "IVF"), ("MultiFocusFusion_MEF", "MFF")])
def test_run_names_decide_without_datashell(name, task):
    assert task_of_run(name) == task


def test_a_run_name_that_says_nothing_is_an_error():
    with pytest.raises(UserError, match=r"name 'mine' has none of .*set datashell to IVF, MEF or MFF"):
        task_of_run("mine")


def test_two_sizes_in_one_pair_name_both(tmp_path):
    first = picture(tmp_path / "a.png", size=(30, 20))
    second = picture(tmp_path / "b.png", size=(30, 21))
    with pytest.raises(UserError, match=r"a\.png is 30 x 20, .*b\.png is 30 x 21"):
        load_pair(PairPaths("s", first, second))


def test_infrared_range_touches_only_the_infrared_picture(tmp_path):
    first = picture(tmp_path / "a.png", 300, channels=1, dtype=np.uint16)
    second = picture(tmp_path / "b.png", 100)
    paths = PairPaths("s", first, second)
    assert load_pair(paths).first.pixels.max() == 300
    rule = ReadingRule(infrared_range="minmax")
    stretched = load_pair(paths, rule, "IVF")
    assert stretched.first.pixels.max() == 65535 and stretched.second.pixels.max() == 100
    assert (stretched.first.role, stretched.second.role) == ("infrared", "visible")
    assert load_pair(paths, rule, "MEF").first.pixels.max() == 300
    together = load_pair(paths, ReadingRule(infrared_range="minmax", joint=True), "IVF")  # two ranges are two maps
    assert together.first.pixels.max() == 65535 and together.second.pixels.max() == 100


@pytest.mark.parametrize(("task", "joint", "expected"), [
    ("IVF", None, (65535, 65535)), ("MEF", None, (65535, 32768)), ("MFF", None, (65535, 32768)),
    ("IVF", True, (65535, 32768)), ("MEF", False, (65535, 65535))])
def test_one_range_serves_all_pictures_and_keeps_which_exposure_is_brighter(tmp_path, task, joint, expected):
    """12 bits in 16: CT and MR each on its own range, the exposures of a scene on one."""
    bright, dark = (np.arange(401, dtype=np.uint16).reshape(1, 401).repeat(20, 0) * step for step in (10, 5))
    paths = PairPaths("s", write_picture(tmp_path / "a.png", bright), write_picture(tmp_path / "b.png", dark))
    pair = load_pair(paths, ReadingRule("minmax", joint=joint), task)
    assert (pair.first.pixels.max(), pair.second.pixels.max()) == expected


def test_real_folders_are_read(shared_data):
    root = shared_data / "data" / "test"
    if not (root / "ivf").is_dir():
        pytest.skip("no real test pairs")
    for wanted in (options(root / "ivf", datashell="IVF", infrare_name="ir", visible_name="vi"),
                   options(root, datashell="MEF", part_name="mef"), options(root, datashell="MFF", part_name="mff")):
        found = find_pairs(wanted, "any")
        assert len(found.pairs) >= 10 and found.problems == []
        if found.task == "MEF":
            assert all(pair.first.stem == "over" for pair in found.pairs)
        load_pair(found.pairs[0], task=found.task)
