"""The check says what an option file's pictures are, names what would be skipped and finds shifted pairs."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from data import check
from data.shards import write_shards
from tests.rig import write_rig
from utils.pictures.alignment import edge_shift
from utils.pictures.picture import Picture
from utils.pictures.writing import write_picture

ROOT = Path(__file__).resolve().parents[2]


def scene(seed=0, size=(160, 200)):
    """Random rectangles: the same edges whatever the values."""
    random = np.random.default_rng(seed)
    picture = np.zeros(size, np.uint8)
    for _ in range(30):
        y, x = random.integers(0, size[0] - 10), random.integers(0, size[1] - 10)
        picture[y:y + random.integers(8, 50), x:x + random.integers(8, 50)] = random.integers(20, 256)
    return picture


def pair(root, stem, *, shift=(0, 0), seed=0, size=(160, 200)):
    dx, dy = shift
    infrared = 255 - scene(seed, (size[0] + 40, size[1] + 40))
    visible = cv2.cvtColor(255 - infrared, cv2.COLOR_GRAY2RGB)
    visible[..., 0] //= 2  # with equal channels it would be grey
    window = np.s_[20:20 + size[0], 20:20 + size[1]]
    moved = np.s_[20 - dy:20 - dy + size[0], 20 - dx:20 - dx + size[1]]
    write_picture(root / "ir" / f"{stem}.png", infrared[window])
    write_picture(root / "vi" / f"{stem}.png", visible[moved])


def run(tmp_path, capsys, dataset):
    path = tmp_path / "options.yaml"
    path.write_text(yaml.safe_dump({"name": "any", "dataset": dataset}))
    code = check.main(["-opt", str(path)])
    return code, capsys.readouterr().out


def layout(root):
    return {"dataroot": str(root), "datashell": "IVF", "infrare_name": "ir", "visible_name": "vi"}


def test_a_whole_set_is_described_and_gives_0(tmp_path, capsys):
    for number in range(5):
        pair(tmp_path / "set", str(number), seed=number, size=(160, 200 + 10 * (number == 4)))
    code, text = run(tmp_path, capsys, {"test": layout(tmp_path / "set"), "val": layout(tmp_path / "set")})
    assert code == 0
    assert text.count("usable    5 pairs") == 2 and "dataset.test (IVF)" in text and "dataset.val (IVF)" in text
    assert "200 x 160 (8 of 10), 2 sizes from 200 x 160 to 210 x 160" in text
    assert "8 bit grey (5), 8 bit RGB (5)" in text
    assert "0 pairs look misregistered" in text and "skipped   nothing" in text


def test_unpaired_unreadable_and_unequal_files_are_listed_and_give_1(tmp_path, capsys):
    for number in range(5):
        pair(tmp_path / "set", str(number), seed=number)
    (tmp_path / "set" / "ir" / "0.png").unlink()
    (tmp_path / "set" / "ir" / "1.png").write_bytes(b"")
    write_picture(tmp_path / "set" / "vi" / "2.png", np.zeros((9, 8, 3), np.uint8))
    code, text = run(tmp_path, capsys, {"test": layout(tmp_path / "set")})
    assert code == 1
    assert "usable    2 pairs" in text and "skipped   3 problems" in text
    for part in ("0.png: no partner", "1.png is empty", "2.png is 8 x 9"):
        assert part in text


def test_the_middle_of_a_bracket_is_a_note_and_gives_0(tmp_path, capsys):
    for level in (10, 90, 240):
        write_picture(tmp_path / "church" / f"{level}.png", np.full((20, 20, 1), level, np.uint8))
    code, text = run(tmp_path, capsys, {"test": {"dataroot": str(tmp_path), "datashell": "MEF"}})
    assert code == 0 and "usable    1 pair\n" in text and "skipped   nothing" in text
    assert "left out  " in text and "church: 1 of 3 pictures not used (90.png): the brightest and the darkest" in text


def test_what_test_py_would_pass_over_is_found_before(tmp_path, capsys):
    pair(tmp_path / "set", "a")
    pair(tmp_path / "set", "tiny", size=(400, 15))
    pair(tmp_path / "set", "n" * 243)
    pair(tmp_path / "set", "n" * 244)
    code, text = run(tmp_path, capsys, {"test": layout(tmp_path / "set")})
    assert code == 1 and "usable    2 pairs" in text and "skipped   2 problems" in text
    assert "tiny.png is 15 x 400" in text and "the name is 1 byte too long for a result; shorten it" in text


def test_a_ground_truth_is_told_and_does_not_fail(tmp_path, capsys):
    for name in ("gt", "near", "zfar"):
        write_picture(tmp_path / "set" / "01" / f"{name}.png", scene(1))
    code, text = run(tmp_path, capsys, {"test": {"dataroot": str(tmp_path / "set"), "datashell": "MFF"}})
    assert code == 0 and "left out  ground truths by their names, not fused: gt.png" in text


def test_shifted_pairs_are_flagged_and_do_not_fail(tmp_path, capsys):
    pair(tmp_path / "set", "good", seed=1)
    pair(tmp_path / "set", "moved", seed=2, shift=(6, -4))
    code, text = run(tmp_path, capsys, {"test": layout(tmp_path / "set")})
    assert code == 0 and "1 pair looks misregistered" in text
    assert "moved: better" in text and "second picture 6 px left and 4 px down" in text


def test_pairs_are_lined_up_as_they_would_be_fused(tmp_path, capsys):
    write_rig(tmp_path / "set", "a", 12)
    code, text = run(tmp_path, capsys, {"test": layout(tmp_path / "set")})
    assert code == 0 and "1 pair looks misregistered" in text
    code, text = run(tmp_path, capsys, {"test": {**layout(tmp_path / "set"), "align": "auto"}})
    assert code == 0 and "0 pairs look misregistered" in text
    pair(tmp_path / "noise", "b")
    write_picture(tmp_path / "noise" / "vi" / "b.png", np.full((160, 200, 3), (9, 8, 7), np.uint8))
    code, text = run(tmp_path, capsys, {"test": {**layout(tmp_path / "noise"), "align": "auto"}})
    assert code == 1 and "b.png: no credible alignment with" in text


@pytest.mark.parametrize("dx, dy", [(0, 0), (5, 0), (0, -7), (-3, 8)])
@pytest.mark.parametrize("enlarge", [1, 3])
def test_the_shift_is_found_in_original_pixels(dx, dy, enlarge):
    whole = cv2.resize(scene(3, (300, 340)), None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_NEAREST)
    border, size = 20 * enlarge, 260 * enlarge
    first = whole[border:border + size, border:border + size, None]
    top, left = border - dy * enlarge, border - dx * enlarge
    second = 255 - whole[top:top + size, left:left + size, None]
    shift = edge_shift(Picture(first), Picture(second))
    assert abs(shift.dx - dx * enlarge) <= 1.1 * enlarge and abs(shift.dy - dy * enlarge) <= 1.1 * enlarge
    assert shift.best > 0.9
    assert shift.misregistered == bool(dx or dy)


def test_pictures_without_edges_say_nothing():
    flat = Picture(np.full((200, 200, 1), 7, np.uint8))
    assert edge_shift(flat, Picture(scene(0, (200, 200))[..., None])) is None
    small = Picture(scene(0, (30, 200))[..., None])
    assert edge_shift(small, small) is None


def test_training_sets_are_checked(tmp_path, capsys):
    for number in range(3):
        write_picture(tmp_path / "photos" / f"{number}.jpg", np.full((50, 60, 3), 9, np.uint8))
        pair(tmp_path / "set", str(number))
    (tmp_path / "photos" / "2.jpg").write_text("words")
    train = {"dataroot": str(tmp_path / "photos"), "irvis_dataroot": str(tmp_path / "set"), "infrare_name": "ir",
             "visible_name": "vi"}
    code, text = run(tmp_path, capsys, {"train": train})
    assert code == 1
    assert "usable    2 photographs" in text and "2.jpg: not a picture" in text
    assert "registered pairs\n  usable    3 pairs" in text


def test_shards_are_counted(tmp_path, capsys):
    for number in range(5):
        write_picture(tmp_path / "photos" / f"{number}.png", np.full((50, 60, 3), 9, np.uint8))
    write_shards(tmp_path / "photos", tmp_path / "shards", size=2)
    dataset = {"train": {"type": "webdataset", "dataroot": str(tmp_path / "shards")}}
    code, text = run(tmp_path, capsys, dataset)
    assert code == 0 and "usable    5 photographs" in text
    (tmp_path / "shards" / "shard-000001.tar").write_text("no archive")
    code, text = run(tmp_path, capsys, dataset)
    assert code == 1 and "shard-000001.tar: the shard breaks off" in text and "their index says 5" in text


def test_a_missing_set_leaves_the_others_checked(tmp_path, capsys):
    pair(tmp_path / "set", "a")
    code, text = run(tmp_path, capsys, {"test": layout(tmp_path / "set"), "val": layout(tmp_path / "none")})
    assert code == 1
    assert "no folder" in text and "usable    1 pair\n" in text


def test_the_command_reports_mistakes_in_one_line(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("name: any\n")
    done = subprocess.run([sys.executable, "-m", "data.check", "-opt", str(path)], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 2
    assert done.stderr == "error: this option file names no data set; set dataset.train, dataset.val or dataset.test\n"
