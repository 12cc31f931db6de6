"""Turns, profiles and EXIF records come from every format that has them, and a result inherits what fits it."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from utils.pictures import notes
from utils.pictures.metadata import Metadata, read_metadata, result_metadata
from utils.pictures.reading import read_picture, read_rgb8
from utils.pictures.writing import write_picture

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
ORIENTATION, MAKE = 0x0112, 0x010F
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
FORMATS = {"a.jpg": {"quality": 98}, "a.png": {}, "a.webp": {"lossless": True}}


def saved(path, *, turn=1, icc=None):
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKE] = turn, "a camera"
    Image.fromarray(RGB).save(path, exif=exif, icc_profile=icc, **FORMATS[path.name])
    return path


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", FORMATS)
def test_the_turn_is_applied_as_viewers_do(tmp_path, name, turn):
    path = saved(tmp_path / name, turn=turn)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    for ours in (read_picture(path).pixels, read_rgb8(path.read_bytes(), path)):
        assert ours.shape == expected.shape
        assert np.abs(ours.astype(int) - expected).max() <= (2 if name == "a.jpg" else 0)
    assert read_picture(path).metadata.turn == turn


@pytest.mark.parametrize("name", FORMATS)
def test_profile_and_record_are_known(tmp_path, name):
    metadata = read_picture(saved(tmp_path / name, icc=SRGB)).metadata
    assert metadata.icc == SRGB
    record = Image.Exif()
    record.load(metadata.exif)
    assert record[MAKE] == "a camera"


def test_a_large_profile_in_several_parts_of_a_jpeg_is_whole():
    profile, stream = bytes(range(256)) * 600, io.BytesIO()
    Image.fromarray(RGB).save(stream, "JPEG", icc_profile=profile)
    assert read_metadata(stream.getvalue()).icc == profile


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # pytest takes the module's own filter away
@pytest.mark.parametrize("exif", [b"", b"II*\0", b"nonsense", b"II*\0\x08\0\0\0\xff\xff"])
def test_a_broken_record_turns_nothing_and_is_not_inherited(tmp_path, exif):
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "PNG", exif=b"Exif\0\0" + exif)
    metadata = read_metadata(stream.getvalue())
    assert metadata.turn == 1
    write_picture(tmp_path / "a.png", RGB, metadata)
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, RGB)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_result_holds_profile_and_upright_record(tmp_path, dtype):
    """As another reader finds them; the pixels are untouched."""
    metadata = read_picture(saved(tmp_path / "a.jpg", turn=6, icc=SRGB)).metadata
    pixels = RGB.astype(dtype) * (257 if dtype == np.uint16 else 1)
    path = write_picture(tmp_path / "fused.png", pixels, result_metadata([Metadata(), metadata], pixels))
    with Image.open(path) as image:
        assert image.info["icc_profile"] == SRGB
        assert image.getexif().get(MAKE) == "a camera" and image.getexif()[ORIENTATION] == 1
    assert np.array_equal(read_picture(path).pixels, pixels)


def test_the_first_source_that_has_a_profile_counts_and_one_that_does_not_fit_is_named_once(caplog, monkeypatch):
    monkeypatch.setattr(notes, "_noted", set())
    other = SRGB + b"other"
    assert result_metadata([Metadata(other), Metadata(SRGB)], RGB).icc == other
    assert result_metadata([Metadata(), Metadata(SRGB)], RGB).icc == SRGB
    assert not caplog.messages
    for _ in range(2):
        assert result_metadata([Metadata(SRGB), Metadata(LAB)], RGB).icc == SRGB
    assert caplog.messages == ["a colour profile for Lab is not kept, as results are RGB"]
    assert result_metadata([Metadata(SRGB)], RGB[..., :1]).icc is None
