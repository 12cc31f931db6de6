"""The training curve: a fit with a known answer, a table, a picture, and files that cannot be drawn."""

import json

import pytest

from benchmarks.curve import main, power_law, read_curve, table
from utils.errors import MissingFileError, UserError

POINTS = [{"images": 100, "series": "alike", "loss": 8.0, "scores": {"Qabf": 0.25}},
          {"images": 400, "series": "alike", "loss": 4.0},  # four times the images, half the loss: exponent -1/2
          {"images": 50, "series": "other", "loss": 20.0}]


def write(folder, **changed):
    path = folder / "points.json"
    path.write_text(json.dumps({"published": 10_000, "extrapolate": "alike", "points": POINTS} | changed))
    return path


def test_the_power_law_through_exact_points():
    assert power_law([1, 10, 100], [3.0, 0.3, 0.03]) == pytest.approx((3.0, -1.0))


def test_the_table_has_every_point_and_the_extrapolation(tmp_path):
    lines = table(read_curve(write(tmp_path))).splitlines()
    assert lines[2:] == ["| 50 | other | 20.00 |  |", "| 100 | alike | 8.00 | 0.250 |", "| 400 | alike | 4.00 |  |",
                         "| 10,000 | extrapolated, images^-0.50 | 0.80 |  |"]


@pytest.mark.parametrize("suffix, start", [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_picture_is_the_same_every_time(tmp_path, suffix, start):
    out = tmp_path / f"curve.{suffix}"
    main([str(write(tmp_path)), str(out)])
    first = out.read_bytes()
    assert first.startswith(start)
    main([str(write(tmp_path)), str(out)])
    assert out.read_bytes() == first


@pytest.mark.parametrize("changed, told", [
    ({"extrapolate": "other"}, "has not two points"),
    ({"points": [{"images": 0, "series": "alike", "loss": 1.0}]}, "points.0.images"),
    ({"points": [{"images": 9, "series": "alike", "lost": 1.0}]}, "points.0.loss"),
    ({"more": 1}, "more")])
def test_wrong_points_are_named(tmp_path, changed, told):
    with pytest.raises(UserError, match=told):
        main([str(write(tmp_path, **changed)), str(tmp_path / "curve.svg")])
    assert not (tmp_path / "curve.svg").exists()


def test_missing_files_and_other_names_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.json"):
        main([str(tmp_path / "none.json"), str(tmp_path / "curve.svg")])
    (tmp_path / "no.json").write_text("{")
    with pytest.raises(UserError, match="the file: Invalid JSON"):
        main([str(tmp_path / "no.json"), str(tmp_path / "curve.svg")])
    with pytest.raises(UserError, match=r"curve\.jpg"):
        main([str(write(tmp_path)), str(tmp_path / "curve.jpg")])
