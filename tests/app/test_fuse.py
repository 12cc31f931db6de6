"""`defusionpp fuse`: what the help promises, the task it finds, and what a mistake prints."""

import glob
import json
import os
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from app.fuse import EXAMPLES, main, parser
from app.task import guess_task, rank_correlation
from models.fuser import Fuser
from tests.radiometric import write_flir
from tests.rig import write_rig
from utils.errors import UserError
from utils.pictures import notes
from utils.pictures.picture import Picture
from utils.pictures.reading import read_picture

FAST = ["--model", "SaliencePyramid"]
LINES = [line[2:].split("  ")[0] for line in EXAMPLES.splitlines() if line.startswith("  defusionpp fuse ")]


def scene(seed: int = 0) -> np.ndarray:
    """A smooth colour scene with some detail, (48, 64, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    return np.clip(cv2.resize(rng.random((6, 8, 3)), (64, 48)) + 0.05 * rng.standard_normal((48, 64, 3)), 0, 1)


def stored(values: np.ndarray) -> np.ndarray:
    return np.round(255 * values).astype(np.uint8)


def blurred_but(number: int) -> np.ndarray:
    """Of three columns of a scene, one in focus."""
    picture, soft = scene(3), cv2.GaussianBlur(scene(3), (0, 0), 3)
    columns = np.arange(64) * 3 // 64 == number
    return np.where(columns[None, :, None], picture, soft)


def infrared(seed: int = 9) -> np.ndarray:
    return stored(scene(seed)[..., 0])


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the help's examples name."""
    monkeypatch.chdir(tmp_path)
    write(Path("ir.png"), infrared())
    write(Path("vi.png"), stored(scene()))
    for name, gain in (("over.jpg", 1.0), ("under.jpg", 0.3)):
        write(Path(name), stored(scene() * gain))
    for number, gain in enumerate((0.4, 1.0, 0.7)):
        write(Path(f"bracket/{number}.jpg"), stored(scene() * gain))
    for number in range(3):
        write(Path(f"series/{number}.jpg"), stored(blurred_but(number)))
    write_flir(Path("FLIR0001.jpg"), 20 + 20 * scene(9)[..., 0], stored(scene()), (1.0, 0, 0))
    for stem in ("one", "two"):
        write(Path(f"IR/{stem}.png"), infrared())
        write(Path(f"VI/{stem}.png"), stored(scene()))
        write(Path(f"SCENES/{stem}/a.png"), stored(scene()))
        write(Path(f"SCENES/{stem}/b.png"), stored(cv2.blur(scene(), (5, 5))))
    return tmp_path


def test_the_help_fits_80_columns_and_has_examples() -> None:
    assert max(map(len, parser().format_help().splitlines())) <= 80
    assert len(LINES) == 7


@pytest.mark.parametrize("line", LINES)
def test_every_example_of_the_help_runs(here: Path, line: str, capsys: pytest.CaptureFixture) -> None:
    words = [word for part in shlex.split(line)[2:] for word in (sorted(glob.glob(part)) or [part])]
    assert main([*words, "--device", "cpu"]) == 0
    out = Path(words[words.index("-o") + 1])
    results = sorted(path.name for path in out.iterdir()) if out.is_dir() else [out.name]
    assert results == (["one.png", "two.png"] if line.endswith("/") else [out.name])
    assert all(read_picture(out / name if out.is_dir() else out).size == (64, 48) for name in results)
    assert capsys.readouterr().out.count(": fused as ") == len(results)


def test_the_result_is_the_fusers_with_the_infrared_first(here: Path) -> None:
    assert main(["vi.png", "ir.png", "-o", "fused.png", "--device", "cpu"]) == 0
    fused = Fuser.from_pretrained(device="cpu")("ir.png", "vi.png", task="IVF").fused
    assert np.array_equal(read_picture("fused.png").pixels, fused)


def test_a_bracket_uses_every_picture(here: Path) -> None:
    """The mean of three exposures, by a model that averages; a folder of the same files gives the same."""
    files = sorted(glob.glob("bracket/*.jpg"))
    shutil.copytree("bracket", "many/night")
    assert main([*files, "-o", "out.png", "--model", "Average", "--task", "MEF"]) == 0
    assert main(["many", "-o", "out", "--model", "Average", "--task", "MEF"]) == 0
    assert main(["many", "-o", "out", "--model", "Average", "--overwrite"]) == 0
    mean = np.mean([read_picture(file).pixels for file in files], axis=0)
    assert np.abs(read_picture("out.png").pixels - mean).max() <= 0.51
    assert np.array_equal(read_picture("out/night.png").pixels, read_picture("out.png").pixels)


