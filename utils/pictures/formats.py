"""The formats that pictures are written in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: Pillow's name of it.
        suffixes: of file names; the first is the usual one.
        deep: whether it can hold 16 bits.
        lossy: whether it has a quality.
        metadata: whether it can hold colour profile, EXIF and XMP.
    """

    name: str
    suffixes: tuple[str, ...]
    deep: bool = False
    lossy: bool = False
    metadata: bool = True


FORMATS = (
    Format("PNG", (".png",), deep=True),
    Format("TIFF", (".tif", ".tiff"), deep=True),
    Format("JPEG", (".jpg", ".jpeg"), lossy=True),
    Format("WEBP", (".webp",), lossy=True),
    Format("HEIF", (".heic", ".heif"), deep=True, lossy=True),
    Format("AVIF", (".avif",), lossy=True),
    Format("BMP", (".bmp",), metadata=False),
)
BY_SUFFIX = {suffix: one for one in FORMATS for suffix in one.suffixes}
WRITABLE = tuple(BY_SUFFIX)
DEEP = tuple(suffix for suffix, one in BY_SUFFIX.items() if one.deep)
