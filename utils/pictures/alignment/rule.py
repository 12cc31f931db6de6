"""How pictures are aligned: the user's words, without the code that aligns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from option.schema import TestDataOptions
    from utils.pictures.alignment.calibration import Calibration

Align = Literal["none", "auto", "translation", "affine", "homography"]
Resize = Literal["error", "first", "second"]
Margin = Literal["crop", "fill"]


@dataclass(frozen=True)
class AlignRule:
    """How the pictures of a scene are aligned.

    Attributes:
        align: motion model; see `find_alignment`. ``none`` does not change pictures of equal size.
        resize: whose grid is used for pictures of different sizes; ``error`` rejects them. With ``align: none`` they
            are assumed to show the same field of view.
        margin: ``crop`` to the common area, or ``fill`` the area missing from a picture with the reference.
        calibration: a known map to apply instead of estimating one.
    """

    align: Align = "none"
    resize: Resize = "error"
    margin: Margin = "crop"
    calibration: Calibration | None = None

    @classmethod
    def of(cls, options: TestDataOptions) -> AlignRule:
        """The rule defined by a section of the option file."""
        from utils.pictures.alignment.calibration import Calibration  # loads OpenCV

        calibration = Calibration.read(options.align_map) if options.align_map else None
        return cls(options.align, options.resize, options.align_margin, calibration)


AS_THEY_LIE = AlignRule()
