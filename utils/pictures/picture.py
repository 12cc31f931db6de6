"""A decoded picture with its path, metadata and role."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from utils.pictures.colour import without_equal_channels
from utils.pictures.content import Metadata
from utils.pictures.depth import HIGHEST

Role = Literal["none", "infrared", "visible"]


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: (H, W, C), RGB order, C is 1 or 3, ``uint8`` or ``uint16``.
        path: source file; None for an array.
        metadata: colour profile, EXIF record and XMP packet of the file.
        role: what the picture shows, if the data set defines it.

    Raises:
        ValueError: pixels of another shape or type.
    """

    pixels: np.ndarray
    path: Path | None = None
    metadata: Metadata = field(default_factory=Metadata)
    role: Role = "none"

    def __post_init__(self) -> None:
        if self.pixels.dtype not in HIGHEST or self.pixels.ndim != 3 or self.pixels.shape[2] not in (1, 3):
            raise ValueError(f"a picture is (H,W,1) or (H,W,3) of uint8 or uint16, not {self.pixels.shape} of "
                             f"{self.pixels.dtype}")

    @classmethod
    def of(cls, array: np.ndarray, **about: Any) -> "Picture":
        """Make a picture from an array; three equal channels are reduced to grey, as when reading a file.

        Args:
            array: (H, W), (H, W, 1) or (H, W, 3) RGB, ``uint8`` or ``uint16``, of either byte order.
            **about: the other attributes.

        Raises:
            ValueError: another shape or type.
        """
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return cls(without_equal_channels(native[..., None] if native.ndim == 2 else native), **about)

    @property
    def bit_depth(self) -> int:
        """8 or 16."""
        return self.pixels.dtype.itemsize * 8

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def is_grey(self) -> bool:
        """Whether the picture has one channel."""
        return self.pixels.shape[2] == 1

    @property
    def colour_space(self) -> Literal["grey", "rgb"]:
        """Meaning of the channels."""
        return "grey" if self.is_grey else "rgb"


def metadata_of(pictures: Iterable[Picture]) -> list[Metadata]:
    """Metadata of the sources of a result, that of an infrared picture last: the first that has some hands them on."""
    return [one.metadata for one in sorted(pictures, key=lambda one: one.role == "infrared")]


def pixels_of(source: Picture | np.ndarray) -> np.ndarray:
    """The pixels of a picture; an array is returned unchanged."""
    return source.pixels if isinstance(source, Picture) else source


def to_unit(picture: Picture) -> np.ndarray:
    """Convert to (C, H, W) ``float32`` in [0, 1]."""
    scale = np.float32(HIGHEST[picture.pixels.dtype])
    return np.ascontiguousarray(picture.pixels.transpose(2, 0, 1)).astype(np.float32) / scale
