"""How ``defusionpp fuse`` reads and writes picture files."""

import argparse
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.task import decide_task, short_names
from utils.errors import UserError
from utils.pictures.extras import check
from utils.pictures.formats import BY_SUFFIX, DEEP, FORMATS
from utils.pictures.picture import Picture
from utils.pictures.reading import AS_STORED, ReadingRule, read_scene
from utils.pictures.writing import format_of

if TYPE_CHECKING:
    from app.jobs import Job

_PAIR = 2


@dataclass(frozen=True)
class Files:
    """What the command line says about files.

    Attributes:
        rule: how values become a picture; of a pair of infrared and visible, those of the infrared.
        quality: 1 to 100, of lossy formats; None for the default.
        bits: 8 or 16, of results; None for those of the deepest picture, as far as the format can hold them.
    """

    rule: ReadingRule = AS_STORED
    quality: int | None = None
    bits: int | None = None

    @classmethod
    def of(cls, given: argparse.Namespace) -> "Files":
        """From the arguments of ``defusionpp fuse``."""
        words = given.range if isinstance(given.range, str) else "full"
        return cls(ReadingRule(words, raw=given.raw), given.quality, given.bits)

    def check(self, outs: Iterable[Path]) -> None:
        """Check that results can be written as asked for.

        Raises:
            UserError: a format has no quality or holds 8 bit only, or its library is missing.
        """
        for out in {path.suffix.lower(): path for path in outs}.values():
            target = format_of(out)
            if self.quality is not None and not target.lossy:
                lossy = ", ".join(one.suffixes[0] for one in FORMATS if one.lossy)
                raise UserError(f"{out.suffix} keeps every value and has no quality; --quality; leave it out, or write "
                                f"{lossy}")
            if self.bits == 16 and not target.deep:
                raise UserError(f"{out.suffix} holds 8 bit only; --bits 16; write {', '.join(DEEP)}")
            missing = check("pillow_heif", "HEIC") if target.name == "HEIF" else None
            if missing:
                raise UserError(f"{out}: {missing}")

    def bits_of(self, out: Path) -> int | None:
        """Bits of a result; None for those of the deepest picture."""
        return self.bits or (None if BY_SUFFIX[out.suffix.lower()].deep else 8)

    def read(self, job: "Job") -> list[Picture]:
        """Read the pictures of a scene.

        Raises:
            UserError: a file cannot be read.
        """
        if self.rule.value_range != "full" and len(job.pictures) == _PAIR:
            apart = [read_scene([path], self.rule, ["none"])[0] for path in job.pictures]
            guess = decide_task(job.task, apart, short_names(job.pictures))
            if guess.task == "IVF":
                visible = guess.order[1]
                with suppress(UserError):  # floats need the range, too
                    as_stored = replace(self.rule, value_range="full")
                    apart[visible] = read_scene([job.pictures[visible]], as_stored, ["none"])[0]
                return apart
        return read_scene(job.pictures, self.rule, ["none"] * len(job.pictures))
