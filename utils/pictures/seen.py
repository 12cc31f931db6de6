"""What a scene's pictures are like: their sizes and how bright they are, to choose two that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError
from utils.pictures.picture import Picture
from utils.pictures.reading import read_stored


@dataclass(frozen=True)
class Seen:
    """A picture of a scene, decoded once and let go.

    Attributes:
        path: the file.
        size: (width, height) as viewers show it; None when the file was not looked at.
        brightness: mean of all values; in [0, 1] for 8 and 16 bits.
        turned: an EXIF tag swaps its sides.
    """

    path: Path
    size: tuple[int, int] | None = None
    brightness: float = 0.0
    turned: bool = False

    @property
    def size_text(self) -> str:
        """``640 x 480``, with the EXIF turn where there is one."""
        if self.size is None:
            return "of unknown size"
        return size_text(self.size, turned=self.turned)

    def __str__(self) -> str:
        return f"{self.path.name} ({self.size_text})"


def look_at(path: Path) -> Seen:
    """Decodes a picture for its size and its brightness.

    Raises:
        UserError: it cannot be decoded; names the file.
    """
    stored = read_stored(path)
    height, width = stored.values.shape[:2]
    return Seen(path, (width, height), stored.brightness, stored.metadata.swaps_sides)


def of_one_size(pictures: Sequence[Seen]) -> tuple[list[Seen], list[Seen]]:
    """Those of the size that most have, and the rest, both in the order given.

    Where two sizes are as frequent, those whose names end in A and B are the pair that was made for a benchmark
    (MEFB keeps its originals beside them); else the larger size counts.

    Raises:
        UserError: no two pictures have one size.
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
    """Whether an EXIF tag has swapped the sides of a picture that was read from a file."""
    return picture.metadata.swaps_sides and picture.size[0] != picture.size[1]


def size_text(size: tuple[int, int], *, turned: bool = False) -> str:
    """A size in words."""
    return "{} x {}".format(*size) + (" after its EXIF turn" if turned else "")
