"""`defusionpp fuse` with files of thermal cameras: what is fused, shown and kept, and what a mistake prints."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from app.fuse import main, parser
from models.fuser import Fuser
from tests.radiometric import centroid, lit, warm, write_dji, write_flir
from utils.errors import UserError
from utils.pictures.alignment import Alignment, Calibration
from utils.pictures.alignment.geometry import translation
from utils.pictures.reading import read_picture
from utils.pictures.thermal import PALETTES, read_thermal
from utils.pictures.thermal.colours import colours
from utils.pictures.writing import write_picture

pytest.importorskip("flyr", reason="reads FLIR files; pip install 'defusionpp[thermal]'")

FAST = ["--model", "SaliencePyramid"]
SIZE = 96, 72


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a FLIR file with a photograph (hot.jpg) and one without (bare.jpg), and photographs."""
    monkeypatch.chdir(tmp_path)
    write_flir(Path("hot.jpg"), warm((20, 16)), lit((41, 33), SIZE, 10), (1.0, 0, 0))
    write_flir(Path("bare.jpg"), warm((20, 16)))
    for name, size in (("photo.png", (48, 36)), ("large.png", SIZE)):
        write_picture(name, lit((size[0] * 0.42, size[1] * 0.45), size, size[0] / 10))
    return tmp_path


def test_one_file_is_a_scene(here: Path, capsys: pytest.CaptureFixture) -> None:
    """The fusion of its temperatures with its photograph, in one line that says the range."""
    assert main(["hot.jpg", "-o", "x.png", "--device", "cpu"]) == 0
    scene = read_thermal("hot.jpg")
    fused = Fuser.from_pretrained(device="cpu")(scene.infrared, scene.visible, task="IVF").fused
    assert np.array_equal(read_picture("x.png").pixels, fused) and fused.dtype == np.uint8
    low, high = scene.limits
    assert f"x.png: fused as IVF ({low:.1f} to {high:.1f} degrees Celsius, its own photograph), " in \
        capsys.readouterr().out
    assert b"FLIR Systems AB" in read_picture("x.png").metadata.exif


