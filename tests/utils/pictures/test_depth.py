"""Ranges and depths: a map keeps order and ends, one map keeps what is brighter, and a full range is left alone."""

import numpy as np
import pytest
import tifffile

from utils.errors import UserError
from utils.pictures import notes
from utils.pictures.depth import stretch, stretch_together, to_8_bit, widen
from utils.pictures.reading import ReadingRule, read_picture, read_scene
from utils.pictures.writing import write_picture

RAMP = np.linspace(0, 1, 2000).reshape(40, 50)


@pytest.mark.parametrize("dtype, low, high", [
    (np.float32, -3.5, 40.0), (np.float64, 0, 1), (np.float16, 0, 1), (np.int16, -1024, 3071), (np.int32, 0, 70000),
    (np.uint32, 10, 10**6), (np.int8, -100, 100)])
def test_values_of_any_type_get_16_bits(tmp_path, dtype, low, high):
    values = (low + RAMP * (high - low)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(UserError, match=rf"a\.tif: values of type {np.dtype(dtype)}.*set range to minmax or percent"):
        read_picture(tmp_path / "a.tif")
    pixels = read_picture(tmp_path / "a.tif", value_range="minmax").pixels[..., 0]
    exact = (values.astype(float) - float(values.min())) / (float(values.max()) - float(values.min())) * 65535
    assert pixels.dtype == np.uint16 and np.abs(pixels - exact).max() <= 0.5 + 1e-6


def test_percentiles_are_those_of_all_pictures_of_a_joint_map():
    """0.5 and 99.5 percent of 2,000 values, half of them in each picture."""
    values = np.arange(2000, dtype=np.uint16) * 10
    first, second = stretch_together([values[::2], values[1::2]], "percentile")
    low, high = np.percentile(values, (0.5, 99.5))
    expected = ((values - low) / (high - low)).clip(0, 1) * 65535
    assert np.abs(first - expected[::2]).max() <= 0.5 + 1e-6 and np.abs(second - expected[1::2]).max() <= 0.5 + 1e-6


def test_8_and_16_bits_have_one_range_in_common():
    deep, flat = np.array([0, 32896, 65535], np.uint16), np.array([0, 64, 128], np.uint8)
    first, second = stretch_together([deep, flat], "minmax")
    assert first.tolist() == deep.tolist() and second.tolist() == [0, 64 * 257, 128 * 257]
    with pytest.raises(UserError, match="float32 and uint8 have no range in common; set range_joint: false"):
        stretch_together([deep.astype(np.float32), flat], "minmax")


@pytest.mark.parametrize("value_range", ["minmax", "percentile"])
def test_a_flat_picture_stays_as_it_is(value_range):
    flat = np.full((4, 4, 1), 9, np.uint16)
    assert np.array_equal(stretch(flat, value_range), flat)
    assert np.array_equal(stretch(flat.astype(np.float32), value_range), np.zeros((4, 4, 1), np.uint16))


def test_an_unknown_range_is_an_error():
    with pytest.raises(ValueError, match="full, minmax or percentile"):
        stretch(np.zeros((4, 4, 1), np.uint8), "auto")


def test_16_bits_become_8_by_rounding():
    values = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_8_bit(values), np.floor(values / 257 + 0.5))
    assert to_8_bit(np.uint8([1, 200])).tolist() == [1, 200]
    with pytest.raises(UserError, match="float64; give uint8 or uint16"):
        to_8_bit(np.zeros(3))


def test_whole_values_of_few_bits_are_widened():
    assert widen(np.array([0, 1, 2, 3]), 3).tolist() == [0, 85, 170, 255]
    assert widen(np.array([0, 2048, 4095]), 4095).tolist() == [0, 32776, 65535]
    assert widen(np.array([0, 300, 900]), 300).tolist() == [0, 65535, 65535]  # beyond the greatest: clipped


@pytest.mark.parametrize("roles, key", [(("infrared", "visible"), "ir_range"), (("none", "none"), "range")])
@pytest.mark.parametrize("span, rule, told", [
    (765, ReadingRule(), True), (4095, ReadingRule(), True), (16383, ReadingRule(), False), (0, ReadingRule(), False),
    (765, ReadingRule("minmax"), False)])
def test_one_line_names_the_remedy_where_16_bits_are_hardly_used(tmp_path, caplog, monkeypatch, roles, key, span,
                                                                 rule, told):
    monkeypatch.setattr(notes, "_noted", set())
    low = 7200
    paths = [write_picture(tmp_path / f"{name}.png", (low + RAMP * span).astype(np.uint16)) for name in "ab"]
    for _ in range(3):
        read_scene(paths, rule, roles)
    lines = [line for line in caplog.messages if "65536 values" in line and "--set" in line]
    wanted = (f"a.png: uses {span + 1} of 65536 values ({low} to {low + span})", f"dataset.test.{key}=percentile")
    matching = [line for line in lines if all(part in line for part in wanted)]
    assert len(matching) == int(told) and len(lines) <= 2 * told


def test_a_dark_exposure_beside_a_bright_one_is_no_reason_for_the_hint(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(notes, "_noted", set())
    paths = [write_picture(tmp_path / f"{top}.png", (RAMP * top).astype(np.uint16)) for top in (60000, 3000)]
    read_scene(paths, ReadingRule(), ["none", "none"])
    assert not caplog.messages
