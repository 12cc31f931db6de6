"""A picture keeps its size, depth and values through files and colour spaces; a bad file is named, not read."""

import io
import logging
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from utils.errors import MissingFileError, UserError
from utils.pictures import notes
from utils.pictures.codecs import list_pictures
from utils.pictures.depth import from_unit
from utils.pictures.picture import Picture, to_unit
from utils.pictures.reading import read_grey_or_rgb, read_picture, read_rgb8
from utils.pictures.structure import stored_size
from utils.pictures.writing import write_picture


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def smooth(height=60, width=90):
    return cv2.GaussianBlur(noise(height, width, 3), (0, 0), 5)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_files_return_the_same_values(tmp_path, suffix, channels, dtype):
    pixels = noise(17, 33, channels, dtype=dtype)
    path = tmp_path / f"größe 図{suffix}"
    if suffix == ".bmp" and dtype == np.uint16:
        with pytest.raises(UserError, match="8 bit only"):
            write_picture(path, pixels)
        return
    assert write_picture(path, pixels) == path
    picture = read_picture(path)
    assert np.array_equal(picture.pixels, pixels) and picture.pixels.dtype == dtype
    assert picture.size == (33, 17)
    assert picture.bit_depth == np.dtype(dtype).itemsize * 8
    assert picture.is_grey == (channels == 1)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_colour_order_is_rgb_for_other_readers_too(tmp_path):
    pixels = noise(8, 9, 3)
    path = write_picture(tmp_path / "a", pixels)
    assert path.name == "a.png"
    assert np.array_equal(np.asarray(Image.open(path)), pixels)


def test_jpeg_is_close(tmp_path):
    pixels = smooth()
    write_picture(tmp_path / "a.jpg", pixels)
    assert np.abs(read_picture(tmp_path / "a.jpg").pixels.astype(int) - pixels).mean() < 2
    write_picture(tmp_path / "g.jpg", pixels[..., 0])
    assert read_picture(tmp_path / "g.jpg").is_grey


@pytest.mark.parametrize("mode, channels", [("RGBA", 3), ("LA", 1)])
def test_alpha_is_dropped_with_one_note(tmp_path, caplog, monkeypatch, mode, channels):
    monkeypatch.setattr(notes, "_noted", set())
    picture = Image.fromarray(smooth()).convert(mode)
    picture.putalpha(Image.fromarray(noise(60, 90)))
    picture.save(tmp_path / "a.png")
    with caplog.at_level(logging.INFO):
        first, second = read_picture(tmp_path / "a.png"), read_picture(tmp_path / "a.png")
    assert np.array_equal(first.pixels, np.asarray(picture)[..., :channels])
    assert np.array_equal(first.pixels, second.pixels)
    assert [r.message.startswith("alpha channel dropped") for r in caplog.records] == [True]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_truncated_files_are_noticed(tmp_path, suffix, share):
    path = write_picture(tmp_path / f"cut{suffix}", smooth())
    data = path.read_bytes()
    path.write_bytes(data[:int(len(data) * share)])
    with pytest.raises(UserError, match=rf"cut{suffix}"):
        read_picture(path)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_truncated_compressed_tiff_is_noticed(tmp_path, compression):
    path = tmp_path / "a.tif"
    Image.fromarray(smooth()).save(path, compression=compression)
    assert read_picture(path).size == (90, 60)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"a\.tif"):
        read_picture(path)


def test_truncated_jpeg_with_a_whole_thumbnail_is_noticed(tmp_path):
    thumbnail = io.BytesIO()
    Image.fromarray(smooth(8, 8)).save(thumbnail, "JPEG")
    body = io.BytesIO()
    Image.fromarray(smooth()).save(body, "JPEG")
    inside = b"Exif\0\0" + thumbnail.getvalue()
    segment = b"\xff\xe1" + (len(inside) + 2).to_bytes(2, "big") + inside
    data = body.getvalue()[:2] + segment + body.getvalue()[2:]
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    assert read_picture(path).size == (90, 60)
    path.write_bytes(data[:-100])
    with pytest.raises(UserError, match="without its end marker"):
        read_picture(path)


def test_progressive_jpeg_with_bytes_after_its_end_is_read(tmp_path):
    body = io.BytesIO()
    Image.fromarray(smooth()).save(body, "JPEG", progressive=True)
    (tmp_path / "a.jpg").write_bytes(body.getvalue() + b"more")
    assert read_picture(tmp_path / "a.jpg").size == (90, 60)


