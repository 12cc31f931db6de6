"""A TIFF is read as it is meant, or refused with its reason; nothing is read wrongly without a word."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from utils.errors import UserError
from utils.pictures import notes
from utils.pictures.reading import read_picture
from utils.pictures.structure import fault

H, W = 24, 32
YY, XX = np.mgrid[0:H, 0:W]
GREY8 = ((XX * 7 + YY * 3) % 256).astype(np.uint8)
GREY16 = (XX * 1900 + YY * 200).astype(np.uint16)
RGB8 = np.stack([XX * 8, YY * 10, (XX + YY) * 4], -1).astype(np.uint8)
RGB16 = RGB8.astype(np.uint16) * 257
ALPHA8 = np.full((H, W), 128, np.uint8)


def stored(path, array, **settings):
    tifffile.imwrite(path, array, **settings)
    return np.squeeze(read_picture(path).pixels)


@pytest.mark.parametrize("array", [GREY8, GREY16, RGB8, RGB16], ids=["grey8", "grey16", "rgb8", "rgb16"])
@pytest.mark.parametrize("settings", [
    {}, {"compression": "lzw"}, {"compression": "zlib", "predictor": True}, {"compression": "zstd"},
    {"byteorder": ">"}, {"tile": (16, 16)}, {"bigtiff": True}, {"rowsperstrip": 5}],
    ids=["plain", "lzw", "zlib", "zstd", "big endian", "tiles", "BigTIFF", "strips"])
def test_lossless_forms_return_the_stored_values(tmp_path, array, settings):
    kind = "rgb" if array.ndim == 3 else "minisblack"
    pixels = stored(tmp_path / "a.tif", array, photometric=kind, **settings)
    assert pixels.dtype == array.dtype and np.array_equal(pixels, array)


@pytest.mark.parametrize("array", [RGB8, RGB16], ids=["8", "16"])
def test_planes_are_put_together(tmp_path, array):
    planes = np.moveaxis(array, -1, 0)
    assert np.array_equal(stored(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate"), array)


@pytest.mark.parametrize("array, top", [(GREY8, 255), (GREY16, 65535)], ids=["8", "16"])
def test_white_is_zero_is_turned_over(tmp_path, array, top):
    assert np.array_equal(stored(tmp_path / "a.tif", array, photometric="miniswhite"), top - array)


@pytest.mark.parametrize("array, colours", [
    (np.dstack([RGB8, ALPHA8]), RGB8), (np.dstack([RGB16, GREY16]), RGB16), (np.dstack([GREY8, ALPHA8]), GREY8),
    (np.dstack([GREY16, GREY16[::-1]]), GREY16)], ids=["rgba8", "rgba16", "la8", "la16"])
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_alpha_is_dropped_and_colours_stay_as_stored(tmp_path, caplog, monkeypatch, array, colours, kind):
    monkeypatch.setattr(notes, "_noted", set())
    photometric = "rgb" if array.shape[2] == 4 else "minisblack"
    pixels = stored(tmp_path / "a.tif", array, photometric=photometric, extrasamples=[kind], planarconfig="contig")
    assert np.array_equal(pixels, colours) and "alpha channel dropped" in caplog.text


@pytest.mark.parametrize("array, photometric, note", [
    (np.dstack([RGB8, ALPHA8]), "rgb", "a fourth band beside red, green and blue is dropped"),
    (RGB8, "minisblack", "three bands without a meaning are read as red, green and blue")])
def test_bands_without_a_meaning_are_told(tmp_path, caplog, monkeypatch, array, photometric, note):
    monkeypatch.setattr(notes, "_noted", set())
    extra = ["unspecified"] * (array.shape[2] - (3 if photometric == "rgb" else 1))
    pixels = stored(tmp_path / "a.tif", array, photometric=photometric, extrasamples=extra, planarconfig="contig")
    assert np.array_equal(pixels, RGB8) and note in caplog.text


def test_palettes_bilevel_and_cmyk_become_grey_or_rgb(tmp_path):
    table = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint16)
    assert np.array_equal(stored(tmp_path / "p.tif", GREY8, photometric="palette", colormap=table.T * 257),
                          table[GREY8])
    assert np.array_equal(stored(tmp_path / "8.tif", GREY8, photometric="palette", colormap=table.T), table[GREY8])
    assert np.array_equal(stored(tmp_path / "b.tif", GREY8 > 99, photometric="minisblack"), (GREY8 > 99) * 255)
    image = Image.fromarray(RGB8).convert("CMYK")
    image.save(tmp_path / "c.tif")
    assert np.abs(read_picture(tmp_path / "c.tif").pixels.astype(int) - np.asarray(image.convert("RGB"))).max() <= 1


def write_strip(path, content, *, compression=1, bits=8, without=0):
    """A grey TIFF of one strip, without one of its entries."""
    start = 8 + 2 + 12 * (9 - bool(without)) + 4
    entries = [(256, W), (257, H), (258, bits), (259, compression), (262, 1), (273, start), (277, 1), (278, H),
               (279, len(content))]
    entries = [entry for entry in entries if entry[0] != without]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    head += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    path.write_bytes(head + bytes(4) + content)


@pytest.mark.parametrize("bits, top", [(4, 255), (12, 65535)])
def test_few_bits_span_the_whole_range(tmp_path, bits, top):
    array = np.arange(H * W).reshape(H, W) % 2**bits
    digits = array[..., None] >> np.arange(bits)[::-1] & 1
    write_strip(tmp_path / "a.tif", np.packbits(digits.reshape(H, -1), axis=1).tobytes(), bits=bits)
    pixels = read_picture(tmp_path / "a.tif").pixels[..., 0]
    assert np.array_equal(pixels, np.floor(array / (2**bits - 1) * top + 0.5))


def test_jpeg_inside_is_rgb(tmp_path):
    Image.fromarray(RGB8).save(tmp_path / "a.tif", compression="jpeg", quality=98)
    assert np.abs(read_picture(tmp_path / "a.tif").pixels.astype(int) - RGB8).mean() < 3


def test_jpeg_2000_inside_is_read_and_an_unknown_compression_is_named(tmp_path):
    assert np.abs(stored(tmp_path / "a.tif", GREY8, compression="jpeg2000").astype(int) - GREY8).max() <= 2
    write_strip(tmp_path / "b.tif", bytes(1000), compression=34999)
    with pytest.raises(UserError, match=r"b\.tif: compressed by number 34999, which cannot be decoded"):
        read_picture(tmp_path / "b.tif")


def test_without_a_word_on_its_colours_black_is_zero(tmp_path):
    write_strip(tmp_path / "a.tif", GREY8.tobytes(), without=262)
    assert np.array_equal(read_picture(tmp_path / "a.tif").pixels[..., 0], GREY8)


@pytest.mark.parametrize("array, settings, reason", [
    (np.dstack([GREY16] * 5), {"photometric": "minisblack", "planarconfig": "contig"}, "5 bands"),
    (np.dstack([GREY8] * 4), {"photometric": "minisblack", "planarconfig": "contig"}, "4 bands"),
    (np.zeros((H, W, 500), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}, "500 bands"),
    (np.dstack([GREY8] * 2), {"photometric": "minisblack", "planarconfig": "contig"}, "2 bands"),
    ((GREY16 / 65535).astype(np.float16), {}, "float16.*set range to minmax or percentile"),
    (GREY16.astype(np.int16), {}, "int16.*set range to minmax or percentile"),
    (np.where(GREY16 > 30000, np.nan, GREY16).astype(np.float32), {}, r"float32 values are NaN or infinite"),
    (GREY8 + 1j, {}, "complex"),
    (RGB8, {"photometric": "cielab"}, "CIELAB"),
    (np.stack([GREY8] * 16), {"photometric": "minisblack", "volumetric": True, "tile": (16, 16, 16)}, "16 layers"),
], ids=["5", "4", "500", "2", "half", "signed", "nan", "complex", "lab", "volume"])
def test_what_has_no_meaning_is_refused_with_its_reason(tmp_path, array, settings, reason):
    tifffile.imwrite(tmp_path / "a.tif", array, **settings)
    with pytest.raises(UserError, match=rf"a\.tif: .*{reason}") as refusal:
        read_picture(tmp_path / "a.tif")
    assert "truncated" not in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("turn", range(1, 9))
def test_its_turn_is_applied(tmp_path, turn):
    Image.fromarray(RGB8).save(tmp_path / "a.tif", tiffinfo={274: turn})
    with Image.open(tmp_path / "a.tif") as image:
        assert np.array_equal(read_picture(tmp_path / "a.tif").pixels, np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("reduced, chosen", [(True, 1), (False, 0)])
def test_of_several_pages_the_first_whole_one_is_read_and_told(tmp_path, caplog, monkeypatch, reduced, chosen):
    monkeypatch.setattr(notes, "_noted", set())
    pages = [GREY8[::2, ::2], GREY8, GREY8[::4, ::4]]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for index, page in enumerate(pages):
            file.write(page, subfiletype=int(reduced and index == 0), photometric="minisblack")
    assert np.array_equal(read_picture(tmp_path / "a.tif").pixels[..., 0], pages[chosen])
    height, width = pages[chosen].shape
    assert f"page {chosen + 1} of 3 is read, {width} x {height} pixels (first seen in {tmp_path}" in caplog.text


def test_the_pictures_that_imagej_stores_behind_one_page_are_counted(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(notes, "_noted", set())
    text = "ImageJ=1.54f\nimages=5\nslices=5\n"
    tifffile.imwrite(tmp_path / "a.tif", np.stack([GREY8] * 5), photometric="minisblack", description=text,
                     metadata=None, contiguous=True)
    data = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        after = file.pages.first.offset + 2 + 12 * len(file.pages.first.tags)
    (tmp_path / "a.tif").write_bytes(data[:after] + bytes(4) + data[after + 4:])  # no next page
    assert np.array_equal(read_picture(tmp_path / "a.tif").pixels[..., 0], GREY8)
    assert "page 1 of 5 is read" in caplog.text


@pytest.mark.parametrize("share", np.linspace(0.02, 0.999, 12))
@pytest.mark.parametrize("array, compression", [(GREY16.astype(np.float32), "zlib"), (GREY8, "jpeg"), (GREY8, None)])
def test_a_cut_file_is_refused(tmp_path, share, array, compression):
    """Half a JPEG strip would decode, and a lost entry would be taken for its default."""
    tifffile.imwrite(tmp_path / "a.tif", array, compression=compression)
    data = (tmp_path / "a.tif").read_bytes()
    assert fault(data) is None and fault(data[:int(len(data) * share)])
    (tmp_path / "a.tif").write_bytes(data[:int(len(data) * share)])
    with pytest.raises(UserError, match=r"a\.tif: (truncated|damaged)"):
        read_picture(tmp_path / "a.tif", value_range="minmax")


def test_its_profile_is_known(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB8, photometric="rgb", iccprofile=b"a profile")
    assert read_picture(tmp_path / "a.tif").metadata.icc == b"a profile"
