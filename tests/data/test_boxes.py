"""YOLO and VOC files give the same boxes; a bad line is named with its reason."""

import numpy as np
import pytest

from data.boxes import read_boxes
from utils.errors import UserError

CLASSES = ("person", "bicycle", "car")
SIZE = (640, 480)
VOC = """<annotation><size><width>640</width><height>480</height></size>
<object><name>Car</name><bndbox><xmin>64</xmin><ymin>120</ymin><xmax>320</xmax><ymax>240</ymax></bndbox></object>
<object><name>person</name><bndbox><ymin>0</ymin><xmin>600</xmin><ymax>48</ymax><xmax>640</xmax></bndbox></object>
</annotation>"""
YOLO = "2 0.3 0.375 0.4 0.25\n\n0 0.96875 0.05 0.0625 0.1\n"


def write(folder, text, suffix=".txt"):
    path = folder / f"a{suffix}"
    path.write_text(text)
    return path


def test_both_formats_give_the_same_boxes(tmp_path):
    for boxes in (read_boxes(write(tmp_path, YOLO), SIZE, CLASSES),
                  read_boxes(write(tmp_path, VOC, ".xml"), SIZE, CLASSES)):
        np.testing.assert_allclose(boxes.corners, [[64, 120, 320, 240], [600, 0, 640, 48]], atol=1e-3)
        assert boxes.classes.tolist() == [2, 0] and boxes.corners.dtype == np.float32


@pytest.mark.parametrize("text, suffix", [("", ".txt"), ("<annotation></annotation>", ".xml")])
def test_a_picture_without_objects_has_none(tmp_path, text, suffix):
    boxes = read_boxes(write(tmp_path, text, suffix), SIZE, CLASSES)
    assert boxes.corners.shape == (0, 4) and boxes.classes.shape == (0,)


def test_rounding_at_the_edge_is_cut(tmp_path):
    boxes = read_boxes(write(tmp_path, "0 0.1 0.5 0.2005 1.0"), SIZE, CLASSES)
    np.testing.assert_allclose(boxes.corners, [[0, 0, 128.16, 480]], atol=1e-3)


@pytest.mark.parametrize("text, message", [
    ("0 .5 .5 .1 .1\n3 .5 .5 .1 .1", r"a\.txt, line 2: class 3 is none of the 3 classes, 0 to 2"),
    ("-1 .5 .5 .1 .1", "class -1 is none"),
    ("0 .5 .5 .1", r"line 1: should be `class x y w h`, is '0 \.5 \.5 \.1'"),
    ("0 .5 .5 .1 .1 .9", "should be `class x y w h`"),
    ("person .5 .5 .1 .1", "should be `class x y w h`"),
    ("0 .5 .5 0 .1", r"the box from \(320, 216\) to \(320, 264\) is empty"),
    ("0 .5 .5 -.1 .1", "is empty"),
    ("0 nan .5 .1 .1", "is empty"),
    ("0 .99 .5 .1 .1", r"is outside of its picture, 640 x 480 \(width x height\)"),
    ("0 .5 1.0005 .1 .0009", "is outside of its picture"),
])
def test_bad_lines_are_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_boxes(write(tmp_path, text), SIZE, CLASSES)


@pytest.mark.parametrize("old, new, message", [
    ("person", "lamp", r"a\.xml, object 2: class 'lamp' is none of person, bicycle, car"),
    ("<ymax>48</ymax>", "", "object 2: bndbox needs numbers for xmin, ymin, xmax and ymax"),
    ("</annotation>", "", "no XML"),
])
def test_bad_objects_are_named(tmp_path, old, new, message):
    with pytest.raises(UserError, match=message):
        read_boxes(write(tmp_path, VOC.replace(old, new), ".xml"), SIZE, CLASSES)


def test_no_text_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"a\.txt: cannot be read as boxes \(no text\)"):
        read_boxes(tmp_path / "a.txt", SIZE, CLASSES)
