"""Registration: estimates the alignment of a scene's pictures, and resamples them to one grid; docs/ALIGNMENT.md.

Names are imported at first use: the rule alone, which every fuser has, needs neither OpenCV nor SciPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from utils.pictures.alignment.apply import Aligned, align_arrays
    from utils.pictures.alignment.calibration import Calibration
    from utils.pictures.alignment.edges import REACH, SHORT_SIDE, EdgeShift, edge_shift
    from utils.pictures.alignment.estimate import Alignment, find_alignment
    from utils.pictures.alignment.rule import AS_THEY_LIE, Align, AlignRule

__all__ = ["AS_THEY_LIE", "REACH", "SHORT_SIDE", "Align", "AlignRule", "Aligned", "Alignment", "Calibration",
           "EdgeShift", "align_arrays", "edge_shift", "find_alignment"]

_HOMES = {"apply": ("Aligned", "align_arrays"), "calibration": ("Calibration",),
          "edges": ("REACH", "SHORT_SIDE", "EdgeShift", "edge_shift"), "estimate": ("Alignment", "find_alignment"),
          "rule": ("AS_THEY_LIE", "Align", "AlignRule")}


def __getattr__(name: str) -> Any:
    """Import a name on first use."""
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