def test_damaged_png_is_noticed_by_its_check_sum(tmp_path):
    path = write_picture(tmp_path / "a.png", smooth())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UserError, match="wrong check sum in its IDAT part"):
        read_picture(path)


@pytest.mark.parametrize("content, reason", [
    (b"", r"a\.png is empty"),
    (b"just some text", r"a\.png: not a picture"),
    (b"BM", r"a\.png: truncated"),
    (b"\xff\xd8\xff", r"a\.png: truncated"),
    (b"\x89PNG\r\n\x1a\n", r"a\.png: truncated"),
    (b"II*\0", r"a\.png: truncated or damaged"),
])
def test_files_that_are_no_pictures_are_named(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=reason):
        read_picture(tmp_path / "a.png")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"no file .*none\.png"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(UserError, match="cannot be read"):
        read_picture(tmp_path)


def test_a_jpeg_named_png_is_read(tmp_path):
    write_picture(tmp_path / "a.jpg", smooth())
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").size == (90, 60)


@pytest.mark.parametrize("dtype, bits", [(np.uint8, 8), (np.uint16, 16)])
def test_unit_range_round_trip_is_exact_for_every_value(dtype, bits):
    values = np.arange(2 ** bits, dtype=dtype).reshape(16, -1, 1)
    unit = to_unit(Picture(values))
    assert unit.dtype == np.float32 and unit.min() == 0 and unit.max() == 1
    assert np.array_equal(from_unit(unit, bits), values)


def test_from_unit_rounds_half_up_clips_and_refuses_nonsense():
    array = np.array([[[-0.2, 0.5 / 255, 1.49 / 255, 1.7]]])
    assert from_unit(array).ravel().tolist() == [0, 1, 1, 255]
    with pytest.raises(ValueError, match="not finite"):
        from_unit(np.full((1, 2, 2), np.nan))
    with pytest.raises(ValueError, match="bit depth 12"):
        from_unit(array, 12)


@pytest.mark.parametrize("dtype, top", [(np.uint8, 255), (np.uint16, 65535)])
def test_infrared_range_maps_to_the_full_range(tmp_path, dtype, top):
    pixels = (noise(50, 50, 1) // 4 + 60).astype(dtype)
    pixels[0, 0], pixels[0, 1] = 255, 0
    path = write_picture(tmp_path / "a.png", pixels)
    assert np.array_equal(read_picture(path).pixels, pixels)
    by_ends = read_picture(path, value_range="minmax").pixels
    assert by_ends.min() == 0 and by_ends.max() == top and by_ends.dtype == dtype
    by_share = read_picture(path, value_range="percentile").pixels
    assert by_share.min() == 0 and by_share.max() == top
    assert by_share.std() > 2 * by_ends.std()
    order = np.argsort(pixels.ravel(), kind="stable")
    assert (np.diff(by_share.ravel()[order].astype(int)) >= 0).all()


def test_write_refuses_what_a_format_cannot_hold(tmp_path):
    with pytest.raises(UserError, match=r"not \.gif"):
        write_picture(tmp_path / "a.gif", noise(4, 4, 3))
    with pytest.raises(ValueError, match="uint8 or uint16"):
        write_picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.float32))
    assert list(tmp_path.iterdir()) == []


def pnm(kind, highest, values):
    height, width = values.shape[:2]
    head = f"{kind}\n# a remark\n{width} {height}\n{highest}\n".encode()
    if kind in ("P2", "P3"):
        return head + " ".join(map(str, values.ravel())).encode()
    return head + values.astype(">u2" if highest > 255 else "u1").tobytes()