def pictures(*arrays: np.ndarray) -> list[Picture]:
    return [Picture.of(array) for array in arrays]


@pytest.mark.parametrize(("arrays", "task", "order"), [
    ((stored(scene()), infrared()), "IVF", (1, 0)),
    ((stored(scene()), np.dstack([infrared()] * 3)), "IVF", (1, 0)),
    ((infrared(1), infrared(2)), "IVF", (0, 1)),
    ((stored(scene() * 0.4), stored(scene())), "MEF", (1, 0)),
    ((stored(scene() * 0.6), stored(scene()), stored(scene() * 0.2)), "MEF", (1, 2, 0)),
    ((infrared(), (infrared() * 0.4).astype(np.uint8)), "MEF", (0, 1)),
    ((stored(scene()), stored(cv2.blur(scene(), (5, 5)))), "MFF", (0, 1)),
    ((infrared(), cv2.blur(infrared(), (5, 5)), infrared()), "MFF", (0, 1, 2)),
])
def test_the_task_is_found_from_the_pictures(arrays: tuple, task: str, order: tuple) -> None:
    guess = guess_task(pictures(*arrays), ["a", "b", "c"])
    assert (guess.task, guess.order) == (task, order)


def test_ranks_correlate_as_scipy_has_it() -> None:
    a, b = np.random.default_rng(0).integers(0, 9, (2, 64, 64))  # many are equal
    assert rank_correlation(a, a * a + b) == pytest.approx(spearmanr(a.ravel(), (a * a + b).ravel()).statistic)
    assert np.isnan(rank_correlation(a, np.zeros_like(a)))


def test_the_task_of_published_pairs_is_found(shared_data: Path) -> None:
    sets, wrong = shared_data / "data" / "test", []
    found = [("IVF", [sets / "ivf" / side / path.name for side in ("ir", "vi")])
             for path in sorted((sets / "ivf" / "ir").iterdir())]
    found += [(task, sorted(folder.iterdir())[:2]) for task in ("MEF", "MFF")
              for folder in sorted((sets / task.lower()).iterdir()) if folder.is_dir()]
    for task, paths in found:
        guess = guess_task([read_picture(path) for path in paths], ["a", "b"])
        wrong += [(paths, guess)] if guess.task != task else []
    assert len(found) > 20
    assert not wrong


def test_a_named_task_goes_before_the_pictures(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["under.jpg", "over.jpg", "-o", "x.png", "--task", "mff", "--dry-run"]) == 0
    assert capsys.readouterr().out == "x.png: would be fused as MFF (as said)\n"
    assert not Path("x.png").exists()


def test_one_bad_scene_costs_no_other(here: Path, capsys: pytest.CaptureFixture) -> None:
    write(Path("SCENES/odd/a.png"), stored(scene()))
    write(Path("SCENES/odd/b.png"), stored(scene())[:40])
    assert main(["SCENES", "-o", "out", *FAST]) == 2
    assert sorted(path.name for path in Path("out").iterdir()) == ["one.png", "two.png"]
    said = capsys.readouterr()
    assert said.out.count(": fused as MFF") == 2
    assert "out/odd.png: left out: " in said.err and "64 x 48" in said.err and "64 x 40" in said.err


def test_a_picture_without_a_partner_is_named(here: Path, capsys: pytest.CaptureFixture) -> None:
    write(Path("IR/alone.png"), infrared())
    assert main(["--ir", "IR", "--vi", "VI", "-o", "out", *FAST]) == 2
    assert "note: IR/alone.png: no partner of that stem in VI" in capsys.readouterr().err


def test_existing_results_stay_until_something_is_said(here: Path, capsys: pytest.CaptureFixture) -> None:
    call = ["ir.png", "vi.png", "-o", "fused.png", *FAST]
    assert main(call) == 0
    before = Path("fused.png").stat()
    with pytest.raises(UserError, match=r"fused\.png exists; give --overwrite, or --resume"):
        main(call)
    os.utime("ir.png", (before.st_mtime - 9, before.st_mtime - 9))
    os.utime("vi.png", (before.st_mtime - 9, before.st_mtime - 9))
    assert main([*call, "--resume"]) == 0
    assert "fused.png: kept" in capsys.readouterr().out
    assert Path("fused.png").stat().st_mtime_ns == before.st_mtime_ns
    os.utime("vi.png", (before.st_mtime + 9, before.st_mtime + 9))
    assert main([*call, "--resume"]) == 0
    assert Path("fused.png").stat().st_mtime_ns > before.st_mtime_ns
    assert main([*call, "--overwrite"]) == 0


