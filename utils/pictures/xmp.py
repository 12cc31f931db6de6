"""XMP packets, changed as bytes so that everything else in them stays as it was written."""

import re

_WIDTHS, _HEIGHTS = (b"tiff:ImageWidth", b"exif:PixelXDimension"), (b"tiff:ImageLength", b"exif:PixelYDimension")
# Thumbnails, and descriptions of further pictures that follow in the file of a source: gain maps, videos, more XMP.
_BLOCKS = re.compile(rb"<((?:xmp|xap):Thumbnails|G?Container:Directory|hdrgm:\w+|HDRGainMap:\w+)\b.*?</\1>", re.DOTALL)
_ATTRIBUTES = re.compile(rb"\s(?:xmpNote:HasExtendedXMP|GCamera:Micro\w+|GCamera:Motion\w+|hdrgm:\w+|HDRGainMap:\w+)"
                         rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')")


def for_result(packet: bytes, size: tuple[int, int]) -> bytes:
    """The packet of an upright result: orientation 1, its width and height, no thumbnail and no further pictures.

    Args:
        packet: XML in UTF-8; a packet in another encoding is returned unchanged.
        size: (width, height) of the result.
    """
    packet = _ATTRIBUTES.sub(b"", _BLOCKS.sub(b"", packet))
    values = {b"tiff:Orientation": 1, **dict.fromkeys(_WIDTHS, size[0]), **dict.fromkeys(_HEIGHTS, size[1])}
    for name, value in values.items():
        text = str(value).encode()
        packet = re.sub(rb"(\b" + name + rb"\s*=\s*[\"'])\d+(?=[\"'])", rb"\g<1>" + text, packet)
        packet = re.sub(rb"(<" + name + rb">)\s*\d+\s*(?=</)", rb"\g<1>" + text, packet)
    return packet
