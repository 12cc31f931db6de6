"""Pictures of one scene are fused in one colour space: that of the first, or of the visible one."""

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from models.baselines import Average
from models.fuser import Fuser
from tests.utils.pictures.samples import P3, smooth
from utils.pictures import notes
from utils.pictures.content import Metadata
from utils.pictures.picture import Picture
from utils.pictures.profiles import in_one_space
from utils.pictures.reading import AS_STORED, read_scene

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RED = np.array([[[255, 0, 0], [90, 120, 150]]], np.uint8)
# Display P3 to sRGB, by the primaries of both and a power of 2.2 and the curve of sRGB; rounded
RED_IN_P3 = (234, 51, 35)


@pytest.fixture(autouse=True)
def no_earlier_notes(monkeypatch):
    monkeypatch.setattr(notes, "_noted", set())


def picture(pixels, icc=None, role="none", name="a"):
    return Picture(pixels, name, Metadata(icc), role)


@pytest.mark.parametrize("dtype, scale", [(np.uint8, 1), (np.uint16, 257)])
def test_others_are_converted_to_the_first(dtype, scale, caplog):
    """sRGB red becomes the red that Display P3 needs for it; the second's profile is then the first's."""
    first, second = in_one_space([picture(RED.astype(dtype) * dtype(scale), P3),
                                  picture(RED.astype(dtype) * dtype(scale), SRGB, name="b")])
    assert np.array_equal(first.pixels, RED.astype(dtype) * dtype(scale))
    assert np.abs(second.pixels[0, 0] / scale - RED_IN_P3).max() < 6
    assert second.metadata.icc == P3 and second.pixels.dtype == dtype
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("b: converted from sRGB built-in to RGB built-in, the colour space of a;")


def test_a_picture_without_a_profile_is_srgb(caplog):
    _, second = in_one_space([picture(RED, P3), picture(RED)])
    assert np.abs(second.pixels[0, 0] - np.array(RED_IN_P3)).max() < 6
    back = in_one_space([picture(RED), picture(second.pixels, P3)])[1]
    assert np.abs(back.pixels.astype(int) - RED).max() <= 2 and back.metadata.icc is None
    assert len(caplog.messages) == 2


def test_profiles_that_mean_the_same_convert_nothing(caplog):
    other = imagecodecs.cms_profile("srgb")
    pictures = [picture(RED), picture(RED, SRGB), picture(RED, other), picture(RED[..., :1], P3)]
    assert other != SRGB and in_one_space(pictures) == pictures and not caplog.messages


def test_the_visible_one_keeps_its_space():
    infrared, visible = picture(RED, role="infrared"), picture(RED, P3, "visible")
    converted = in_one_space([infrared, visible])
    assert converted[1] is visible and not np.array_equal(converted[0].pixels, RED)


def test_a_damaged_profile_is_named_and_colours_stay(caplog):
    broken = bytes(16) + b"RGB " + bytes(200)
    assert np.array_equal(in_one_space([picture(RED, P3), picture(RED, broken)])[1].pixels, RED)
    assert "is damaged" in caplog.text


def test_files_of_a_scene_and_of_the_fuser_are_converted(tmp_path):
    for name, icc in (("a.png", P3), ("b.png", None)):
        Image.fromarray(smooth()).save(tmp_path / name, icc_profile=icc)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    first, second = read_scene(paths, AS_STORED, ["none", "none"])
    assert not np.array_equal(first.pixels, second.pixels)
    fused = Fuser(Average(), device="cpu", color="rgb")(*paths).fused
    mean = (first.pixels.astype(float) + second.pixels) / 2
    assert np.abs(fused - mean).max() <= 0.51
