"""What a decoder returns: values, metadata and remarks, or a reason why there are none."""

from dataclasses import dataclass, field

import numpy as np

from utils.pictures import exif as records
from utils.pictures import xmp as packets

_PROFILE_SPACE = {1: b"GRAY", 3: b"RGB "}


class Refusal(Exception):
    """A picture cannot be read; the message does not include the file's name."""


@dataclass(frozen=True)
class Metadata:
    """Metadata kept from a file.

    Attributes:
        icc: colour profile.
        exif: EXIF record, starting with its TIFF header.
        turn: EXIF orientation of the stored pixels, 1 (upright) to 8.
        xmp: XMP packet.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    turn: int = 1
    xmp: bytes | None = None

    @property
    def swaps_sides(self) -> bool:
        """Whether the orientation swaps width and height."""
        return self.turn > 4

    def profile_for(self, channels: int) -> bytes | None:
        """The profile if it is for pictures with this number of channels, 1 (grey) or 3 (RGB); else None."""
        fits = self.icc is not None and self.icc[16:20] == _PROFILE_SPACE.get(channels)
        return self.icc if fits else None

    def of_result(self, size: tuple[int, int], channels: int) -> "Metadata":
        """The metadata for an upright result of another size: without thumbnail, profile only if it fits.

        Args:
            size: (width, height) of the result.
            channels: 1 or 3.
        """
        return Metadata(self.profile_for(channels), records.for_result(self.exif, size) if self.exif else None,
                        xmp=packets.for_result(self.xmp, size) if self.xmp else None)


@dataclass(frozen=True)
class Content:
    """A decoded file before its orientation is applied and its values are mapped to a range.

    Attributes:
        values: (H, W, C), C is 1 or 3, RGB; ``uint8`` and ``uint16`` span their full range, other types are as stored.
        metadata: colour profile, EXIF record, XMP packet and orientation.
        notes: remarks on omitted content, by kind.
    """

    values: np.ndarray
    metadata: Metadata = field(default_factory=Metadata)
    notes: dict[str, str] = field(default_factory=dict)
