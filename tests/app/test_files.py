"""Files of `defusionpp fuse`: format, quality, bits and range as asked for, metadata kept, mistakes in one line."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from app.fuse import main
from tests.utils.pictures.samples import (
    EXIF_PART,
    MAKE,
    ORIENTATION,
    P3,
    PIXELS_X,
    PIXELS_Y,
    XMP,
    record,
    smooth,
    with_thumbnail,
    write_dng,
    write_sample,
)
from utils.errors import UserError
from utils.pictures import notes
from utils.pictures.formats import BY_SUFFIX
from utils.pictures.reading import read_picture

FAST = ["--model", "SaliencePyramid", "--device", "cpu"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an infrared and a visible picture, two exposures, and folders of scenes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notes, "_noted", set())
    cv2.imwrite("ir.png", 255 - smooth()[..., 1])
    write_sample(Path("vi.jpg"), icc=P3, exif=with_thumbnail(record(turn=6), bytes(99)), xmp=XMP)
    turned = cv2.rotate(cv2.imread("ir.png", 0), cv2.ROTATE_90_CLOCKWISE)
    cv2.imwrite("ir.png", turned)
    for name, gain in (("over.png", 1), ("under.png", 0.3)):
        cv2.imwrite(name, (smooth() * gain).astype(np.uint8))
    for stem in ("one", "two.b"):
        for side in ("a", "b"):
            Path("SCENES", stem).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(f"SCENES/{stem}/{side}.png", smooth())
    return tmp_path


@pytest.mark.parametrize("suffix", [suffix for suffix, one in BY_SUFFIX.items() if one.metadata])
def test_a_result_of_every_format_has_the_metadata_of_the_visible_one(here: Path, suffix: str) -> None:
    """As another reader finds it: upright, its own size, profile and rating kept, no thumbnail."""
    if suffix in (".heic", ".heif"):
        pytest.importorskip("pillow_heif", reason="HEIC is an extra").register_heif_opener()
    assert main(["ir.png", "vi.jpg", "-o", f"fused{suffix}", *FAST]) == 0
    with Image.open(f"fused{suffix}") as picture:
        exif = picture.getexif()
        part = exif.get_ifd(EXIF_PART)
        assert picture.size == (48, 64) and picture.info["icc_profile"] == P3 and b'Rating="4"' in picture.info["xmp"]
        assert (part[PIXELS_X], part[PIXELS_Y]) == (48, 64) and not exif.get_ifd(-1)
        assert exif[MAKE] == "a camera" and exif.get(ORIENTATION, 1) == 1


def test_the_metadata_of_the_infrared_stand_in_only_where_the_visible_one_has_none(here: Path) -> None:
    thermal = Image.Exif()
    thermal[MAKE] = "a thermal camera"
    Image.fromarray(255 - smooth()[..., 1]).save("hot.jpg", exif=thermal, quality=98)
    write_sample(Path("photo.jpg"), exif=record())
    cv2.imwrite("bare.png", smooth())
    for visible, expected in (("photo.jpg", "a camera"), ("bare.png", "a thermal camera")):
        assert main(["hot.jpg", visible, "-o", "fused.jpg", "--overwrite", *FAST]) == 0
        with Image.open("fused.jpg") as picture:
            assert picture.getexif()[MAKE] == expected


def test_the_first_exposure_given_hands_on_its_metadata(here: Path) -> None:
    write_sample(Path("dark.jpg"), exif=record(), xmp=XMP)
    cv2.imwrite("bright.png", smooth() // 2 + 127)
    assert main(["dark.jpg", "bright.png", "-o", "fused.jpg", "--task", "MEF", *FAST]) == 0
    assert read_picture("fused.jpg").metadata.xmp == XMP


def test_colours_of_another_profile_are_converted_with_a_note(here: Path, capsys: pytest.CaptureFixture) -> None:
    write_sample(Path("p3.jpg"), icc=P3)
    cv2.imwrite("dark.png", smooth()[..., ::-1] // 3)
    assert main(["p3.jpg", "dark.png", "-o", "fused.png", "--task", "MEF", *FAST]) == 0
    assert "note: dark.png: converted from sRGB to RGB built-in, the colour space of p3.jpg" in capsys.readouterr().err
    assert read_picture("fused.png").metadata.icc == P3


def test_quality_and_bits(here: Path) -> None:
    sizes = {}
    for quality in (30, 95):
        assert main(["over.png", "under.png", "-o", f"{quality}.jpg", "--quality", str(quality), *FAST]) == 0
        sizes[quality] = Path(f"{quality}.jpg").stat().st_size
    assert sizes[30] < sizes[95]
    assert main(["over.png", "under.png", "-o", "deep.png", "--bits", "16", *FAST]) == 0
    assert main(["over.png", "under.png", "-o", "flat.png", *FAST]) == 0
    deep, flat = read_picture("deep.png").pixels, read_picture("flat.png").pixels
    assert (deep.dtype, flat.dtype) == (np.uint16, np.uint8)
    assert np.abs(deep / 257 - flat).max() <= 0.51 and (deep % 257).any()  # finer than 8 bits widened


def test_16_bits_become_8_where_the_format_has_no_more(here: Path) -> None:
    for name, gain in (("a.tif", 1), ("b.tif", 0.3)):
        cv2.imwrite(name, (smooth(np.uint16) * gain).astype(np.uint16))
    assert main(["a.tif", "b.tif", "-o", "c.jpg", *FAST]) == 0
    assert main(["a.tif", "b.tif", "-o", "c.png", *FAST]) == 0
    assert main(["a.tif", "b.tif", "-o", "d.png", "--bits", "8", *FAST]) == 0
    assert read_picture("c.png").bit_depth == 16 and read_picture("c.jpg").bit_depth == 8
    assert np.abs(read_picture("c.png").pixels / 257 - read_picture("d.png").pixels).max() <= 0.51


def test_a_format_for_a_folder_of_results(here: Path) -> None:
    assert main(["SCENES", "-o", "OUT", "--format", "webp", "--task", "MFF", *FAST]) == 0
    assert sorted(path.name for path in Path("OUT").iterdir()) == ["one.webp", "two.b.webp"]
    assert main(["SCENES", "-o", "OUT", "--format", "webp", "--task", "MFF", "--resume", *FAST]) == 0


def test_a_format_never_lets_a_result_replace_a_source(here: Path) -> None:
    for side in ("IR", "VI"):
        Path(side).mkdir()
        cv2.imwrite(f"{side}/a.jpg", smooth())
    with pytest.raises(UserError, match=r"VI/a\.jpg is a source; -o"):
        main(["--ir", "IR", "--vi", "VI", "-o", "VI", "--format", "jpg", "--overwrite", *FAST])


def test_raw_files_are_fused_and_linear_is_darker(here: Path) -> None:
    for name, exposure in (("a.dng", 1.0), ("b.dng", 0.25)):
        write_dng(Path(name), exposure=exposure)
    assert main(["a.dng", "b.dng", "-o", "camera.tif", *FAST]) == 0
    assert main(["a.dng", "b.dng", "-o", "linear.tif", "--raw", "linear", *FAST]) == 0
    camera, linear = read_picture("camera.tif"), read_picture("linear.tif")
    assert camera.bit_depth == 16 and linear.pixels.mean() < 0.7 * camera.pixels.mean()


def test_floats_of_a_scene_are_mapped_together_and_infrared_alone(here: Path, capsys: pytest.CaptureFixture) -> None:
    for name, gain in (("a.hdr", 1.0), ("b.hdr", 0.2)):
        cv2.imwrite(name, smooth().astype(np.float32) * gain)
    assert main(["a.hdr", "b.hdr", "-o", "x.png", *FAST]) == 2
    assert "a.hdr: values of type float32, for which the range full means nothing; set range to minmax" in \
        capsys.readouterr().err
    assert main(["a.hdr", "b.hdr", "-o", "x.png", "--range", "minmax", *FAST]) == 0
    assert ": fused as MEF" in capsys.readouterr().out  # their difference in brightness is kept
    few = (smooth(np.uint16)[..., 1] // 300 + 20_000).astype(np.uint16)
    cv2.imwrite("thermal.png", few)
    cv2.imwrite("photo.png", smooth() // 2)
    assert main(["thermal.png", "photo.png", "-o", "dark.png", *FAST]) == 0
    assert "shows next to nothing; set ir_range (or range)" in capsys.readouterr().err
    assert main(["thermal.png", "photo.png", "-o", "alone.png", "--range", "percentile", *FAST, "--bits", "8"]) == 0
    chroma = [np.ptp(read_picture(name).pixels.astype(float), axis=2).mean() for name in ("alone.png", "photo.png")]
    assert chroma[0] == pytest.approx(chroma[1], rel=0.25)  # the visible one is not stretched


@pytest.mark.parametrize(("words", "message"), [
    (["-o", "x.gif"], "x.gif: pictures are written as .png, .tif, .tiff, .jpg, .jpeg, .webp, .heic"),
    (["-o", "x.jpg", "--quality", "200"], "argument --quality: 200: give a whole number from 1 to 100"),
    (["-o", "x.jpg", "--quality", "high"], "argument --quality: high: give a whole number from 1 to 100"),
    (["-o", "x.png", "--quality", "90"], ".png keeps every value and has no quality; --quality; leave it out, or"),
    (["-o", "x.jpg", "--bits", "16"], ".jpg holds 8 bit only; --bits 16; write .png, .tif, .tiff, .heic, .heif"),
    (["-o", "x.png", "--format", "jpg"], "x.png is a file, whose suffix decides; --format; leave it out"),
    (["night/*.JPG", "-o", "x.png"], "no file matches night/*.JPG; check the folder, and capital letters"),
    (["-o", "ir.png/x.png"], "ir.png is a file, a folder is needed there; give another one"),
    (["-o", "x.png", "--range", "20-40"], "20-40: give full, minmax, percentile, or two rising temperatures"),
])
def test_a_mistake_is_one_line_before_anything_is_fused(here: Path, words: list[str], message: str) -> None:
    before = sorted(here.iterdir())
    with pytest.raises(UserError) as mistake:
        main(["over.png", "under.png", *words, *FAST])
    assert message in str(mistake.value) and "\n" not in str(mistake.value)
    assert sorted(here.iterdir()) == before


def test_a_pattern_that_the_shell_left_is_expanded(here: Path) -> None:
    assert main(["SCENES/one/*.png", "-o", "x.png", *FAST]) == 0
    Path("odd[1].png").write_bytes(Path("over.png").read_bytes())
    assert main(["odd[1].png", "under.png", "-o", "y.png", *FAST]) == 0  # a name, not a pattern


def test_a_place_that_cannot_be_written_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture) -> None:
    """Found only when writing, as on a network drive: the scene is left out, without a traceback."""
    def refuse(self: Path, content: bytes) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert main(["over.png", "under.png", "-o", "x.png", *FAST]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "x.png: left out: it cannot be written (Permission denied); give another folder"


def test_a_heic_without_its_library_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture) -> None:
    """For a result before anything is fused, for a source as the reason for which its scene is left out."""
    write_sample(Path("a.heic"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"x\.heic: HEIC needs pillow_heif, .*; pip install 'defusionpp\[heic\]'"):
        main(["over.png", "under.png", "-o", "x.heic", *FAST])
    assert main(["a.heic", "under.png", "-o", "x.png", *FAST]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("x.png: left out: a.heic: HEIC needs pillow_heif")
