"""HEIC, AVIF, raw files, EXR and HDR: right values, whole files only, and one line where a library is missing."""

import sys
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest

from metrics.scores import told
from option.schema import TestDataOptions
from tests.utils.pictures.samples import HEIGHT, P3, WIDTH, record, smooth, write_dng, write_sample
from utils.errors import UserError
from utils.pictures.codecs import list_pictures
from utils.pictures.content import Metadata
from utils.pictures.reading import ReadingRule, read_picture, read_rgb8, read_scene, read_stored
from utils.pictures.structure import fault, stored_size
from utils.pictures.writing import write_picture

EXTRAS = {"heic": ("pillow_heif", "heic"), "dng": ("rawpy", "raw"), "exr": ("OpenEXR", "exr")}


def sample(folder: Path, suffix: str, depth: str | None = None) -> Path:
    path = write_sample(folder / f"a.{suffix}", depth or {"dng": "16", "exr": "float", "hdr": "float"}.get(suffix, "8"))
    assert path is not None
    return path


@pytest.mark.parametrize("suffix", ["heic", "avif"])
@pytest.mark.parametrize("depth, dtype", [("8", np.uint8), ("16", np.uint16)])
def test_deep_pictures_span_the_range(tmp_path, suffix, depth, dtype):
    """10 bits are scaled to 16, so that white is 65535."""
    pixels = read_picture(sample(tmp_path, suffix, depth)).pixels
    expected, top = smooth(dtype), np.iinfo(dtype).max
    assert pixels.dtype == dtype and np.abs(pixels.astype(float) - expected).mean() < 0.02 * top
    assert pixels.max() > 0.97 * top


def test_white_of_10_bits_is_white(tmp_path):
    """Encoded by our writer, and by another without the widening: 1023 is 65535 and not 1023 << 6."""
    heif = pytest.importorskip("pillow_heif", reason="HEIC is an extra")
    white = np.full((HEIGHT, WIDTH, 3), 65535, np.uint16)
    heif.from_bytes("RGB;16", (WIDTH, HEIGHT), white.tobytes()).save(tmp_path / "a.heic", quality=95)
    write_picture(tmp_path / "b.heic", white)
    for name in ("a.heic", "b.heic"):
        assert read_stored(tmp_path / name).values.min() == 65535


@pytest.mark.parametrize("suffix", ["heic", "avif", "webp", "jpg"])
def test_a_quality_changes_the_size(tmp_path, suffix):
    if suffix == "heic":
        pytest.importorskip("pillow_heif", reason="HEIC is an extra")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sizes = [write_picture(tmp_path / f"a.{suffix}", noise, quality=quality).stat().st_size for quality in (30, 80, 95)]
    assert sizes == sorted(sizes) and sizes[0] < 0.7 * sizes[2]
    assert write_picture(tmp_path / f"b.{suffix}", noise).stat().st_size == sizes[2]


def test_grey_stays_grey(tmp_path):
    pytest.importorskip("pillow_heif", reason="HEIC is an extra")
    for suffix in ("heic", "avif", "jpg", "tif", "png"):
        path = write_picture(tmp_path / f"a.{suffix}", smooth()[..., 0])
        assert read_picture(path).is_grey, suffix


