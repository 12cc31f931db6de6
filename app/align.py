"""Alignment on the command line, optionally with a map of a camera rig that is made once and then applied."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from utils.errors import UserError
from utils.pictures.alignment import Align, Aligned, AlignRule, Calibration
from utils.pictures.alignment.rule import Margin, Resize
from utils.pictures.pairs import align_pictures
from utils.pictures.picture import Picture


class Aligner:
    """Aligns the pictures of each scene.

    Args:
        align, resize, margin: see ``AlignRule``.
        kept: file of a map. An existing map is applied; otherwise the first credible alignment is saved there.
        write: whether the map may be written.

    Raises:
        UserError: the file is not a map, or there is no map and no alignment to make it from.
    """

    def __init__(self, align: Align, resize: Resize, margin: Margin, kept: Path | None, *, write: bool) -> None:
        there = kept is not None and kept.exists()
        if kept is not None and not there and align == "none":
            raise UserError(f"no alignment map {kept}; --align-map; give --align auto to make it from the first pair")
        self.rule = AlignRule(align, resize, margin, Calibration.read(kept) if kept and there else None)
        self._kept = kept if write and not there else None

    @property
    def margin(self) -> Margin:
        """How pictures are joined whose position is known: cropped, if they are aligned afterwards."""
        return self.rule.margin if self.rule.align == "none" and self.rule.calibration is None else "crop"

    def __call__(self, pictures: Sequence[Picture]) -> tuple[list[Picture], Aligned]:
        """Align the pictures to one grid.

        Raises:
            UserError: they cannot be aligned.
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
