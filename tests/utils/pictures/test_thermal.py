"""Radiometric JPEGs: temperatures, photograph and alignment of files with known content, and temperature as colour."""

import struct
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from tests.conftest import ROOT
from tests.radiometric import HEIGHT, WIDTH, Camera, centroid, lit, plain_jpeg, warm, write_dji, write_flir
from tests.utils.pictures.samples import XMP
from utils.errors import UserError
from utils.pictures.picture import Picture
from utils.pictures.reading import read_picture
from utils.pictures.thermal import (
    PALETTES,
    coloured,
    is_radiometric,
    read_thermal,
    with_bar,
    write_temperatures,
)
from utils.pictures.thermal.colours import colours, ticks
from utils.pictures.thermal.files import read_thermogram
from utils.pictures.writing import write_picture

pytest.importorskip("flyr", reason="reads FLIR files; pip install 'defusionpp[thermal]'")

@pytest.mark.parametrize("camera", [Camera(), Camera(raw_png=False), Camera(raw_png=False, little_endian=True)])
def test_temperatures_are_those_of_plancks_law(tmp_path: Path, camera: Camera) -> None:
    truth = np.linspace(-20, 120, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    read = read_thermogram(write_flir(tmp_path / "a.jpg", truth, camera=camera))
    assert read.celsius.dtype == np.float32
    assert np.abs(read.celsius - truth).max() < 0.04  # a raw value is .07 degrees at -20, .02 at 40
    assert read.photograph is None and read.offsets is None


@pytest.mark.parametrize("camera", [Camera(), Camera(photo_png=True), Camera(little_endian=True)])
def test_the_photograph_has_its_colours(tmp_path: Path, camera: Camera) -> None:
    """Two colours that channels in another order, or Y, Cb and Cr taken for RGB, would change; several segments."""
    photograph = np.zeros((240, 320, 3), np.uint8)
    photograph[:, :160], photograph[:, 160:] = (200, 60, 30), (30, 90, 180)
    noise = np.random.default_rng(0).integers(0, 12, photograph.shape, dtype=np.uint8)
    path = write_flir(tmp_path / "a.jpg", warm((20, 20)), photograph + noise, (1.2, 0, 0), camera)
    assert path.read_bytes().count(b"FLIR\0\1") > 1 or not camera.photo_png
    read = read_thermogram(path).photograph
    for half in (np.s_[:, 10:150], np.s_[:, 170:310]):
        assert np.abs(read[half].mean((0, 1)) - (photograph + noise)[half].mean((0, 1))).max() < 2


@pytest.mark.parametrize(("size", "offsets", "zoom"), [
    ((320, 240), (1.6, 0, 0), 0.0), ((320, 240), (1.6, 14, -9), 0.0), ((320, 240), (3.2, 14, -9), 2.0),
    ((320, 240), (1.1, 60, 0), 0.2), ((40, 30), (1.25, 3, -2), 0.0)])
def test_the_offsets_of_the_file_align_both_pictures(tmp_path: Path, size: tuple[int, int], offsets: tuple,
                                                     zoom: float) -> None:
    """A warm lamp, drawn where it is in each camera; the last infrared is finer than its photograph."""
    pitch = size[0] / (offsets[0] / max(zoom, 1)) / WIDTH
    spot = np.array([19.0, 21.0])
    middle = np.array([(side - 1) / 2 for side in size]) + offsets[1:]
    seen = middle + (spot - [(WIDTH - 1) / 2, (HEIGHT - 1) / 2]) * pitch
    scene = read_thermal(write_flir(tmp_path / "a.jpg", warm(tuple(spot)), lit(tuple(seen), size, 5 * pitch), offsets,
                                    Camera(zoom=zoom)))
    shape = scene.infrared.pixels.shape[:2]
    assert scene.visible.pixels.shape[:2] == scene.temperatures.shape == shape
    assert not np.isnan(scene.temperatures).any() and scene.temperatures.max() == pytest.approx(40, abs=0.6)
    apart = centroid(scene.infrared.pixels[..., 0]) - centroid(scene.visible.pixels[..., 1])
    assert np.abs(apart).max() < 0.2
    assert np.abs(centroid(scene.temperatures) - centroid(scene.infrared.pixels[..., 0])).max() < 0.2
    half = WIDTH * pitch / 2
    seen_width = min(size[0], size[0] / 2 + offsets[1] + half) - max(0, size[0] / 2 + offsets[1] - half)
    assert shape[1] == pytest.approx(seen_width * max(1, 1 / pitch), abs=1.5)


def test_without_offsets_both_show_the_same_field(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_flir(tmp_path / "a.jpg", warm((20, 20)), lit((60, 60), (96, 72), 10))
    assert read_thermal(path).visible.size == (96, 72)
    assert "no offsets of the photograph inside" in caplog.text


def test_filling_keeps_the_whole_photograph(tmp_path: Path) -> None:
    path = write_flir(tmp_path / "a.jpg", warm((20, 20)), lit((80, 60), (160, 120), 10), (2.0, 0, 0))
    cut, whole = read_thermal(path), read_thermal(path, margin="fill")
    assert cut.visible.size == (80, 60) and whole.visible.size == (160, 120)
    inside = np.s_[30:90, 40:120]
    assert np.isnan(whole.temperatures).sum() == 160 * 120 - 80 * 60
    assert np.array_equal(whole.temperatures[inside], cut.temperatures)
    grey = cv2.cvtColor(whole.visible.pixels, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(whole.infrared.pixels[:30, :, 0], grey[:30])


def test_the_range_is_robust_or_as_given(tmp_path: Path) -> None:
    celsius = np.tile(np.linspace(10, 30, WIDTH), (HEIGHT, 1))
    celsius[0, 0] = 150
    path = write_flir(tmp_path / "a.jpg", celsius, lit((20, 20), (WIDTH, HEIGHT), 5), (1.0, 0, 0))
    assert read_thermal(path).limits == pytest.approx((10, 30), abs=0.2)
    assert read_thermal(path, limits="minmax").limits == pytest.approx((10, 150), abs=0.1)
    scene = read_thermal(path, limits=(20, 40))
    expected = np.round(255 * np.clip((celsius - 20) / 20, 0, 1))
    assert scene.limits == (20, 40)
    assert np.abs(scene.infrared.pixels[..., 0] - expected).max() <= 1
    flat = write_flir(tmp_path / "b.jpg", np.full((HEIGHT, WIDTH), 25.0))
    low, high = read_thermal(flat, write_photograph(tmp_path)).limits
    assert high - low == pytest.approx(0.1) and (low + high) / 2 == pytest.approx(25, abs=0.05)


def write_photograph(folder: Path) -> Path:
    path = folder / "photograph.png"
    cv2.imwrite(str(path), lit((60, 40), (128, 96), 12)[..., ::-1])
    return path


def test_a_separate_photograph_keeps_its_size(tmp_path: Path) -> None:
    path = write_flir(tmp_path / "a.jpg", warm((20, 20)))
    scene = read_thermal(path, write_photograph(tmp_path))
    assert (scene.infrared.size, scene.visible.size) == ((WIDTH, HEIGHT), (128, 96))
    assert np.array_equal(scene.visible.pixels, read_picture(tmp_path / "photograph.png").pixels)
    write_picture(tmp_path / "deep.png", scene.visible.pixels.astype(np.uint16) * 257)
    deep = read_thermal(path, tmp_path / "deep.png").infrared.pixels
    assert deep.dtype == np.uint16 and np.abs(deep / 257 - scene.infrared.pixels).max() <= 0.5


def test_the_orientation_turns_all_three(tmp_path: Path) -> None:
    args = warm((10, 8)), lit((30, 24), (144, 108), 10), (1.5, 2, -3)
    upright = read_thermal(write_flir(tmp_path / "a.jpg", *args))
    turned = read_thermal(write_flir(tmp_path / "b.jpg", *args, Camera(orientation=6)))
    for ours, stored in ((turned.infrared.pixels, upright.infrared.pixels), (turned.temperatures, upright.temperatures),
                         (turned.visible.pixels, upright.visible.pixels)):
        assert np.array_equal(ours, np.rot90(stored, -1))
    assert b"FLIR Systems AB" in turned.visible.metadata.exif and turned.visible.metadata.icc is None


def test_the_row_of_the_table_of_formats(tmp_path: Path) -> None:
    """In docs/DATA.md: temperatures are floats and the photograph has 8 bits; a profile is that of another picture."""
    path = write_flir(tmp_path / "a.jpg", warm((20, 20)), lit((20, 20), (96, 72), 5), (1.0, 0, 0))
    packet = b"http://ns.adobe.com/xap/1.0/\0" + XMP
    content = path.read_bytes()
    path.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet + content[2:])
    scene = read_thermal(path)
    kept = scene.visible.metadata
    assert read_picture(path).metadata.icc and kept.icc is None
    assert kept.xmp == XMP and b"FLIR Systems AB" in kept.exif
    assert (scene.visible.bit_depth, scene.temperatures.dtype) == (8, np.float32)
    row = "| radiometric JPEG | yes | – | yes | – | yes | yes | yes | – | – | – | – | – |"
    assert row in (ROOT / "docs" / "DATA.md").read_text(encoding="utf-8").splitlines()


def test_what_is_not_radiometric_is_told(tmp_path: Path) -> None:
    path = write_flir(tmp_path / "a.jpg", warm((20, 20)))
    (tmp_path / "empty.jpg").touch()
    assert is_radiometric(path)
    assert not any(map(is_radiometric, [plain_jpeg(tmp_path / "b.jpg"), tmp_path / "empty.jpg", tmp_path / "none.jpg",
                                        write_photograph(tmp_path), tmp_path]))
    with pytest.raises(UserError, match=r"b\.jpg: no temperatures inside; give a radiometric JPEG"):
        read_thermal(tmp_path / "b.jpg")
    with pytest.raises(UserError, match=r"a\.jpg: no photograph inside; give one of the same scene: defusionpp fuse "
                                        r".*a\.jpg PHOTO\.jpg --align auto --resize second"):
        read_thermal(path)


def test_a_photograph_of_a_dji_drone_is_not_radiometric(tmp_path: Path) -> None:
    path = write_dji(tmp_path / "DJI_0001_V.JPG")
    assert is_radiometric(path)
    path.write_bytes(path.read_bytes().replace(b"\xff\xe4", b"\xff\xe6", 1))
    assert not is_radiometric(path)


def test_damage_is_told(tmp_path: Path) -> None:
    content = write_flir(tmp_path / "a.jpg", warm((20, 20)), lit((20, 20), (96, 72), 5), (1.0, 0, 0)).read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[:len(content) // 2])
    header = content.index(b"FFF\0")
    broken = bytearray(content)
    struct.pack_into(">I", broken, header + 64 + 32 + 12, 1 << 30)  # where the raw values start
    (tmp_path / "broken.jpg").write_bytes(broken)
    for name, message in (("half", "truncated"), ("broken", "its temperatures cannot be read")):
        with pytest.raises(UserError) as mistake:
            read_thermal(tmp_path / f"{name}.jpg")
        assert message in str(mistake.value) and "\n" not in str(mistake.value)


def test_a_missing_package_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flyr", None)
    with pytest.raises(UserError, match=r"a\.jpg: temperatures of a FLIR camera; flyr is not installed; "
                                        r"pip install 'defusionpp\[thermal\]'$"):
        read_thermal(write_flir(tmp_path / "a.jpg", warm((20, 20))))


def test_temperatures_of_dji_come_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dji(tmp_path / "DJI_0001_T.JPG")
    package = types.ModuleType("dji_thermal_cli")
    package.measure = lambda file: types.SimpleNamespace(temperature=warm((20, 20)) + len(str(file)))
    monkeypatch.setitem(sys.modules, "dji_thermal_cli", package)
    scene = read_thermal(path, write_photograph(tmp_path))
    assert np.allclose(scene.temperatures, warm((20, 20)) + len(str(path))) and scene.temperatures.dtype == np.float32
    monkeypatch.setitem(sys.modules, "dji_thermal_cli", None)
    with pytest.raises(UserError, match=r"pip install 'defusionpp\[thermal-dji\]' \(Python 3\.12 or newer\)$"):
        read_thermal(path)


def test_temperatures_are_written_as_they_are(tmp_path: Path) -> None:
    celsius = warm((20, 20)).astype(np.float32)
    celsius[0, 0] = np.nan
    path = write_temperatures(tmp_path / "deep" / "a.tif", celsius)
    stored = tifffile.imread(path)
    assert stored.dtype == np.float32 and np.array_equal(stored, celsius, equal_nan=True)


@pytest.mark.parametrize("palette", PALETTES)
def test_a_flat_picture_has_the_colours_of_the_bar(palette: str) -> None:
    """At every temperature, in 8 and 16 bits; NaN keeps the fused picture."""
    celsius = np.tile(np.linspace(20, 30, 256, dtype=np.float32), (80, 1))
    celsius[:4] = np.nan
    for dtype in (np.uint8, np.uint16):
        fused = np.full((80, 256, 1), np.iinfo(dtype).max // 2, dtype)
        shown = coloured(fused, celsius, (20, 30), palette)
        assert shown.dtype == dtype and shown.shape == (80, 256, 3)
        assert np.array_equal(shown[:4], np.repeat(fused[:4], 3, 2))
        assert np.abs(shown[4:] / np.iinfo(dtype).max - colours(palette)).max() < 1 / 254


def test_palettes_go_from_cold_to_hot() -> None:
    assert {palette: bool(colours(palette)[20, 2] > colours(palette)[20, 0]) for palette in PALETTES} == \
        {"iron": True, "white-hot": False, "black-hot": False, "rainbow": True, "turbo": True}
    assert all(colours(palette)[200, 0] > colours(palette)[200, 2] for palette in ("iron", "rainbow", "turbo"))
    assert colours("white-hot").tolist() == colours("black-hot")[::-1].tolist()


def test_the_detail_is_that_of_the_fused_picture() -> None:
    """Its strokes are in every channel alike, its slow changes in none."""
    slow = np.tile(np.linspace(60, 160, 200), (200, 1))
    stripes = np.where(np.arange(200) % 4 < 2, 20.0, -20.0)
    fused = np.round(slow + stripes).astype(np.uint8)[..., None]
    shown = coloured(fused, np.full((200, 200), 25, np.float32), (20, 30), "iron").astype(int)
    inside = shown[20:-20, 20:-20] - np.round(255 * colours("iron")[128]).astype(int)
    assert np.abs(inside - np.where(np.arange(200) % 4 < 2, 20, -20)[None, 20:-20, None]).max() <= 2


def test_the_bar_shows_its_degrees() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (280, 200, 3), dtype=np.uint8)
    shown = with_bar(picture, (20.0, 40.0), "turbo")
    assert np.array_equal(shown[:, :200], picture) and 220 < shown.shape[1] < 260
    bar = shown[:, 200 + 16]  # 11 pixels of margin, 11 of bar
    coldest, hottest = (np.abs(bar.astype(int) - np.round(255 * colours("turbo")[end]).astype(int)).max(1).argmin()
                        for end in (0, -1))
    assert coldest > 260 and hottest < 30
    marks = np.flatnonzero(shown[:, 200 + 23].min(1) > 200)
    degrees = 20 + 20 * (coldest - marks) / (coldest - hottest)
    assert degrees == pytest.approx([40, 35, 30, 25, 20], abs=0.15)
    deep = with_bar(picture.astype(np.uint16) * 257, (20.0, 40.0), "turbo")
    assert np.array_equal(deep, shown.astype(np.uint16) * 257)
    assert with_bar(picture[:16, :16], (20.0, 40.0), "iron").shape[0] == 16


@pytest.mark.parametrize(("limits", "most", "expected"), [
    ((20.0, 40.0), 6, [20, 25, 30, 35, 40]), ((15.3, 32.4), 9, [16, 18, 20, 22, 24, 26, 28, 30, 32]),
    ((-66.4, -2.5), 7, [-60, -50, -40, -30, -20, -10]), ((24.43, 25.44), 6, [24.6, 24.8, 25.0, 25.2, 25.4])])
def test_ticks_are_round(limits: tuple[float, float], most: int, expected: list[float]) -> None:
    assert ticks(limits, most) == pytest.approx(expected)


def test_a_picture_with_temperatures_is_a_picture(tmp_path: Path) -> None:
    """Without this room, the rendered picture is read, as before."""
    path = write_flir(tmp_path / "a.jpg", warm((20, 20)))
    assert isinstance(read_picture(path), Picture) and read_picture(path).size == (WIDTH, HEIGHT)