@pytest.mark.parametrize("suffix", ["heic", "avif", "dng", "exr", "hdr"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_truncated_file_is_named(tmp_path, suffix, share, capfd):
    path = sample(tmp_path, suffix)
    data = path.read_bytes()
    assert fault(data, path.suffix) is None
    path.write_bytes(data[:int(share * len(data))])
    with pytest.raises(UserError, match=rf"a\.{suffix}: .*(truncated|damaged|not a picture)"):
        read_picture(path, value_range="minmax")
    if suffix != "hdr":  # its content is packed line by line: only decoding tells
        assert fault(path.read_bytes(), path.suffix)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", EXTRAS)
def test_a_missing_library_is_one_line_with_the_command(tmp_path, monkeypatch, suffix):
    path = sample(tmp_path, suffix)
    library, extra = EXTRAS[suffix]
    monkeypatch.setitem(sys.modules, library, None)
    for attempt in (lambda: read_picture(path), lambda: read_rgb8(path.read_bytes(), path)):
        with pytest.raises(UserError, match=rf"a\.{suffix}: .* needs {library}, .*install 'defusionpp\[{extra}\]'$"):
            attempt()
    assert "pip install" in (fault(path.read_bytes(), path.suffix) or "")


def test_a_missing_library_for_writing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"a\.heic: HEIC needs pillow_heif, .*'defusionpp\[heic\]'$"):
        write_picture(tmp_path / "a.heic", smooth())
    assert not list(tmp_path.iterdir())


def test_a_size_that_a_format_cannot_hold_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.webp: WEBP cannot hold this picture of 20000 x 16 .*\.png or \.tif"):
        write_picture(tmp_path / "a.webp", np.zeros((16, 20000), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["heic", "avif", "exr", "hdr"])
def test_the_size_is_known_before_decoding(tmp_path, suffix):
    path = sample(tmp_path, suffix)
    size = stored_size(path.read_bytes())
    assert size == (WIDTH, HEIGHT if suffix != "heic" else 64)  # of the coded blocks, which the decoder cuts
    with pytest.raises(UserError, match=rf"a\.{suffix}: 64 x {size[1]} pixels are more than max_megapixels"):
        read_picture(path, max_pixels=1000)


def test_a_raw_file_looks_as_the_scene_did(tmp_path):
    """Developed, the mosaic of a picture is that picture but for the interpolated edges; 16 bits, size limited.

    Without the curve to .02; the curve of sRGB is not exactly the power of the sample, and white is brought up.
    """
    path = sample(tmp_path, "dng")
    picture = read_picture(path)
    assert picture.pixels.shape == (HEIGHT, WIDTH, 3) and picture.pixels.dtype == np.uint16
    inner = (slice(4, -4), slice(4, -4))
    assert np.abs(picture.pixels[inner] / 65535 - smooth()[inner] / 255).mean() < 0.05
    linear = read_stored(path, raw="linear").values[inner] / 65535
    assert np.abs(linear - (smooth()[inner] / 255.0) ** 2.2).mean() < 0.02
    assert np.array_equal(read_rgb8(path.read_bytes(), path)[9, 9], (picture.pixels[9, 9] + 128.0) // 257)
    with pytest.raises(UserError, match=r"a\.dng: 64 x 48 pixels are more than max_megapixels"):
        read_picture(path, max_pixels=1000)


def test_raw_linear_is_proportional_to_the_light_and_a_bracket_keeps_its_exposures(tmp_path):
    """Halving the light halves linear values; the camera's look is not brightened picture by picture either."""
    paths = [write_dng(tmp_path / "a.dng"), write_dng(tmp_path / "b.dng", exposure=0.5)]
    full, half = (one.pixels[4:-4, 4:-4].astype(float) for one in
                  read_scene(paths, ReadingRule(raw="linear"), ["none", "none"]))
    assert np.abs(half / full - 0.5).mean() < 0.02
    camera = [one.pixels.mean() for one in read_scene(paths, ReadingRule(), ["none", "none"])]
    assert 0.65 < camera[1] / camera[0] < 0.8  # 0.5 ** (1 / 2.2) is 0.73


def test_raw_of_an_option_file_reaches_the_reader_and_the_record():
    rule = ReadingRule.of(TestDataOptions(dataroot="x", raw="linear"))
    assert rule == ReadingRule(raw="linear") and told(rule)["raw"] == "linear" and "raw" not in told(ReadingRule())


def test_a_raw_file_beside_its_picture_is_the_same_shot(tmp_path, caplog):
    for name in ("a.dng", "b.dng"):
        write_dng(tmp_path / name)
    write_picture(tmp_path / "a.jpg", smooth())
    assert [path.name for path in list_pictures(tmp_path)] == ["a.jpg", "b.dng"]
    write_picture(tmp_path / "b.png", smooth())
    assert [path.name for path in list_pictures(tmp_path)] == ["a.jpg", "b.png"]
    assert caplog.text.count("raw files beside pictures of the same name are left out (first seen:") <= 1


@pytest.mark.parametrize("suffix", ["exr", "hdr"])
def test_floats_are_read_in_proportion_and_need_a_range(tmp_path, suffix):
    path = sample(tmp_path, suffix)
    values = read_stored(path).values
    assert values.dtype == np.float32
    assert np.allclose(values, smooth() / 8, rtol=0.01, atol=0.15)  # HDR shares its exponent among the channels
    with pytest.raises(UserError, match=rf"a\.{suffix}: values of type float32, .* set range to minmax or percentile"):
        read_picture(path)
    assert np.ptp(read_picture(path, value_range="minmax").pixels) == 65535


def test_an_exr_of_grey_halves_and_alpha_is_read_and_layers_are_named(tmp_path):
    exr = pytest.importorskip("OpenEXR", reason="EXR is an extra")
    grey = smooth()[..., 0].astype(np.float16)
    header = {"compression": exr.PIZ_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"Y": grey, "A": np.ones_like(grey)}).write(str(tmp_path / "a.exr"))
    assert np.array_equal(read_stored(tmp_path / "a.exr").values[..., 0], grey.astype(np.float32))
    exr.File(header, {"RGB": smooth().astype(np.float32), "depth": grey}).write(str(tmp_path / "b.exr"))
    with pytest.raises(UserError, match=r"b\.exr: an EXR with the channels RGB, depth; save R, G and B, or Y, alone"):
        read_stored(tmp_path / "b.exr")


def test_alpha_is_dropped(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="HEIC is an extra")
    rgba = np.dstack([smooth(), np.full((HEIGHT, WIDTH), 9, np.uint8)])
    heif.from_bytes("RGBA", (WIDTH, HEIGHT), rgba.tobytes()).save(tmp_path / "a.heic", quality=95)
    (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(rgba, level=95))
    for name in ("a.heic", "a.avif"):
        stored = read_stored(tmp_path / name)
        assert stored.values.shape == (HEIGHT, WIDTH, 3) and stored.notes == {"alpha": "alpha channel dropped"}


def test_the_turn_of_a_heic_is_applied_once(tmp_path):
    """By the library; a record that repeats it turns nothing, and the result is upright."""
    pytest.importorskip("pillow_heif", reason="HEIC is an extra")
    path = write_sample(tmp_path / "a.heic", exif=record(turn=6))
    picture = read_picture(path)
    assert picture.size == (HEIGHT, WIDTH) and picture.metadata.turn == 1
    again = read_picture(write_picture(tmp_path / "b.heic", picture.pixels, picture.metadata))
    assert again.size == picture.size


def test_an_unknown_suffix_is_told_with_those_that_are_written(tmp_path):
    with pytest.raises(UserError, match=r"pictures are written as \.png, \.tif, .*\.webp.*, not \.gif"):
        write_picture(tmp_path / "a.gif", smooth())


def test_metadata_that_no_format_holds_are_dropped_by_bmp(tmp_path):
    path = write_picture(tmp_path / "a.bmp", smooth(), Metadata(P3, record()[6:]))
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], smooth())