@pytest.mark.parametrize("kind, channels", [("P2", 1), ("P5", 1), ("P3", 3), ("P6", 3)])
@pytest.mark.parametrize("highest", [100, 255, 4095, 65535])
def test_pgm_and_ppm_span_the_range_that_they_state(tmp_path, kind, channels, highest):
    values = np.random.default_rng(0).integers(0, highest + 1, (5, 7, channels))
    path = tmp_path / "a.ppm"
    path.write_bytes(pnm(kind, highest, values))
    pixels = read_picture(path).pixels
    top = 255 if highest < 256 else 65535
    assert pixels.dtype.itemsize == (1 if top == 255 else 2)
    assert np.array_equal(pixels, np.floor(values / highest * top + 0.5))
    assert list_pictures(tmp_path) == [path]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"a\.ppm: (truncated|damaged)"):
        read_picture(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_three_equal_channels_are_grey(tmp_path, name):
    grey = smooth()[..., :1]
    assert read_picture(write_picture(tmp_path / name, np.dstack([grey] * 3))).is_grey
    other = np.dstack([grey] * 3)
    other[-1, -1, 2] ^= 1
    write_picture(tmp_path / "b.png", other)
    assert np.array_equal(read_picture(tmp_path / "b.png").pixels, other)  # the last value alone makes it colour


def test_scores_know_grey_in_three_channels_as_grey(tmp_path):
    grey = smooth()[..., 0]
    write_picture(tmp_path / "a.png", np.dstack([grey] * 3).astype(np.uint16) * 257)
    assert np.array_equal(read_grey_or_rgb(tmp_path / "a.png"), grey)


def huge_png(side):
    """A grey PNG of ``side`` x ``side`` zeros in about a thousandth of its bytes."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compressobj()
    packed = b"".join(rows.compress(bytes(side + 1)) for _ in range(side)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)) \
        + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize("read", [
    lambda path: read_picture(path), lambda path: read_rgb8(path.read_bytes(), path),
    lambda path: read_grey_or_rgb(path)], ids=["picture", "photograph", "metrics"])
def test_a_picture_of_too_many_pixels_is_refused_before_it_takes_memory(tmp_path, monkeypatch, read):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    (tmp_path / "a.png").write_bytes(huge_png(16_000))
    with pytest.raises(UserError, match=r"a\.png: 16000 x 16000 pixels are more than max_megapixels allows \(250\)"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("name, settings", [
    ("a.png", {}), ("a.jpg", {}), ("a.bmp", {}), ("a.webp", {}), ("l.webp", {"lossless": True}),
    ("a.tif", {}), ("a.ppm", {})])
def test_the_limit_holds_for_every_format_and_can_be_moved(tmp_path, name, settings):
    Image.fromarray(smooth(60, 90)).save(tmp_path / name, **settings)
    assert read_picture(tmp_path / name, max_pixels=5400).size == (90, 60)
    with pytest.raises(UserError, match=r"90 x 60 pixels are more than max_megapixels allows \(0\.005399\)"):
        read_picture(tmp_path / name, max_pixels=5399)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA"])
def test_bitmaps_of_every_depth_agree_with_another_reader(tmp_path, mode):
    image = Image.fromarray(smooth()).convert(mode)
    if mode == "RGBA":
        image.putalpha(77)
    image.save(tmp_path / "a.bmp")
    with Image.open(tmp_path / "a.bmp") as stored:
        expected = np.asarray(stored.convert("RGB"))
    pixels = read_picture(tmp_path / "a.bmp").pixels
    assert np.array_equal(np.broadcast_to(pixels, expected.shape), expected)


def test_a_bitmap_of_the_oldest_kind_states_its_size_in_16_bits(tmp_path):
    pixels = np.zeros((5, 4, 3), np.uint8) + np.uint8([[[1, 2, 3]]])
    head = b"BM" + struct.pack("<IHHI", 26 + 60, 0, 0, 26) + struct.pack("<IHHHH", 12, 4, 5, 1, 24)
    (tmp_path / "a.bmp").write_bytes(head + pixels[..., ::-1].tobytes())
    assert np.array_equal(read_picture(tmp_path / "a.bmp").pixels, pixels)


def test_a_webp_with_alpha_states_its_size_elsewhere(tmp_path):
    Image.fromarray(smooth(60, 90)).convert("RGBA").save(tmp_path / "a.webp", exif=Image.Exif())
    assert stored_size((tmp_path / "a.webp").read_bytes()) == (90, 60)


def test_a_large_jpeg_is_decoded_small_for_training(tmp_path):
    path = write_picture(tmp_path / "a.jpg", smooth(400, 600))
    assert read_rgb8(path.read_bytes(), path, at_least=100).shape == (100, 150, 3)
    assert read_rgb8(path.read_bytes(), path, at_least=101).shape == (200, 300, 3)
    grey = write_picture(tmp_path / "g.png", smooth(40, 60)[..., 0].astype(np.uint16) * 257)
    assert np.array_equal(read_rgb8(grey.read_bytes(), grey), np.dstack([smooth(40, 60)[..., 0]] * 3))


def test_opencv_4_9_to_4_12_can_be_imported():
    """They have ``cv2.setLogLevel`` and no ``cv2.utils.logging``; later ones the other way round."""
    code = ("import types, cv2; cv2.utils = types.ModuleType('cv2.utils'); cv2.setLogLevel = lambda level: level; "
            "import utils.pictures.reading")
    subprocess.run([sys.executable, "-c", code], check=True)