def test_a_depth_map_is_written_beside_a_focus_series(here: Path, capsys: pytest.CaptureFixture) -> None:
    files = sorted(glob.glob("series/*.jpg"))
    assert main([*files, "-o", "x.png", "--depth", "depth.tif", "--json", *FAST]) == 0
    assert json.loads(capsys.readouterr().out)["depth"] == "depth.tif"
    depth = cv2.imread("depth.tif", cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16 and depth.shape == (48, 64)
    assert [np.bincount(depth[:, column].astype(int)).argmax() for column in (8, 32, 56)] == [0, 32768, 65535]
    with pytest.raises(UserError, match=r"x\.png and 1 more exists"):
        main([*files, "-o", "x.png", "--depth", "depth.tif", *FAST])
    Path("depth.tif").unlink()
    assert main([*files, "-o", "x.png", "--depth", "depth.tif", "--resume", *FAST]) == 0
    assert Path("depth.tif").exists()


def test_exposures_have_no_depth(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["over.jpg", "under.jpg", "-o", "x.png", "--depth", "d.png", *FAST]) == 2
    assert "x.png: left out: MEF (one scene, mean grey from" in capsys.readouterr().err
    assert not Path("x.png").exists() and not Path("d.png").exists()


def test_what_is_remarked_on_the_way_is_in_the_json(here: Path, capsys: pytest.CaptureFixture) -> None:
    write(Path("clear.png"), np.dstack([stored(scene(1)), np.full((48, 64), 9, np.uint8)]))
    notes._noted.clear()
    assert main(["clear.png", "vi.png", "-o", "x.png", "--task", "MFF", "--json", *FAST]) == 0
    line = json.loads(capsys.readouterr().out)
    assert len(line["notes"]) == 1 and "alpha" in line["notes"][0]


def test_json_is_one_line_a_scene(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["SCENES", "-o", "out", "--json", *FAST]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["out"] for line in lines] == ["out/one.png", "out/two.png"]
    assert lines[0]["pictures"] == ["SCENES/one/a.png", "SCENES/one/b.png"]
    assert lines[0]["status"] == "fused" and lines[0]["task"] == "MFF" and lines[0]["seconds"] > 0


@pytest.mark.parametrize(("words", "message"), [
    (["ir.png", "-o", "x.png"], "1 picture; command line; give two or more"),
    (["under.jpg", "-o", "x.png"], "1 picture; command line; give two or more of a scene, a thermal camera's file"),
    (["ir.png", "none.png", "-o", "x.png"], "no file none.png; check the path"),
    (["ir.png", "vi.png"], "required: -o/--out; command line; see defusionpp fuse --help"),
    (["ir.png", "vi.png", "-o", "vi.png", "--overwrite"], "vi.png is a source; -o; give another"),
    (["--ir", "IR", "-o", "out"], "--ir and --vi go together"),
    (["--ir", "IR", "--vi", "VI", "-o", "VI", "--overwrite"], "VI/one.png is a source"),
    (["SCENES", "ir.png", "-o", "out"], "SCENES is a folder among files"),
    (["SCENES", "-o", "out.png"], "out.png is a picture's name; -o; give a folder"),
    (["IR", "VI", "-o", "out"], "2 folders; command line; give one folder of scenes, or --ir DIR --vi DIR"),
    (["ir.png", "vi.png", "-o", "x.png", "--model", "SaliencePyramids"], "did you mean SaliencePyramid"),
    (["ir.png", "vi.png", "-o", "x.png", "--model", "DeFusionPP"], "DeFusionPP needs weights"),
    (["ir.png", "vi.png", "-o", "x.gif"], "x.gif: pictures are written as"),
    (["ir.png", "vi.png", "over.jpg", "-o", "x.png", "--task", "IVF"], "one infrared and one visible"),
    (["ir.png", "vi.png", "-o", "x.png", "--watch"], "ir.png is not a folder; --watch; give --ir DIR --vi DIR"),
    (["SCENES", "-o", "SCENES/out", "--watch"], "SCENES/out is in a watched folder"),
    (["SCENES", "-o", "out", "--watch", "--dry-run"], "--watch and --dry-run"),
    (["SCENES", "-o", "out", "--depth", "d.png"], "SCENES is a folder; --depth; give the files"),
    (["ir.png", "vi.png", "-o", "x.png", "--depth", "d.jpg"], "d.jpg: depth maps have 16 bits"),
    (["ir.png", "vi.png", "-o", "x.png", "--depth", "vi.png", "--overwrite"], "vi.png is a source; --depth"),
    (["ir.png", "vi.png", "-o", "x.png", "--depth", "x.png"], "x.png is the fused picture; --depth"),
    (["--ir", "ir.png", "--vi", "vi.png", "-o", "x.png", "--depth", "d.png"], "IVF has no depth"),
])
def test_a_mistake_is_one_line(here: Path, words: list[str], message: str) -> None:
    before = {path: path.read_bytes() for path in Path(".").rglob("*.png")}
    with pytest.raises(UserError) as mistake:
        main([*words, *([] if "--model" in words else FAST)])
    assert message in str(mistake.value) and "\n" not in str(mistake.value)
    assert {path: path.read_bytes() for path in Path(".").rglob("*.png")} == before


def test_pairs_that_do_not_line_up_are_lined_up(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_rig(tmp_path, "a", 12)
    files = [str(tmp_path / "ir/a.png"), str(tmp_path / "vi/a.png"), "--align", "auto", *FAST]
    assert main([*files, "-o", str(tmp_path / "cut.png"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    moved, reference = told["alignment"]
    assert reference is None and told["notes"] == []
    assert moved["shift"] == pytest.approx([12, 0], abs=1) and moved["scale"] == pytest.approx(1, abs=0.01)
    assert moved["credible"] and moved["confidence"] > 0.2 and abs(moved["rotation"]) < 0.3
    width, height = read_picture(tmp_path / "vi/a.png").size
    assert 12 <= width - read_picture(tmp_path / "cut.png").size[0] <= 15
    assert main([*files, "-o", str(tmp_path / "whole.png"), "--fill"]) == 0
    assert read_picture(tmp_path / "whole.png").size == (width, height)
    assert "shift +12" in capsys.readouterr().out or "shift +11" in capsys.readouterr().out


def test_a_map_is_made_from_the_first_pair_and_applied_to_the_others(
        tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_rig(tmp_path, "ab", 12)
    night = np.full_like(read_picture(tmp_path / "vi/b.png").pixels, 5)
    night[0, 0] = 6, 9, 5
    write(tmp_path / "vi/b.png", night)
    folders = ["--ir", str(tmp_path / "ir"), "--vi", str(tmp_path / "vi"), "-o", str(tmp_path / "out"), *FAST]
    kept = ["--align-map", str(tmp_path / "rig.json"), "--json"]
    with pytest.raises(UserError, match=r"no alignment map .*rig\.json; --align-map; give --align auto"):
        main([*folders, *kept])
    assert main([*folders, *kept, "--align", "auto", "--dry-run"]) == 2
    assert not (tmp_path / "rig.json").exists()
    capsys.readouterr()
    assert main([*folders, *kept, "--align", "auto"]) == 0
    first, second = (json.loads(line)["alignment"] for line in capsys.readouterr().out.splitlines())
    assert first == second
    assert main([*folders, *kept, "--overwrite"]) == 0
    assert [json.loads(line)["alignment"] for line in capsys.readouterr().out.splitlines()] == [first, first]


def test_what_does_not_line_up_credibly_is_fused_as_it_lies_and_told(
        here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["ir.png", "vi.png", "-o", "as_is.png", *FAST]) == 0
    assert main(["ir.png", "vi.png", "-o", "doubtful.png", "--align", "auto", "--json", *FAST]) == 2
    said = capsys.readouterr()
    told = json.loads(said.out.splitlines()[-1])
    assert told["status"] == "fused" and not told["alignment"][0]["credible"]
    assert "no credible alignment" in told["notes"][0]
    assert main(["ir.png", "vi.png", "-o", "doubtful.png", "--align", "auto", "--overwrite", *FAST]) == 2
    assert "note: ir.png: no credible alignment with vi.png" in capsys.readouterr().err
    assert np.array_equal(read_picture("doubtful.png").pixels, read_picture("as_is.png").pixels)


def test_a_smaller_infrared_picture_is_found_in_the_visible_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_rig(tmp_path, "a", 0)
    field = cv2.imread(str(tmp_path / "ir/a.png"), cv2.IMREAD_GRAYSCALE)[40:280, 90:410]
    write(tmp_path / "ir/a.png", cv2.resize(field, (160, 120), interpolation=cv2.INTER_AREA))
    files = [str(tmp_path / "ir/a.png"), str(tmp_path / "vi/a.png"), "-o", str(tmp_path / "o.png"), *FAST]
    assert main([*files, "--align", "auto", "--resize", "second"]) == 0
    assert read_picture(tmp_path / "o.png").size == pytest.approx((320, 240), abs=6)
    assert main([*files, "--align", "auto", "--overwrite"]) == 2
    assert "left out: the pictures of one pair differ in size" in capsys.readouterr().err
