"""Alignment on the command line: what is asked for, and the map of a rig that is made once and then applied."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from utils.errors import UserError
from utils.pictures.alignment import Align, Aligned, AlignRule, Calibration
from utils.pictures.alignment.apply import Margin, Resize
from utils.pictures.pairs import align_pictures
from utils.pictures.picture import Picture


class Aligner:
    """Brings the pictures of every scene together.

    Args:
        align, resize, margin: see ``AlignRule``.
        kept: file of a map. One that is there is applied; else the first credible alignment becomes it.
        write: whether the map may be written.

    Raises:
        UserError: the file is no map, or there is none and nothing to make it from.
    """

    def __init__(self, align: Align, resize: Resize, margin: Margin, kept: Path | None, *, write: bool) -> None:
        there = kept is not None and kept.exists()
        if kept is not None and not there and align == "none":
            raise UserError(f"no alignment map {kept}; --align-map; give --align auto to make it from the first pair")
        self.rule = AlignRule(align, resize, margin, Calibration.read(kept) if kept and there else None)
        self._kept = kept if write and not there else None

    def __call__(self, pictures: Sequence[Picture]) -> tuple[list[Picture], Aligned]:
        """The pictures on one grid.

        Raises:
            UserError: they cannot be brought together.
        """
        result, aligned = align_pictures(pictures, self.rule)
        if self._kept is not None and self.rule.calibration is None:
            if len(pictures) > 2:
                raise UserError(f"--align-map is for pairs, there are {len(pictures)} pictures; leave it out")
            found = next(one for one in aligned.alignments if one is not None)
            if found.credible:
                calibration = Calibration(found, self._kept)
                calibration.write()
                self.rule = replace(self.rule, calibration=calibration)
        return result, aligned
