"""Sizes and brightness of a scene's pictures, used to choose two that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError
from utils.pictures.picture import Picture
from utils.pictures.reading import read_stored


@dataclass(frozen=True)
class Seen:
    """Properties of one picture of a scene; its pixels are not kept.

    Attributes:
        path: the file.
        size: (width, height) as shown by viewers; None if the file was not decoded.
        brightness: mean of all values; in [0, 1] for 8 and 16 bits.
        turned: whether an EXIF orientation swaps its sides.
    """

    path: Path
    size: tuple[int, int] | None = None
    brightness: float = 0.0
    turned: bool = False

    @property
    def size_text(self) -> str:
        """``640 x 480``, with a remark if an EXIF orientation was applied."""
        if self.size is None:
            return "of unknown size"
        return size_text(self.size, turned=self.turned)

    def __str__(self) -> str:
        return f"{self.path.name} ({self.size_text})"


def look_at(path: Path) -> Seen:
    """Decode a picture to measure its size and brightness.

    Raises:
        UserError: it cannot be decoded; names the file.
    """
    stored = read_stored(path)
    height, width = stored.values.shape[:2]
    return Seen(path, (width, height), stored.brightness, stored.metadata.swaps_sides)


def of_one_size(pictures: Sequence[Seen]) -> tuple[list[Seen], list[Seen]]:
    """Split pictures into those of the most frequent size and the rest, both in the given order.

    If several sizes are equally frequent, files whose names end in A and B are preferred, as MEFB keeps its originals
    next to the benchmark pair; otherwise the largest size wins.

    Raises:
        UserError: no two pictures have the same size.
    """
    groups: dict[tuple[int, int] | None, list[Seen]] = {}
    for one in pictures:
        groups.setdefault(one.size, []).append(one)

    def rank(group: list[Seen]) -> tuple[int, bool, int]:
        ends = sorted(one.path.stem[-2:].lower() for one in group)
        width, height = group[0].size or (0, 0)
        return len(group), ends in (["_a", "_b"], ["-a", "-b"]), width * height

    best = max(groups.values(), key=rank)
    if len(best) < 2:
        raise UserError(f"two pictures of one size are needed, there are {', '.join(map(str, pictures))}")
    return best, [one for one in pictures if one not in best]


def is_turned(picture: Picture) -> bool:
    """Whether an EXIF orientation swapped the sides of a picture when it was read."""
    return picture.metadata.swaps_sides and picture.size[0] != picture.size[1]


def size_text(size: tuple[int, int], *, turned: bool = False) -> str:
    """A size as text."""
    return "{} x {}".format(*size) + (" after its EXIF turn" if turned else "")