def test_temperatures_are_shown_and_kept(here: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["hot.jpg", "-o", "x.png", "--palette", "turbo", "--range", "20:40", "--json", *FAST]
    assert main([*words, "--temperatures", "x.tif"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["celsius"] == [20, 40] and told["temperatures"] == "x.tif"
    shown, celsius = read_picture("x.png").pixels, tifffile.imread("x.tif")
    assert celsius.dtype == np.float32 and celsius.shape == shown.shape[:2] == SIZE[::-1]
    assert np.array_equal(celsius, read_thermal("hot.jpg").temperatures)
    expected = colours("turbo")[np.round((celsius.clip(20, 40) - 20) / 20 * 255).astype(int)]
    assert np.abs(cv2.GaussianBlur(shown / 255 - expected, (0, 0), 4)).mean() < 0.02
    assert main([*words, "--colour-bar", "--overwrite"]) == 0
    with_bar = read_picture("x.png").pixels
    assert np.array_equal(with_bar[:, :SIZE[0]], shown) and with_bar.shape[1] > SIZE[0]


def test_a_range_may_be_all_of_the_picture(here: Path, capsys: pytest.CaptureFixture) -> None:
    for words, high in (([], 38.7), (["--range", "percentile"], 38.7), (["--range", "minmax"], 40)):
        assert main(["hot.jpg", "-o", "x.png", "--json", "--dry-run", *words]) == 0
        assert json.loads(capsys.readouterr().out)["celsius"] == pytest.approx([20, high], abs=0.1)


def test_a_range_may_start_below_zero(here: Path, capsys: pytest.CaptureFixture) -> None:
    for words in (["--range", "-10:40.5"], ["--range=-10:40.5"]):
        assert main(["hot.jpg", "-o", "x.png", "--json", "--dry-run", *words]) == 0
        assert json.loads(capsys.readouterr().out)["celsius"] == [-10, 40.5]


@pytest.mark.parametrize("files", [["bare.jpg", "photo.png"], ["photo.png", "bare.jpg"],
                                   ["--ir", "bare.jpg", "--vi", "photo.png"], ["--ir", "bare.jpg", "--vi", "hot.jpg"]])
def test_a_photograph_may_be_a_file_of_its_own(here: Path, files: list[str], capsys: pytest.CaptureFixture) -> None:
    """In any order; two files with temperatures are told apart by --ir and --vi."""
    assert main([*files, "-o", "x.png", "--temperatures", "x.tif", "--palette", "iron", *FAST]) == 0
    assert "degrees Celsius, and a photograph" in capsys.readouterr().out
    assert np.abs(tifffile.imread("x.tif") - warm((20, 16))).max() < 0.05
    assert read_picture("x.png").size == (48, 36)


def test_a_folder_of_a_scene_holds_a_file_and_its_photograph(here: Path) -> None:
    write_picture("SCENES/one/a.png", read_picture("photo.png").pixels)
    write_flir(Path("SCENES/one/b.jpg"), warm((20, 16)))
    assert main(["SCENES", "-o", "out", *FAST]) == 0
    assert main(["bare.jpg", "photo.png", "-o", "x.png", *FAST]) == 0
    assert np.array_equal(read_picture("out/one.png").pixels, read_picture("x.png").pixels)


def test_temperatures_move_with_the_infrared(here: Path) -> None:
    """A photograph whose content lies 6 pixels further right and 4 further down, by a known map."""
    Calibration(Alignment(translation(-6, -4), (48, 36), (48, 36), 1.0), Path("rig.json")).write()
    words = ["bare.jpg", "photo.png", "--align-map", "rig.json", "--temperatures", "x.tif", "--overwrite", *FAST]
    assert main([*words, "-o", "x.png"]) == 0
    celsius = tifffile.imread("x.tif")
    assert celsius.shape == read_picture("x.png").pixels.shape[:2] == (32, 42)
    assert centroid(celsius) == pytest.approx([20, 16], abs=0.2)  # 26, 20 in the photograph, which is cut by 6 and 4
    assert main([*words, "-o", "x.png", "--fill", "--palette", "iron"]) == 0
    celsius = tifffile.imread("x.tif")
    assert celsius.shape == (36, 48)
    assert np.isnan(celsius[:4]).all() and np.isnan(celsius[:, :6]).all() and not np.isnan(celsius[4:, 6:]).any()


def test_filling_keeps_the_whole_photograph(here: Path) -> None:
    write_flir(Path("zoomed.jpg"), warm((20, 16)), lit((41, 33), SIZE, 10), (2.0, 0, 0))
    assert main(["zoomed.jpg", "-o", "x.png", "--fill", *FAST]) == 0
    assert read_picture("x.png").size == SIZE
    Calibration(Alignment(translation(-6, -4), (48, 36), (48, 36), 1.0), Path("rig.json")).write()
    for words in ([], ["--fill", "--align-map", "rig.json"]):  # what is aligned afterwards is cut first
        assert main(["zoomed.jpg", "-o", "x.png", "--overwrite", *words, *FAST]) == 0
        assert read_picture("x.png").size == (48, 36)


def test_every_file_of_a_folder_is_a_scene(here: Path, capsys: pytest.CaptureFixture) -> None:
    """Numbered names are no series; photographs go by name, other pictures are noted, one bad file costs no other."""
    for number in (1, 2):
        write_flir(Path(f"DCIM/IR_000{number}.jpg"), warm((20, 16)), lit((41, 33), SIZE, 10), (1.0, 0, 0))
    write_flir(Path("DCIM/bare_ir.jpg"), warm((20, 16)))
    write_picture("DCIM/bare_vi.png", read_picture("photo.png").pixels)
    write_flir(Path("DCIM/alone.jpg"), warm((20, 16)))
    write_picture("DCIM/DC_0003.jpg", read_picture("photo.png").pixels)
    write_flir(Path("DCIM/deeper/IR_0009.jpg"), warm((20, 16)))
    assert main(["DCIM", "-o", "out", "--temperatures", "celsius", "--palette", "iron", *FAST]) == 2
    said = capsys.readouterr()
    assert sorted(path.name for path in Path("out").iterdir()) == ["IR_0001.png", "IR_0002.png", "bare_ir.png"]
    assert sorted(path.name for path in Path("celsius").iterdir()) == ["IR_0001.tif", "IR_0002.tif", "bare_ir.tif"]
    assert "note: DCIM: DC_0003.jpg left out: no temperatures\n" in said.err
    assert "note: DCIM: deeper left out: folders in a folder of files with temperatures\n" in said.err
    assert "out/alone.png: left out: DCIM/alone.jpg: no photograph inside; give one" in said.err
    Path("DCIM/alone.jpg").rename("DCIM/IR_0001.jpeg")
    assert main(["DCIM", "-o", "out", "--resume", *FAST]) == 2
    assert "note: DCIM/IR_0001.jpg: another file has this stem; left out\n" in capsys.readouterr().err
    Path("DCIM/IR_0001.jpeg").unlink()
    assert main(["DCIM", "-o", "out", "--resume", *FAST]) == 0
    assert capsys.readouterr().out.count("kept, newer than its sources") == 3
    assert main(["DCIM/IR_0001.jpg", "DCIM/IR_0002.jpg", "-o", "named", *FAST]) == 0
    assert sorted(path.name for path in Path("named").iterdir()) == ["IR_0001.png", "IR_0002.png"]


def test_files_of_a_dji_drone_go_with_their_photographs(here: Path, monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "dji_thermal_cli", None)
    Path("fly").mkdir()
    write_dji(Path("fly/DJI_0001_T.JPG"))
    write_picture("fly/DJI_0001_W.JPG", read_picture("large.png").pixels)
    assert main(["fly", "-o", "out", "--json", *FAST]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["pictures"] == ["fly/DJI_0001_T.JPG", "fly/DJI_0001_W.JPG"]
    assert "pip install 'defusionpp[thermal-dji]'" in told["reason"]


@pytest.mark.parametrize(("words", "message"), [
    (["photo.png", "large.png", "-o", "x.png", "--palette", "iron"],
     "no temperatures in photo.png or large.png; --palette; it is for radiometric JPEGs"),
    (["photo.png", "large.png", "-o", "x.png", "--range", "20:40"], "; --range; it is for"),
    (["photo.png", "large.png", "-o", "x.png", "--temperatures", "t.tif"], "; --temperatures; it is for"),
    (["hot.jpg", "-o", "x.png", "--colour-bar"], "--colour-bar is for colours; command line; give --palette"),
    (["hot.jpg", "-o", "x.png", "--palette", "irn"], "--palette irn: no such palette (did you mean iron"),
    (["hot.jpg", "-o", "x.png", "--range", "40:20"], "40:20: give full, minmax, percentile, or two rising temp"),
    (["hot.jpg", "-o", "x.png", "--range", "warm"], "warm: give full, minmax, percentile, or two rising temp"),
    (["hot.jpg", "-o", "x.png", "--temperatures", "t.png"], "t.png: temperatures are 32-bit floats, .tif, .tiff"),
    (["hot.jpg", "-o", "x.tif", "--temperatures", "x.tif"], "x.tif is the fused picture; --temperatures"),
    (["hot.jpg", "bare.jpg", "-o", "x.png"], "x.png is a picture's name; -o; give a folder, as there are many scenes"),
    (["hot.jpg", "bare.jpg", "-o", "out", "--temperatures", "x.tif"], "x.tif is a picture's name; --temperatures"),
    (["hot.jpg", "bare.jpg", "photo.png", "-o", "out"], "hot.jpg has temperatures and photo.png has none"),
    (["hot.jpg", "-o", "x.png", "--depth", "d.png"], "IVF has no depth; --depth"),
    (["hot.jpg", "-o", "hot.jpg", "--overwrite"], "hot.jpg is a source; -o"),
    (["none.jpg", "-o", "x.png"], "no file none.jpg; check the path"),
])
def test_a_mistake_is_one_line(here: Path, words: list[str], message: str) -> None:
    before = {path: path.read_bytes() for path in Path(".").iterdir()}
    with pytest.raises(UserError) as mistake:
        main([*words, *FAST])
    assert message in str(mistake.value) and "\n" not in str(mistake.value)
    assert {path: path.read_bytes() for path in Path(".").iterdir()} == before


def test_what_cannot_be_fused_leaves_nothing(here: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["-o", "x.png", "--temperatures", "x.tif", *FAST]
    assert main(["bare.jpg", *words]) == 2
    assert "x.png: left out: bare.jpg: no photograph inside; give one of the same scene" in capsys.readouterr().err
    assert main(["bare.jpg", "large.png", *words]) == 2
    assert "the pictures of one pair differ in size" in capsys.readouterr().err
    assert not Path("x.png").exists() and not Path("x.tif").exists()
    assert main(["bare.jpg", "large.png", "--resize", "second", *words]) == 0
    assert tifffile.imread("x.tif").shape == SIZE[::-1]


def test_a_range_without_temperatures_is_noted(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["hot.jpg", "-o", "x.png", "--range", "100:200", "--dry-run"]) == 0
    assert "no temperature from 100 to 200, they are from 20.0 to 40.0 degrees Celsius" in capsys.readouterr().err


def test_the_help_names_every_palette() -> None:
    assert ", ".join(PALETTES) in " ".join(parser().format_help().split())
