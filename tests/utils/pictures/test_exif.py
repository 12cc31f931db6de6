"""Records and packets of a result: upright, of its size, without thumbnail; everything else as the camera wrote it."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.ExifTags import IFD

from tests.utils.pictures.samples import (
    EXIF_PART,
    EXPOSURE,
    GPS_PART,
    MAKE,
    MAKER_NOTE,
    ORIENTATION,
    PIXELS_X,
    PIXELS_Y,
    XMP,
    record,
    with_thumbnail,
)
from utils.pictures import exif, notes, xmp
from utils.pictures.content import Metadata
from utils.pictures.reading import read_picture
from utils.pictures.writing import write_picture

GREY = np.arange(600, dtype=np.uint16).reshape(20, 30)


def loaded(body: bytes) -> Image.Exif:
    read = Image.Exif()
    read.load(body)
    return read


def test_a_record_keeps_every_byte_but_turn_size_and_thumbnail() -> None:
    thumbnail = bytes(range(1, 200))
    before = with_thumbnail(record(turn=8), thumbnail)[6:]
    after = exif.for_result(before, (640, 480))
    assert exif.orientation(before) == 8 and exif.orientation(after) == 1
    read = loaded(after)
    part = read.get_ifd(EXIF_PART)
    assert (part[PIXELS_X], part[PIXELS_Y], part[EXPOSURE]) == (640, 480, 0.01)
    assert read[MAKE] == "a camera" and read.get_ifd(GPS_PART)[2] == (1.0, 2.0, 3.5)
    assert loaded(before).get_ifd(IFD.IFD1) and not read.get_ifd(IFD.IFD1) and thumbnail[:20] not in after
    changed = [place for place, (one, other) in enumerate(zip(before, after)) if one != other]
    assert len(after) < len(before) and len(changed) <= 2 + 2 + 2 + 4  # turn, width, height, pointer


def test_a_thumbnail_before_other_data_is_blanked_and_the_data_stay() -> None:
    before = with_thumbnail(record(), b"thumbnail")[6:] + b"maker"
    after = exif.for_result(before, (9, 9))
    assert after.endswith(bytes(9) + b"maker") and len(after) == len(before)


@pytest.mark.parametrize("body", [b"", b"II*\0", b"nonsense", b"II*\0\x08\0\0\0\xff\xff", record()[6:60]])
def test_a_damaged_record_is_not_kept(body: bytes) -> None:
    assert exif.orientation(body) == 1 and exif.for_result(body, (9, 9)) is None and exif.of_tiff(body) is None
    with pytest.raises(ValueError, match=r"EXIF|outside"):
        exif.into_tiff(record()[6:], body)


def test_a_record_that_refers_to_itself_is_not_followed_forever() -> None:
    body = b"II*\0" + struct.pack("<IHHHII", 8, 1, EXIF_PART, 4, 1, 8) + bytes(4)
    assert exif.of_tiff(body) is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_of_a_tiff_come_and_go_without_its_layout_and_maker_note(tmp_path, order) -> None:
    source = Image.Exif()
    source.endian = order
    source[MAKE], source[ORIENTATION] = "a camera of many letters", 3
    source.get_ifd(EXIF_PART).update({EXPOSURE: 0.01, PIXELS_X: 7, MAKER_NOTE: b"positions of elsewhere"})
    body = source.tobytes()[6:]
    body = body if order == "<" else Metadata(exif=body).exif
    path = write_picture(tmp_path / "a.tif", GREY, Metadata(exif=body))
    with Image.open(path) as picture:
        read = picture.getexif()
        part = read.get_ifd(EXIF_PART)
    assert read[MAKE] == "a camera of many letters" and read.get(ORIENTATION, 1) == 1
    assert (part[EXPOSURE], part[PIXELS_X]) == (0.01, 30) and MAKER_NOTE not in part
    again = loaded(read_picture(path).metadata.exif)
    assert dict(again.get_ifd(EXIF_PART)) == dict(part) and set(again) <= {MAKE, ORIENTATION, EXIF_PART, 282, 283, 296}
    assert np.array_equal(tifffile.imread(path), GREY)


def test_descriptions_of_a_files_layout_are_not_inherited() -> None:
    for text, kept in (("ImageJ=1.5\nimages=9", False), ("the harbour", True)):
        stream = io.BytesIO()
        tifffile.imwrite(stream, GREY, description=text, metadata=None, software=False)
        assert (text.encode()[:6] in (exif.of_tiff(stream.getvalue()) or b"")) is kept


def test_what_is_too_large_for_a_jpeg_is_named_and_left_out(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(notes, "_noted", set())
    source = Image.Exif()
    source.get_ifd(EXIF_PART)[MAKER_NOTE] = bytes(70_000)
    body = source.tobytes()[6:]
    path = write_picture(tmp_path / "a.jpg", GREY.astype(np.uint8), Metadata(exif=body, xmp=XMP))
    assert read_picture(path).metadata.exif is None and read_picture(path).metadata.xmp == XMP
    assert caplog.messages == ["EXIF of 68 kB is not kept, as a JPEG holds 64 kB; write .png or .tif to keep it"]
    assert read_picture(write_picture(tmp_path / "a.png", GREY, Metadata(exif=body))).metadata.exif == body


@pytest.mark.parametrize("before, after", [
    (b'<d tiff:Orientation="6" xmp:Rating="4"/>', b'<d tiff:Orientation="1" xmp:Rating="4"/>'),
    (b"<tiff:Orientation> 8 </tiff:Orientation>", b"<tiff:Orientation>1</tiff:Orientation>"),
    (b"<d exif:PixelXDimension='4000' exif:PixelYDimension='3000'/>",
     b"<d exif:PixelXDimension='640' exif:PixelYDimension='480'/>"),
    (b"a<xmp:Thumbnails><rdf:Alt>picture</rdf:Alt></xmp:Thumbnails>b", b"ab"),
    (b'<d xmpNote:HasExtendedXMP="GUID" hdrgm:Version="1.0" dc:format="image/jpeg"/>', b'<d dc:format="image/jpeg"/>'),
    (b"a<Container:Directory><rdf:li>gain map</rdf:li></Container:Directory>b", b"ab"),
    (XMP, XMP),
])
def test_a_packet_is_that_of_the_result(before: bytes, after: bytes) -> None:
    assert xmp.for_result(before, (640, 480)) == after


def test_a_written_picture_has_the_packet_of_the_result(tmp_path) -> None:
    turned = XMP.replace(b'xmp:Rating', b'tiff:Orientation="6" tiff:ImageWidth="4000" xmp:Rating')
    found = read_picture(write_picture(tmp_path / "a.png", GREY, Metadata(xmp=turned))).metadata.xmp
    assert found == XMP.replace(b'xmp:Rating', b'tiff:Orientation="1" tiff:ImageWidth="30" xmp:Rating')
